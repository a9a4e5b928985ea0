--- Paths as text. They are joined and never resolved, so that a moved symlink is followed later.
local M = {}

--- The path as seen from a directory.
---@param directory string? absolute; nil leaves the path as it is
---@param path string
---@return string
function M.absolute(directory, path)
  if not directory or path:sub(1, 1) == "/" then
    return path
  end
  path = path:gsub("^%./+", "")
  while path:sub(1, 2) == "./" do
    path = path:gsub("^%./+", "")
  end
  if path == "." or path == "" then
    return directory
  end
  return (directory:gsub("/+$", "")) .. "/" .. path
end

--- The directory a path lies in: "/a/b.lua" is in "/a", "b.lua" in ".".
---@param path string
---@return string
function M.directory(path)
  local directory = path:match("^(.*)/[^/]*$")
  if directory == "" then
    return "/"
  end
  return directory or "."
end

return M
