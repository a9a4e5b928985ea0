--- The files a master writes to: where stdout and stderr go, and the access logs, which a script's cluster has as well.
--- Opened once, before anything forks, one descriptor for each path, so that
--- opening them again is a matter of this table alone. What is written there is
--- decided elsewhere; a log that cannot be written to harms nobody.
local core = require "brood.core"
local E = require "brood.error"
local files = require "brood.files"
local log = require "brood.log"
local timer = require "brood.timer"
local uv = require "luv"

---@class brood.Logs
---@field files table<string, integer> path -> descriptor of an access log
---@field paths table<integer, string> 1 and 2 -> the file that they are
---@field saved table<integer, integer> 1 and 2 -> what they were before the start
---@field tell fun(list: brood.Reopened[]) files that others hold as well were opened anew
local Logs = {}
Logs.__index = Logs

local M = {}

local MODE = 420 -- 0644, less the umask
local STDOUT, STDERR = 1, 2
local KEYS = { "stdout_path", "stderr_path" } -- 1 and 2
local NOWHERE = "/dev/null"
local TOGETHER = 0.02 -- seconds in which workers that all were sent USR1 ask for the same

---@class brood.Reopened
---@field fd integer the file as it is now
---@field target integer the number that others hold it under: 1, 2 or their access log's
---@field path string

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
  return E.new(err.code, "%s %s: %s", key, path, files.reason(err.message))
end

---@param tell fun(list: brood.Reopened[])
---@return brood.Logs
function M.new(tell)
  return setmetatable({ files = {}, paths = {}, saved = {}, tell = tell }, Logs)
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
  for target, key in ipairs(KEYS) do
    local path = config[key]
    self.paths[target] = path
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
  self.paths = {}
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
  return { fd = fd, format = format, path = wanted }
end

-- ---- opened anew ----------------------------------------------------------------------------------------------------

-- Each of them is now what its `fd` is, which is closed. Those that it worked for.
local function take_places(list)
  local made, failure = {}, nil
  flush()
  for _, one in ipairs(list) do
    local ok, err = core.fd.replace(one.fd, one.target)
    core.fd.close(one.fd)
    if ok then
      made[#made + 1] = { fd = one.target, target = one.target, path = one.path }
    else
      failure = failure or named(err, one.key, one.path)
    end
  end
  core.log.setup {} -- which looks anew at what it writes to
  return made, failure
end

-- What is open, in a certain order.
local function open_now(self)
  local list = {}
  for target, key in ipairs(KEYS) do
    list[#list + 1] = self.paths[target] and { target = target, key = key, path = self.paths[target] }
  end
  local paths = {}
  for path in pairs(self.files) do
    paths[#paths + 1] = path
  end
  table.sort(paths)
  for _, path in ipairs(paths) do
    list[#list + 1] = { target = self.files[path], key = "access_log", path = path }
  end
  return list
end

--- Open all files anew, for somebody has renamed them. One that cannot be opened stays what it is.
---@param why string what has prompted it, as the end of a phrase
---@return true? ok, brood.Error? err the first that could not be opened
function Logs:reopen(why)
  local list, failure, shown, told = {}, nil, {}, {}
  for _, one in ipairs(open_now(self)) do
    local fd, err = open(one.path)
    if fd then
      one.fd = fd
      list[#list + 1] = one
    else
      err = named(err, one.key, one.path)
      if not told[one.path] then
        log.error(("cannot be opened anew%s, the old file is written on: %s"):format(why, err))
      end
      failure = failure or err
    end
    shown[#shown + 1] = fd and not told[one.path] and one.path or nil
    told[one.path] = true -- stdout and stderr may be the same file
  end
  local made, err = take_places(list)
  if made[1] then
    log.info(("opened anew%s: %s"):format(why, table.concat(shown, ", ")))
  elseif not failure then
    log.info(("no log goes to a file, so there is nothing to open anew%s"):format(why))
  end
  self.tell(made)
  failure = failure or err
  return failure == nil, failure
end

--- The same on behalf of workers that were asked to: when all have come with it.
function Logs:reopen_soon()
  if not self.asked then
    self.asked = true
    timer.after(TOGETHER, function()
      self.asked = nil
      self:reopen " (USR1 to a worker)"
    end)
  end
end

--- What goes to no file goes nowhere from now on: whoever has started us shall not wait for its end.
function Logs:detach()
  local list = {}
  for target in ipairs(KEYS) do
    local fd = not self.paths[target] and open(NOWHERE)
    list[#list + 1] = fd and { fd = fd, target = target, path = NOWHERE } or nil
  end
  self.tell((take_places(list)))
end

-- ---- another config -------------------------------------------------------------------------------------------------

---@class brood.LogsPlan
---@field logs brood.Logs
---@field config brood.EffectiveConfig
---@field opened table[] what takes the place of what is open
---@field made table<string, integer> access logs that there were not
local Plan = {}
Plan.__index = Plan

-- One file more, which a worker on trial does not inherit.
local function prepare(plan, key, path, target)
  local fd, err = open(path)
  if not fd then
    return nil, named(err, key, path)
  end
  core.fd.own(fd)
  if target then
    table.insert(plan.opened, { fd = fd, target = target, key = key, path = path })
  else
    plan.made[path], plan.logs.files[path] = fd, fd
  end
  return true
end

local function access_logs(config)
  local wanted = {}
  for _, cluster in ipairs(config.clusters) do
    local path = cluster.access_log
    if type(path) == "string" and path ~= "-" then
      wanted[path] = true
    end
  end
  return wanted
end

--- Prepare for another config, for which all files are opened anew: what it needs is opened, and takes its place when
--- it comes into force.
---@param config brood.EffectiveConfig
---@return brood.LogsPlan? plan, brood.Error? err
function Logs:change(config)
  local plan = setmetatable({ logs = self, config = config, opened = {}, made = {} }, Plan)
  local ok, err = true, nil
  for target, key in ipairs(KEYS) do
    if ok and config[key] then
      ok, err = prepare(plan, key, config[key], target)
    end
  end
  for path in pairs(access_logs(config)) do
    if ok then
      ok, err = prepare(plan, "access_log", path, self.files[path])
    end
  end
  if not ok then
    plan:cancel()
    return nil, err
  end
  return plan
end

--- It comes into force: what it does not name is closed. Only where stdout and stderr went before a config had a say is
--- not known any more: see `Logs:kept`.
function Plan:commit()
  local logs, wanted = self.logs, access_logs(self.config)
  local made, err = take_places(self.opened)
  if err then
    log.error(err)
  end
  for target, key in ipairs(KEYS) do
    if self.config[key] then
      logs.paths[target] = self.config[key]
    end
  end
  for path, fd in pairs(logs.files) do
    if not wanted[path] then
      logs.files[path] = nil
      core.fd.close(fd)
    end
  end
  logs.tell(made)
end

--- It does not.
function Plan:cancel()
  for _, one in ipairs(self.opened) do
    core.fd.close(one.fd)
  end
  for path, fd in pairs(self.made) do
    self.logs.files[path] = nil
    core.fd.close(fd)
  end
end

--- Which of stdout and stderr go to a file though a config does not say so any more.
---@param config brood.EffectiveConfig
---@return string[] keys
function Logs:kept(config)
  local keys = {}
  for target, key in ipairs(KEYS) do
    keys[#keys + 1] = self.paths[target] and not config[key] and key or nil
  end
  return keys
end

--- The access logs are not needed any more.
function Logs:close()
  for path, fd in pairs(self.files) do
    core.fd.close(fd)
    self.files[path] = nil
  end
end

return M
