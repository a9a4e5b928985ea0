--- What a master is handed at its start: listening sockets, by systemd or whoever speaks its protocol
--- (LISTEN_FDS), or by the old master of an upgrade, which also leaves a line to itself. They become
--- endpoints of the listeners before anything is opened, so that the config finds them by address or by
--- name; what it names nowhere is closed. It binds nothing, and removes no socket file: that stays
--- whoever passed it, until an old master leaves it to us.
local core = require "brood.core"
local E = require "brood.error"
local files = require "brood.files"
local lazy = require "brood.lazy"
local log = require "brood.log"
local uv = require "luv"

local json = lazy.room "brood.json"
local passed = lazy.passing "brood.rules.passed"

local M = {}

local CLOEXEC = 524288 -- as /proc shows it

-- Nobody whom we start is to take these for its own.
local OURS_ALONE = { "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "BROOD_UPGRADE", "BROOD_CHANNEL_FD" }

---@class brood.Passed one socket
---@field fd integer its number when it came
---@field listener userdata
---@field address string
---@field name? string where a supervisor passed it
---@field cluster? string here and below: of the old master's
---@field entry? table its entry of `listen` there
---@field group? integer sockets of one entry have the same number
---@field control? boolean it is the control server's
---@field file? table device, inode and folder of its socket file, which is the old master's to remove

---@class brood.Inherited
---@field sockets brood.Passed[]
---@field old_pid? integer the old master's
---@field channel? integer the descriptor of the line to it
---@field program? string where the old master has found its program
---@field old_pidfile? string where the old master's pidfile is, while both live
---@field upgrade boolean whether we are the new master of an upgrade

-- What is announced and was not passed may be a descriptor of our own by now; those are all close-on-exec.
local function came_with_us(fd)
  local flags = (files.read("/proc/self/fdinfo/" .. fd) or ""):match "flags:%s*(%d+)"
  return flags ~= nil and bit.band(tonumber(flags, 8), CLOEXEC) == 0
end

local function take_over(fd)
  local listener, err = core.listener.from_fd(fd)
  if listener then
    return listener
  elseif came_with_us(fd) then
    log.warn(("the passed descriptor %d is closed: %s"):format(fd, err))
    core.fd.close(fd)
  else
    log.warn(("LISTEN_FDS announces descriptor %d, but nothing was passed there"):format(fd))
  end
end

-- What the old master says of its sockets, in their order; nothing it says is trusted to be whole.
local function told_by_old(environ)
  local value = environ.BROOD_UPGRADE and json.decode(environ.BROOD_UPGRADE)
  if type(value) ~= "table" or type(value.pid) ~= "number" or type(value.sockets) ~= "table" then
    return nil
  end
  return value
end

-- What is not whole is not believed.
local function file_told(listener, file)
  if type(file) ~= "table" or type(file[1]) ~= "number" or type(file[2]) ~= "number" then
    return nil
  end
  local folder = type(file[3]) == "string" and file[3] or nil
  listener:know_file(file[1], file[2], folder) -- where its folder is gone, so is the file
  return { file[1], file[2], folder }
end

--- Take what was handed to this process, and everything that says so out of its environment.
---@return brood.Inherited
function M.take()
  local environ = core.posix.environ()
  local names = passed.names(environ, core.posix.getpid())
  local old = names and told_by_old(environ)
  local self = { sockets = {}, upgrade = old ~= nil, old_pid = old and old.pid, program = old and old.program }
  self.services = old ~= nil and old.services == true
  self.old_pidfile = old and type(old.pidfile) == "string" and old.pidfile or nil
  for _, name in ipairs(OURS_ALONE) do
    if environ[name] then
      uv.os_unsetenv(name)
    end
  end
  for i, name in ipairs(names or {}) do
    local fd = passed.FIRST + i - 1
    local listener = take_over(fd)
    local told = old and old.sockets[i] or {}
    if listener then
      table.insert(self.sockets, {
        fd = fd, listener = listener, address = listener:address(), name = not old and name or told.name,
        cluster = told.cluster,
        entry = told.entry, group = told.group, control = told.control,
        file = file_told(listener, told.file),
      })
    end
  end
  if old then
    self.channel = tonumber(environ.BROOD_CHANNEL_FD)
  end
  return self
end

--- The sockets that a supervisor has passed, for a config that names none.
---@param self brood.Inherited
---@return brood.PassedSocket[]
function M.by_supervisor(self)
  local list = {}
  for _, socket in ipairs(self.sockets) do
    if socket.name and not socket.control then
      list[#list + 1] = { name = socket.name, address = socket.address }
    end
  end
  return list
end

-- ---- as endpoints of the listeners ----------------------------------------------------------------------------------

--- Put the sockets before the listeners, which give them to the clusters that mean them. Those of one entry of the
--- old master's are one endpoint.
---@param master brood.Master
function M.offer(master)
  local of_group = {}
  for _, socket in ipairs(master.inherited.sockets) do
    local entry = socket.name and { address = "fd:" .. socket.name } or socket.entry
    if type(entry) == "table" and type(entry.address) == "string" and not socket.control then
      local endpoint = not socket.name and of_group[socket.group]
      if not endpoint then
        endpoint = { entry = entry, list = {}, cluster = socket.cluster, holders = 0, passed = socket.name }
        of_group[socket.group or 0] = endpoint
        table.insert(master.listeners.endpoints, endpoint)
      end
      table.insert(endpoint.list, socket.listener)
      socket.endpoint = endpoint
    end
  end
end

-- Several sockets may bear one name: who names it means them all.
local function join_names(sockets)
  local of_name = {}
  for _, socket in ipairs(sockets) do
    local endpoint = socket.endpoint
    local name = endpoint and endpoint.holders > 0 and endpoint.passed
    if name and endpoint.entry.address == "fd:" .. name then
      of_name[name] = endpoint
    end
  end
  for _, socket in ipairs(sockets) do
    local named = of_name[socket.name or false]
    if named and socket.endpoint.holders == 0 then
      table.insert(named.list, table.remove(socket.endpoint.list))
      socket.endpoint = named
    end
  end
end

--- The control server's socket, where the old master had it at this address.
---@param master brood.Master
---@param address string
---@return userdata? listener
function M.control(master, address)
  for _, socket in ipairs(master.inherited.sockets) do
    -- While it is open, and that is the way to it.
    if socket.control and socket.listener:address() == address and socket.listener:in_place() then
      socket.claimed = true
      return socket.listener
    end
  end
end

local function is_claimed(socket)
  return socket.claimed or socket.endpoint and socket.endpoint.holders > 0
end

--- The config is in force: what it does not name is closed. Those that were passed on purpose, and not simply
--- dropped from the config, are worth a warning.
---@param master brood.Master
function M.settle(master)
  local kept = {}
  join_names(master.inherited.sockets)
  for _, socket in ipairs(master.inherited.sockets) do
    if is_claimed(socket) then
      kept[#kept + 1] = socket
    else
      local address = socket.address
      if socket.name then
        log.warn(("the passed socket '%s' (%s) is closed: no `listen` names it, by address or as \"fd:%s\"")
          :format(socket.name, address, socket.name))
      elseif not socket.control then
        log.info(("%s is left to the old master: no `listen` names it any more"):format(address))
      end
      socket.listener:close()
    end
  end
  master.inherited.sockets = kept
  master.listeners:release {}
end

--- Numbers, as they came, of the sockets that are in use here.
---@param master brood.Master
---@return integer[]
function M.claimed(master)
  local list = {}
  for i, socket in ipairs(master.inherited.sockets) do
    list[i] = socket.fd
  end
  return list
end

--- Remove a socket file, if it still is this one.
---@param address string
---@param file table device, inode and perhaps the folder where it really lies
function M.remove_file(address, file)
  local path = address:match "^unix:(.*)$"
  path = path and file[3] and file[3] .. "/" .. path:match "[^/]*$" or path
  local stat = path and uv.fs_lstat(path)
  if stat and stat.dev == file[1] and stat.ino == file[2] then
    uv.fs_unlink(path)
  end
end

-- Ours to remove, and as our config wants it.
local function adopt_file(socket, file)
  if not socket.listener:adopt_file() then
    return M.remove_file(socket.address, file) -- we have closed it: nobody listens there any more
  end
  local ok, err = true, nil
  if socket.endpoint and not socket.name then
    ok, err = socket.listener:change(socket.endpoint.entry)
  end
  if not ok then
    log.warn(E.text(err))
  end
end

--- The old master is going, or gone: its socket files are ours from now on.
---@param master brood.Master
function M.adopt_files(master)
  for _, socket in ipairs(master.inherited.sockets) do
    local file = socket.file
    socket.file = nil
    if file then
      adopt_file(socket, file)
    end
  end
end

return M
