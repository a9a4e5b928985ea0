--- How this process was started: its command line, directory and environment as they were before a
--- config had a say, and where its program is. An upgrade starts its successor the same way; what
--- has been put in the program's place since is what it finds there.
local boot = require "brood.boot"
local core = require "brood.core"
local paths = require "brood.rules.path"
local uv = require "luv"

---@class brood.Origin
---@field argv string[] with the program as it was typed
---@field cwd string as in $PWD: a moved symlink in it is followed
---@field environ table<string, string>
---@field program string where it was found
local Origin = {}
Origin.__index = Origin

local M = {}

local OURSELVES = "/proc/self/exe"

-- Where a shell finds it.
local function look_up(name, cwd, path)
  if name:find("/", 1, true) then
    return paths.absolute(cwd, name)
  end
  for dir in ((path or "") .. ":"):gmatch "([^:]*):" do
    local candidate = paths.absolute(cwd, dir == "" and name or dir .. "/" .. name)
    if uv.fs_access(candidate, "X") then
      return candidate
    end
  end
end

-- Whoever started us may have called us anything.
local function is_ourselves(path)
  local there, own = uv.fs_stat(path), uv.fs_stat(OURSELVES)
  return there ~= nil and own ~= nil and there.ino == own.ino and there.dev == own.dev
end

--- Note it, at the start.
---@param program? string where an old master, which has started us as something else perhaps, had its own
---@return brood.Origin
function M.remember(program)
  local environ, cwd, argv = core.posix.environ(), assert(core.cwd()), boot.argv
  if not program then
    program = look_up(argv[0], cwd, environ.PATH)
    if not program or not is_ourselves(program) then
      program = uv.fs_readlink(OURSELVES) or OURSELVES
    end
  end
  environ.PWD = cwd
  return setmetatable({ argv = { argv[0], unpack(argv) }, cwd = cwd, environ = environ, program = program }, Origin)
end

--- What to execute now: whatever is where our program was; if that is nothing, our program itself, which lives on while
--- it runs.
---@return string path, boolean found whether it is still there
function Origin:executable()
  if uv.fs_stat(self.program) then
    return self.program, true
  end
  return OURSELVES, false
end

--- Where to execute it: where we were started; if that folder has been removed, in /, for what is given by a whole path
--- needs no other.
---@return string path, boolean found whether it is still there
function Origin:folder()
  if uv.fs_stat(self.cwd) then
    return self.cwd, true
  end
  return "/", false
end

--- The environment for it: that of our start, with what fn() changes in ours.
---@async
---@param fn fun() may wait
---@return table<string, string>
function Origin:environ_after(fn)
  local before, environ = core.posix.environ(), {}
  for name, value in pairs(self.environ) do
    environ[name] = value
  end
  fn()
  local after = core.posix.environ()
  for name, value in pairs(after) do
    if before[name] ~= value then
      environ[name] = value
    end
  end
  for name in pairs(before) do
    if after[name] == nil then
      environ[name] = nil
    end
  end
  return environ
end

return M
