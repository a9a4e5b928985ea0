--- Jobs of this process on their way to the master: once in each turn of the loop, in the order of their coming, and no
--- faster than the master reads. Where too much waits, what comes next is refused.
local core = require "brood.core"
local E = require "brood.error"
local message = require "brood.message"

local BATCH = 256 * 1024 -- bytes of jobs in one frame
local WAITING_MAX = 64 * 1024 * 1024 -- bytes of jobs that the master has not taken yet
local COST = 100 -- bytes that a job takes beside its data, about

---@class brood.PoolRecord a job that waits to be sent
---@field client brood.PoolClient
---@field seq integer
---@field data string encoded
---@field options table?
---@field want integer what is to be heard of it
---@field handle brood.ClientJob

---@class brood.PoolOutbox
---@field line brood.Line
---@field first integer
---@field last integer
---@field bytes integer that wait here
---@field blocked boolean the channel has enough
---@field armed boolean
---@field [integer] brood.PoolRecord
local Outbox = {}
Outbox.__index = Outbox

local M = {}

--- A job that does not reach the master has failed.
---@param record brood.PoolRecord
---@param err brood.Error
function M.fail(record, err)
  record.client:forget(record.handle)
  record.handle:finish("failure", message.encode_error(err))
end

-- Up to BATCH bytes of jobs that are for the same pool.
local function take(self)
  local client = self[self.first].client
  local list, records, bytes = {}, {}, 0
  while self.first <= self.last and bytes < BATCH do
    local record = self[self.first]
    if record.client ~= client then
      break
    end
    self[self.first], self.first = nil, self.first + 1
    local n = #list
    list[n + 1], list[n + 2], list[n + 3], list[n + 4] = record.seq, record.data, record.want, record.options or false
    records[#records + 1] = record
    bytes = bytes + #record.data + COST
    record.handle.record = false
  end
  self.bytes = self.bytes - bytes
  return client, list, records
end

-- The channel has enough: what is left waits until it is empty.
local function wait(self)
  self.blocked, self.waiting = true, true
  self.line.peer:flush(function()
    self.blocked = false
    self:flush()
  end)
  self.waiting = false
end

local function send(self)
  local client, list, records = take(self)
  if not list[1] then
    return
  end
  local sent, err = self.line:order("pool", "put", client.name, list)
  if sent == nil then
    for _, record in ipairs(records) do
      M.fail(record, err)
    end
  elseif not sent and not self.blocked then
    wait(self)
  end
end

local function reset(self)
  if self.first > self.last then
    self.first, self.last = 1, 0
  end
end

--- Send what the channel takes.
function Outbox:flush()
  while self.first <= self.last and not self.blocked do
    send(self)
  end
  reset(self)
end

--- Send all of it, for this process may end.
function Outbox:flush_all()
  while self.first <= self.last and not self.waiting do
    send(self)
  end
  reset(self)
end

--- One more.
---@param record brood.PoolRecord
---@return brood.Error? err code "overflow": it is not taken
function Outbox:add(record)
  local size = #record.data + COST
  if self.bytes > 0 and self.bytes + self.line.peer:pending() + size > WAITING_MAX then
    return E.new("overflow", "more than %d MB of jobs wait for the master already", WAITING_MAX / 1048576)
  end
  self.last = self.last + 1
  self[self.last] = record
  self.bytes = self.bytes + size
  if not self.armed then
    self.armed = true
    core.at_turn_end(function()
      self.armed = false
      self:flush()
    end)
  end
end

--- Nothing waits yet.
---@param line brood.Line
---@return brood.PoolOutbox
function M.new(line)
  return setmetatable({
    line = line, first = 1, last = 0, bytes = 0, blocked = false, waiting = false, armed = false,
  }, Outbox)
end

return M
