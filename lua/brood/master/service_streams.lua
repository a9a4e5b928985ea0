--- Where the output of a config's services goes, as far as that is a file which can be opened anew: a program keeps
--- what it was started with, so that it writes to the master in that case, and the master to the file. What goes
--- elsewhere (a pipe, a terminal, /dev/null) is the program's own. And what a script of ours finds in its environment.
local core = require "brood.core"
local E = require "brood.error"
local files = require "brood.files"
local log = require "brood.log"
local merged = require "brood.rules.merged"
local named = require "brood.spinner.named"
local uv = require "luv"

local MODE = 420 -- 0644, less the umask
local OURS = { stdout = { 1, "stdout_path" }, stderr = { 2, "stderr_path" } }

---@class brood.ServiceFile one that services write to
---@field path string
---@field fd integer
---@field failed boolean? it was said that it cannot be written

---@class brood.ServiceStreams
---@field master brood.Master
---@field files table<string, brood.ServiceFile> by path
local Streams = {}
Streams.__index = Streams

local M = {}

---@param master brood.Master
---@return brood.ServiceStreams
function M.new(master)
  return setmetatable({ master = master, files = {} }, Streams)
end

-- Only what can be renamed has to be opened anew; what does not take what is written must not hold up the master.
local function open(path)
  local c = uv.constants
  local stat = uv.fs_stat(path)
  if stat and stat.type ~= "file" then
    return nil
  end
  local fd, err, code = uv.fs_open(path, bit.bor(c.O_WRONLY, c.O_APPEND, c.O_CREAT, c.O_NOCTTY), MODE)
  if not fd then
    return nil, E.new(code, "%s: %s", path, files.reason(err))
  end
  core.fd.own(fd)
  return fd
end

local function put(file, text)
  local written, err = uv.fs_write(file.fd, text, -1)
  if not written and not file.failed then
    file.failed = true
    log.error(("%s: cannot be written: %s"):format(file.path, err))
  elseif written then
    file.failed = nil
  end
end

local function to_file(self, path)
  local file = self.files[path]
  if not file then
    local fd = open(path)
    if not fd then
      return nil -- the start of the program tells why
    end
    file = { path = path, fd = fd }
    self.files[path] = file
  end
  return function(piece)
    put(file, piece)
  end
end

-- Whole lines, for others write there as well. It is what that descriptor is by then.
local function to_ours(fd)
  local file = { path = fd == 1 and "stdout" or "stderr", fd = fd }
  return function(text)
    put(file, text .. "\n")
  end
end

local function environment(service)
  local o = service.options
  if not o.script and o.ready ~= "channel" then
    return nil
  end
  local environ = merged(core.posix.environ())
  environ.BROOD_SERVICES = named.export()
  local pools = package.loaded["brood.pool.named"]
  environ.BROOD_POOLS = pools and pools.export()
  return environ
end

--- What the process of a service is given beside its options, for one run.
---@param service brood.Service
---@return table
function Streams:of(service)
  local o, config = service.options, self.master.config
  local own = {}
  own.environ = environment(service)
  own.talks = own.environ and true
  for name, ours in pairs(OURS) do
    local wanted = o[name]
    if type(wanted) == "string" and not o.survive then
      own[name] = to_file(self, wanted)
      own.raw = own.raw or {}
      own.raw[name] = own[name] and true
    elseif wanted == nil and config[ours[2]] and not o.survive and o.stdin ~= "inherit" then
      own[name] = to_ours(ours[1])
    end
  end
  return own
end

--- Open all files anew, for somebody has renamed them. One that cannot be opened stays what it is.
function Streams:reopen()
  for path, file in pairs(self.files) do
    local fd, err = open(path)
    if fd then
      core.fd.close(file.fd)
      file.fd, file.failed = fd, nil
    elseif err then
      log.error(("cannot be opened anew, the old file is written on: %s"):format(err))
    end
  end
end

--- Close those that nobody writes to any more.
---@param entries table<string, brood.MasterService>
function Streams:sweep(entries)
  local used = {}
  for _, entry in pairs(entries) do
    local o = entry.service and entry.service.options
    for name in pairs(o and OURS or {}) do
      used[o[name] or false] = true
      used[entry.options[name] or false] = true
    end
  end
  for path, file in pairs(self.files) do
    if not used[path] then
      core.fd.close(file.fd)
      self.files[path] = nil
    end
  end
end

--- Nobody writes any more.
function Streams:close()
  for path, file in pairs(self.files) do
    core.fd.close(file.fd)
    self.files[path] = nil
  end
end

return M
