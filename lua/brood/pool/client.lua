--- A pool of the config, in a process that the master has started: jobs go to the master once in each turn of the loop,
--- as bytes, and what somebody here wants to hear of them comes back. The pool itself, and what becomes of its jobs, is
--- in the master.
local brood = require "brood"
local core = require "brood.core"
local E = require "brood.error"
local emitter = require "brood.emitter"
local job = require "brood.pool.client_job"
local message = require "brood.message"
local outboxes = require "brood.pool.outbox"
local remote = require "brood.remote"
local remote_listeners = require "brood.remote_listeners"
local task = require "brood.task"

local encode = message.encode

local ROOM = "pool"
local NOTHING, END, ALL = 0, 1, 2 -- what is wanted to be heard of a job
local ABORTED = 3 -- nothing, for it has ended before it was sent

---@class brood.PoolClient: brood.Emitter
---@field name string
---@field tag string of the ids of its jobs
---@field held table<integer, brood.ClientJob> handles of which somebody is to hear
---@field weak table<integer, brood.ClientJob> the others, as long as the user holds them
local Client = emitter.mixin {}
Client.__index = Client
remote_listeners(Client, ROOM)

local M = {}

-- The outbox of this process; another one's after a fork.
local outbox

-- ---- what comes back ------------------------------------------------------------------------------------------------

---@type table<string, brood.PoolClient>
local clients = {}

local heard = {}

local ENDS = { success = true, failure = true, abort = true, unknown = true }

-- Five values for each: pool, number, event, attempt, bytes.
function heard.jobs(list)
  for i = 1, #list, 5 do
    local client, seq, event = clients[list[i]], list[i + 1], list[i + 2]
    local handle = client and (client.held[seq] or client.weak[seq])
    if handle then
      if ENDS[event] then
        client:forget(handle)
      end
      handle:hear(event, list[i + 3], list[i + 4])
    elseif client and not ENDS[event] then
      client.line:order(ROOM, "unwatch", client.name, seq) -- nobody holds it any more
    end
  end
end

local unpackers = {}

function unpackers.job(client, found)
  local handle = client.held[found.seq] or client.weak[found.seq]
  if not handle then
    handle = client:remember(job.new(client, found.seq, false), found.id)
  end
  handle:learn(found)
  return handle
end

function unpackers.worker(_, worker)
  return worker
end

function unpackers.error(_, bytes)
  return message.decode_error(bytes)
end

function unpackers.value(_, value)
  return value
end

-- { pool, whose listeners, event, n, values }
function heard.event(told)
  local client, whose, event, n, packed = clients[told[1]], told[2], told[3], told[4], told[5]
  if not client then
    return
  end
  local values = {}
  for i = 1, n do
    values[i] = packed[i] and unpackers[packed[i][1]](client, packed[i][2])
  end
  client:tell(whose, event, unpack(values, 1, n))
end

-- Nothing more comes: what somebody waits for has ended as far as can be known here.
local function master_gone(err)
  local bytes = message.encode_error(err)
  for _, client in pairs(clients) do
    local list = {}
    for _, handle in pairs(client.held) do
      list[#list + 1] = handle
    end
    for _, handle in ipairs(list) do
      client:forget(handle)
      handle:finish("failure", bytes)
    end
  end
end

local function connect()
  local line = remote.line()
  if not line then
    error("brood.pool: this process was not started by a master, but forked from one that was", 0)
  end
  if not outbox or outbox.line ~= line then
    clients = {}
    outbox = outboxes.new(line)
    line:listen(ROOM, {
      event = function(what, value)
        local fn = heard[what]
        if fn then
          fn(value)
        end
      end,
      gone = master_gone,
      flush = function()
        outbox:flush_all()
      end,
    })
  end
  return line
end

-- ---- handles --------------------------------------------------------------------------------------------------------

---@private
function Client:remember(handle, id)
  self.weak[handle.seq] = handle
  if id then
    handle.id = id
  end
  return handle
end

--- Somebody is to hear of it: it lives until then, and so does this process.
---@private
function Client:hold(handle)
  if not self.held[handle.seq] then
    self.held[handle.seq] = handle
    self.line:hold()
  end
end

---@private
function Client:forget(handle)
  if self.held[handle.seq] == handle then
    self.held[handle.seq] = nil
    self.line:release()
  end
end

-- What the master is to tell of it, at least. Its own id goes along: another job may have had it.
local function want(self, handle, what)
  self:hold(handle)
  local record = handle.record
  if record then
    record.want = math.max(record.want, what)
    handle.watched = handle.watched or what == ALL
    return
  end
  handle.watched = true
  outbox:flush()
  local sent, err = self.line:order(ROOM, "watch", self.name, handle.seq, handle.own_id or nil)
  if sent == nil then
    self:forget(handle)
    handle:finish("failure", message.encode_error(err))
  end
end

--- Everything of it is to be heard.
---@private
function Client:watch(handle)
  if not handle.watched then
    want(self, handle, ALL)
  end
end

--- Its end is to be heard.
---@private
function Client:want_end(handle)
  if not handle.watched and not self.held[handle.seq] then
    want(self, handle, END)
  end
end

---@private
function Client:abort(handle)
  local record = handle.record
  if record then
    record.want = ABORTED -- whoever asks for it later is to find it, and how it has ended
    handle.record = false
    self:forget(handle)
    return handle:finish("abort", message.encode_error(E.new("abort", "the job was aborted")))
  end
  self:hold(handle)
  handle.watched = true
  outbox:flush()
  self.line:order(ROOM, "abort", self.name, handle.seq, handle.own_id or nil)
end

---@private
function Client:flush() -- luacheck: ignore 212 (what waits is in the order of its coming, for all pools)
  outbox:flush()
end

-- ---- for users ------------------------------------------------------------------------------------------------------

-- A failure that is known at once comes after the call has returned all the same.
local function fail_soon(record, err)
  core.at_turn_end(function()
    outboxes.fail(record, err)
  end)
end

local function take_in(self, data, options, cb, done)
  local seq = self.next_seq()
  local input, err = encode(data, "data")
  local handle = job.new(self, seq, input or "")
  local record = {
    client = self, seq = seq, data = input or "", options = options, want = (cb or done) and END or NOTHING,
    handle = handle,
  }
  handle.record = record
  self:remember(handle, options and options.id)
  handle.own_id = options and options.id or false
  if options and options.delay and options.delay > 0 then
    handle.known_state = "delayed"
  end
  if cb or done then
    handle.cb, handle.waiters = cb or false, done and { done } or false
    self:hold(handle)
  end
  err = err or self.line.closed and E.new("stopped", "the master is gone") or outbox:add(record)
  if err then
    handle.record = false
    self:hold(handle)
    fail_soon(record, err)
  end
  return handle
end

local function arguments(what, options, cb)
  if type(options) == "function" and cb == nil then
    options, cb = nil, options
  end
  if cb ~= nil and type(cb) ~= "function" then
    error(("%s: the callback must be a function, got %s"):format(what, type(cb)), 3)
  end
  return options ~= nil and require("brood.pool.admission").check(options, what, 4) or nil, cb
end

--- Enqueue a job: see brood.Pool. It is handed to the master at the end of this turn of the loop; where more than 64 MB
--- of jobs wait for that, it fails with the code "overflow".
---@param data any
---@param options? brood.JobOptions
---@param cb? fun(err: brood.Error?, result: any)
---@return brood.ClientJob
function Client:enqueue(data, options, cb)
  options, cb = arguments("pool:enqueue", options, cb)
  return take_in(self, data, options, cb, nil)
end

--- Enqueue a job and wait for its end: what its worker returned, or nil and the error.
---@async
---@param data any
---@param options? brood.JobOptions
---@param cb? fun(err: brood.Error?, result: any)
---@return any result, brood.Error? err
function Client:run(data, options, cb)
  options, cb = arguments("pool:run", options, cb)
  return task.run(cb, "pool:run", function(done)
    take_in(self, data, options, nil, done)
  end)
end

--- The job with this id, whoever enqueued it, if it has not ended or is still remembered; else nil.
---@async
---@param id string
---@param cb? fun(err: brood.Error?, job: brood.ClientJob?)
---@return brood.ClientJob? job, brood.Error? err
function Client:get(id, cb)
  if type(id) ~= "string" then
    error("pool:get: the id must be a string, got " .. type(id), 2)
  end
  return task.run(cb, "pool:get", function(done)
    outbox:flush()
    self.line:call(function(err, found)
      if err or not found then
        return done(err, nil)
      end
      done(nil, unpackers.job(self, found))
    end, ROOM, "get", self.name, id)
  end)
end

---@private
function Client:ask_stats(done)
  outbox:flush()
  self.line:call(done, ROOM, "stats", self.name)
end

for _, name in ipairs { "drain", "exit", "spawn_workers" } do
  Client[name] = function()
    error(("pool:%s: only in the master; this process is one that it has started"):format(name), 2)
  end
end

-- ---- by name --------------------------------------------------------------------------------------------------------

--- What speaks to that pool from here.
---@param known brood.NamedPool
---@return brood.PoolClient
function M.new(known)
  local line = connect()
  local self = clients[known.name]
  if not self then
    self = setmetatable({
      name = known.name, tag = known.tag, next_seq = known.next_seq, line = line, held = {},
      weak = setmetatable({}, { __mode = "v" }), listened = {},
    }, Client)
    clients[known.name] = self
  end
  return self
end

-- A script that the master has started was told in its environment.
local function names_told()
  local text = os.getenv "BROOD_POOLS"
  local named = text and require "brood.pool.named"
  return named and named.adopt(text) and named or nil
end

--- The pool of the config with that name. Raises where there is none, and says which there are; and in a process that
--- no master has started.
---@param name string
---@return brood.NamedPool
function M.open(name)
  local named = package.loaded["brood.pool.named"] or names_told()
  local found = named and named.find(name)
  if found then
    return found
  end
  local names = named and named.names() or {}
  local which = names[1] and "the pools are: " .. table.concat(names, ", ")
    or require("brood.pool").coming and "pools start after on_start"
    or (brood.worker and "its master's config has no pools" or "no master has started it with a config that has pools")
  error(("brood.pool: this process knows of no pool '%s'; %s"):format(tostring(name), which), 2)
end

return M
