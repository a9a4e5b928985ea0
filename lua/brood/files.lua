--- Files that are read whole, and the Lua files that somebody names. What a chunk is for, and whether a file that
--- is missing is a mistake, is the caller's business.
local uv = require "luv"

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

-- Whether a file there can be run.
local function is_program(path)
  local stat = uv.fs_stat(path)
  return stat ~= nil and stat.type == "file" and uv.fs_access(path, "X") and true or false
end

--- Where a program is: it is looked for as exec does, in the PATH of the program to be.
---@param name string the first word of a command
---@param folder string where it is to run
---@param env? table<string, string|false> what its environment has that ours has not
---@param may? fun(path: string): boolean whether who is to run it may do so: it goes on to the next one in PATH
---@return string? path nil where there is none
---@return string? why as the end of a sentence
---@return string? about what cannot be used
function M.program(name, folder, env, may)
  local path = env and env.PATH
  if path == nil then
    path = os.getenv "PATH"
  end
  path = path or "/bin:/usr/bin"
  if name:find("/", 1, true) then
    local whole = name:sub(1, 1) == "/" and name or folder .. "/" .. name
    if is_program(whole) then
      return whole
    end
    local how = uv.fs_stat(whole) and "cannot be run" or "is not there"
    return nil, ("names a program that %s: %s"):format(how, whole), whole
  end
  local first
  for part in (path .. ":"):gmatch "([^:]*):" do
    local place = part == "" and "." or part
    local whole = (place:sub(1, 1) == "/" and place or folder .. "/" .. place) .. "/" .. name
    if is_program(whole) then
      if not may or may(whole) then
        return whole
      end
      first = first or whole
    end
  end
  if first then
    return first
  end
  return nil, ("names a program that is not in PATH: '%s' (PATH is %s)"):format(name, path), name
end

--- The reason alone: libuv says "ENOENT: no such file or directory: /x". What else says is a reason as it is.
---@param message any
---@return string
function M.reason(message)
  message = tostring(message)
  return message:match "^%u[%u%d]*: ([^:]*)" or message
end

return M
