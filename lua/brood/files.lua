--- Files that are read whole, and the Lua files that somebody names. What a chunk is for, and whether a file that
--- is missing is a mistake, is the caller's business.
local M = {}

--- What is in a file.
---@param path string
---@return string? text, string? why as io.open says it; none where it opens, but is no file
function M.read(path)
  local file, why = io.open(path, "rb")
  if not file then
    return nil, why
  end
  local text = file:read("*a")
  file:close()
  return text
end

--- The chunk of a file's text.
---@param text string
---@param path string
---@return function? chunk, string? why
function M.compile(text, path)
  -- A '#!' line is for the kernel.
  return loadstring(text:sub(1, 1) == "#" and "--" .. text or text, "@" .. path)
end

--- The folder of a file comes first in package.path.
---@param path string
function M.path_first(path)
  local dir = path:match("^(.*)/[^/]*$") or "."
  package.path = ("%s/?.lua;%s/?/init.lua;%s"):format(dir, dir, package.path)
end

--- The reason alone: libuv says "ENOENT: no such file or directory: /x". What else says is a reason as it is.
---@param message any
---@return string
function M.reason(message)
  message = tostring(message)
  return message:match "^%u[%u%d]*: ([^:]*)" or message
end

return M
