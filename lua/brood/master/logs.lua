--- The files a master writes to: where stdout and stderr go, and the access logs.
--- Opened once, before anything forks, one descriptor for each path, so that
--- opening them again is a matter of this table alone. What is written there is
--- decided elsewhere; a log that cannot be written to harms nobody.
local core = require "brood.core"
local E = require "brood.error"
local uv = require "luv"

---@class brood.Logs
---@field files table<string, integer> path -> descriptor of an access log
---@field saved table<integer, integer> 1 and 2 -> what they were before the start
local Logs = {}
Logs.__index = Logs

local M = {}

local MODE = 420 -- 0644, less the umask
local STDOUT, STDERR = 1, 2

-- A pipe without a reader is refused at once, where a plain open would wait for one.
local function open(path)
  local c = uv.constants
  local flags = bit.bor(c.O_WRONLY, c.O_APPEND, c.O_CREAT, c.O_NOCTTY, c.O_NONBLOCK)
  local fd, message, code = uv.fs_open(path, flags, MODE)
  if not fd then
    return nil, E.new(code, "%s", message)
  end
  core.fd.nonblock(fd, false)
  return fd
end

local function named(err, key, path)
  -- libuv's text repeats the path behind the reason.
  local reason = err.message:gsub("^%u+: ", ""):gsub(": [^:]*/.*$", "")
  return E.new(err.code, "%s %s: %s", key, path, reason)
end

---@return brood.Logs
function M.new()
  return setmetatable({ files = {}, saved = {} }, Logs)
end

local function replace(self, target, fd)
  if not self.saved[target] then
    local copy = core.fd.dup_above(target, 3)
    if copy then
      core.fd.own(copy)
      self.saved[target] = copy
    end
  end
  return core.posix.dup2(fd, target)
end

-- What is still in a buffer belongs to where it was written for.
local function flush()
  io.stdout:flush()
  io.stderr:flush()
end

--- Let stdout and stderr go where the config says; all that is forked or started from now on inherits it.
---@param config brood.EffectiveConfig
---@return true? ok, brood.Error? err
function Logs:redirect(config)
  local opened = {}
  flush()
  for target, key in ipairs { "stdout_path", "stderr_path" } do
    local path = config[key]
    if path then
      local fd, err = opened[path], nil
      if not fd then
        fd, err = open(path)
      end
      if fd then
        opened[path] = fd
        local ok
        ok, err = replace(self, target, fd)
        err = not ok and err or nil
      end
      if err then
        err = named(err, key, path)
        for _, open_fd in pairs(opened) do
          core.fd.close(open_fd)
        end
        return nil, err
      end
    end
  end
  for _, fd in pairs(opened) do
    core.fd.close(fd)
  end
  core.log.setup {} -- its descriptor may have become something else: a file has no colours
  return true
end

--- The start is over: where stdout and stderr went before is of no interest any more.
function Logs:settle()
  for target, copy in pairs(self.saved) do
    core.fd.close(copy)
    self.saved[target] = nil
  end
end

--- The start has failed: stdout and stderr are what they were. Whether the log now goes somewhere else.
---@return boolean
function Logs:restore()
  local elsewhere = self.saved[STDERR] ~= nil
  flush()
  for _, target in ipairs { STDOUT, STDERR } do
    if self.saved[target] then
      core.posix.dup2(self.saved[target], target)
    end
  end
  self:settle()
  core.log.setup {}
  return elsewhere
end

--- What a cluster needs to write its access log; nil where it has none.
---@param wanted string|function|nil|false its `access_log`
---@param format "text"|"json" of the log
---@return brood.AccessLog?, brood.Error? err
function Logs:access(wanted, format)
  if not wanted then
    return nil
  elseif type(wanted) == "function" then
    return { fd = STDOUT, line = wanted }
  end
  format = format == "json" and "json" or "combined"
  if wanted == "-" then
    return { fd = STDOUT, format = format }
  end
  local fd = self.files[wanted]
  if not fd then
    local err
    fd, err = open(wanted)
    if not fd then
      return nil, named(err, "access_log", wanted)
    end
    -- Its clusters' workers keep it, everybody else closes it.
    core.fd.own(fd)
    self.files[wanted] = fd
  end
  return { fd = fd, format = format }
end

--- The access logs are not needed any more.
function Logs:close()
  for path, fd in pairs(self.files) do
    core.fd.close(fd)
    self.files[path] = nil
  end
end

return M
