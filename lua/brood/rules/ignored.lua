--- Which names below a monitored directory do not count: version control, what editors and interpreters leave while
--- they work, and what the caller names. Pure.
local M = {}

-- "*" is any run of characters, "?" one of them; with "/" in it a pattern is about the path below the directory.
local DEFAULT = {
  ".git", ".hg", ".svn", ".bzr", "CVS", "node_modules", "__pycache__", "*.pyc", "*.pyo", ".DS_Store",
  "*~", "#*#", ".#*", "*.swp", "*.swo", "*.swx", "*.swpx", "4913", ".*.un~", "*.tmp", "*.kate-swp", ".goutputstream-*",
  "*___jb_tmp___", "*___jb_old___", "*___jb_bak___", ".fuse_hidden*", ".nfs*",
}

-- As a Lua pattern that fits all of a text.
local function pattern(glob)
  local text = glob:gsub("[%^%$%(%)%%%.%[%]%+%-]", "%%%0"):gsub("%*", ".*"):gsub("%?", ".")
  return "^" .. text .. "$"
end

local function add(lists, glob)
  glob = glob:gsub("/$", "")
  local path = glob:find("/", 1, true)
  if path then
    lists.paths[#lists.paths + 1] = pattern((glob:gsub("^%.?/", "")))
  elseif glob:find("[*?]") then
    lists.patterns[#lists.patterns + 1] = pattern(glob)
  else
    lists.names[glob] = true
  end
end

local function any(patterns, text)
  for _, one in ipairs(patterns) do
    if text:find(one) then
      return true
    end
  end
  return false
end

--- A function (path below the directory) that tells whether that file or folder does not count. What is below an
--- ignored folder is not asked for: the caller does not go there.
---@param more? string[] names, or patterns with "*" and "?"; with a "/" in them they are paths below the directory
---@return fun(path: string): boolean
function M.compile(more)
  local lists = { names = {}, patterns = {}, paths = {} }
  for _, glob in ipairs(DEFAULT) do
    add(lists, glob)
  end
  for _, glob in ipairs(more or {}) do
    add(lists, glob)
  end
  return function(path)
    local name = path:match("[^/]*$")
    return lists.names[name] == true or any(lists.patterns, name) or any(lists.paths, path)
  end
end

return M
