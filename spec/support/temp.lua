--- Temp dirs and files for specs, all below TMPDIR, removed when the test ends. A socket file that is still there then
--- fails the test: whoever bound it should have taken it away.
local uv = require "luv"

local M = {}
local dirs = {}

---A fresh, empty directory for this test.
---@return string path
function M.temp_dir()
  local dir = assert(uv.fs_mkdtemp((os.getenv("TMPDIR") or "/tmp") .. "/XXXXXX"))
  table.insert(dirs, dir)
  return dir
end

---The same, where other users may look into it.
---@return string path
function M.open_temp_dir()
  local dir = assert(uv.fs_mkdtemp("/tmp/brood-open-XXXXXX"))
  assert(uv.fs_chmod(dir, 493))
  table.insert(dirs, dir)
  return dir
end

---Write a file, in a fresh directory if `path` is only a name. Directories that lack are made.
---@param path string
---@param text string
---@param mode? integer
---@return string path
function M.write_file(path, text, mode)
  if not path:find("/", 1, true) then
    path = M.temp_dir() .. "/" .. path
  end
  for at in path:gmatch("()/") do
    if at > 1 then
      uv.fs_mkdir(path:sub(1, at - 1), 493)
    end
  end
  local out = assert(io.open(path, "w"))
  out:write(text)
  out:close()
  if mode then
    assert(uv.fs_chmod(path, mode))
  end
  return path
end

---The whole file, or nil.
---@param path string
---@return string?
function M.read_file(path)
  local file = io.open(path, "r")
  if not file then
    return nil
  end
  local text = file:read("*a")
  file:close()
  return text
end

---@param path string
---@return boolean
function M.exists(path)
  return uv.fs_lstat(path) ~= nil
end

local function remove(path, sockets)
  local stat = uv.fs_lstat(path)
  if not stat then
    return
  end
  if stat.type == "directory" then
    local scan = uv.fs_scandir(path)
    local names = {}
    for name in function() return scan and uv.fs_scandir_next(scan) end do
      table.insert(names, name)
    end
    for _, name in ipairs(names) do
      remove(path .. "/" .. name, sockets)
    end
    uv.fs_rmdir(path)
    return
  end
  if stat.type == "socket" then
    table.insert(sockets, path:match("[^/]+$"))
  end
  uv.fs_unlink(path)
end

---Remove them all; raises when there was a socket among them.
function M.cleanup()
  local sockets = {}
  for i = #dirs, 1, -1 do
    remove(dirs[i], sockets)
    dirs[i] = nil
  end
  if #sockets > 0 then
    error("left a socket file behind: " .. table.concat(sockets, ", "), 0)
  end
end

return M
