--- Who is who in a pool: the handles of jobs by number, the names that users gave them, and the ended jobs that
--- are remembered, in bounded memory. A job that nobody here looks at has no handle: it is in the store alone.
--- It neither starts nor ends a job.
local job = require "brood.pool.job"
local numbered = require "brood.pool.numbered"
local queue = require "brood.rules.queue"
local uv = require "luv"

local M = {}

local SEQ, ENDING, ENDED_AT, SIZE = job.SEQ, job.ENDING, job.ENDED_AT, job.SIZE

local BYTES_MAX = 64 * 1024 * 1024 -- of data and results that are remembered altogether
local FIRST_RING = 64

---@class brood.PoolLedger
---@field held brood.Numbered handles that must live: somebody is to hear of the job, or it is remembered
---@field weak brood.Numbered the others, for as long as the user holds them
---@field tag string of the ids that are made here
local Ledger = {}
Ledger.__index = Ledger

local DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"

local function base36(n)
  local text = ""
  repeat
    local digit = n % 36
    text = DIGITS:sub(digit + 1, digit + 1) .. text
    n = (n - digit) / 36
  until n == 0
  return text
end
M.base36 = base36

-- Sixty bits: no two pools, of whatever process and time, have the same.
local function random_tag()
  local text = ""
  for part in assert(uv.random(12)):gmatch("....") do
    local a, b, c, d = part:byte(1, 4)
    local digits = base36(((a * 256 + b) * 256 + c) % 0x100000 * 16 + d % 16)
    text = text .. ("0"):rep(5 - #digits) .. digits
  end
  return text
end

---@param ttl number|false seconds that an ended job is remembered
---@param max integer|false how many at most
---@return brood.PoolLedger
function M.new(ttl, max)
  local self = setmetatable({
    held = numbered.new(), weak = numbered.new "v",
    ids = {}, names = {}, -- what users call their jobs: id -> number, number -> id
    ring = {}, capacity = FIRST_RING, first = 0, count = 0, bytes = 0, -- ended jobs, the oldest at `first`
    tag = random_tag(),
  }, Ledger)
  self:limit(ttl, max)
  return self
end

--- Remember so many ended jobs for so long from now on.
---@param ttl number|false
---@param max integer|false
function Ledger:limit(ttl, max)
  self.ttl, self.max = ttl, max or math.huge
  self.keeps = ttl ~= 0 and max ~= 0
end

--- How many ended jobs are remembered at most.
---@return number
function Ledger:most()
  return self.keeps and self.max or 0
end

--- The id of a job: its user's, or one that is made of its number.
---@param seq integer
---@return string
function Ledger:id_of(seq)
  return self.names[seq] or self.tag .. "-" .. base36(seq)
end

-- The number of which an id was made, or will be.
local function number_in(self, id)
  local tag, digits = id:match("^(%w+)%-(%w+)$")
  local seq = tag == self.tag and tonumber(digits, 36) or nil
  return seq and seq < 2 ^ 53 and base36(seq) == digits and seq or nil
end

--- The number of a job by its id; whether there is such a job is not said.
---@param id string
---@return integer?
function Ledger:seq_of(id)
  return self.ids[id] or number_in(self, id)
end

--- Whether the id is of the kind that is made here, of a job's number: no user may call another job so.
---@param id string
---@return boolean
function Ledger:is_made_here(id)
  return number_in(self, id) ~= nil
end

--- From now on the job has this id.
---@param seq integer
---@param id string
function Ledger:name(seq, id)
  self.ids[id], self.names[seq] = seq, id
end

--- The job's handle, if there is one: of an ended job only while it is remembered.
---@param seq integer
---@return brood.Job?
function Ledger:find(seq)
  local handle = self.held:get(seq)
  if not handle then
    handle = self.weak:get(seq)
    return handle and not handle[ENDING] and handle or nil
  end
  return handle
end

--- The job's end is not remembered, or no longer: its id is free.
---@param seq integer
function Ledger:forget(seq)
  self.held:drop(seq)
  local id = self.names[seq]
  if id then
    self.names[seq] = nil
    if self.ids[id] == seq then
      self.ids[id] = nil
    end
  end
end

local function drop_oldest(self)
  local at = self.first
  local handle = self.ring[at]
  self.ring[at] = false
  self.first = at + 1 < self.capacity and at + 1 or 0
  self.count = self.count - 1
  self.bytes = self.bytes - handle[SIZE]
  self:forget(handle[SEQ])
end

local function grow(self)
  local ring, old = {}, self.ring
  for i = 0, self.count - 1 do
    ring[i] = old[(self.first + i) % self.capacity]
  end
  self.ring, self.first, self.capacity = ring, 0, self.capacity * 2
end

--- The job has ended: remember it, for as long as there is room.
---@param handle brood.Job
---@param now number
function Ledger:remember(handle, now)
  local seq = handle[SEQ]
  if not self.keeps then
    return self:forget(seq)
  end
  local size = handle[SIZE]
  if size > BYTES_MAX then
    return self:forget(seq)
  end
  self.held:put(seq, handle)
  self.bytes = self.bytes + size
  local count = self.count
  if count == self.capacity then
    grow(self)
  end
  local at = self.first + count
  self.ring[at < self.capacity and at or at - self.capacity] = handle
  self.count = count + 1
  local oldest = self.ring[self.first][ENDED_AT]
  if count >= self.max or self.bytes > BYTES_MAX or not queue.is_fresh(oldest, self.ttl, now) then
    self:expire(now)
  end
end

--- Forget what is too old or too much.
---@param now number
---@return number? seconds until there is something to forget
function Ledger:expire(now)
  while self.count > 0 do
    local oldest = self.ring[self.first]
    local at = oldest[ENDED_AT]
    if self.count <= self.max and self.bytes <= BYTES_MAX and queue.is_fresh(at, self.ttl, now) then
      return self.ttl and at + self.ttl - now or nil
    end
    drop_oldest(self)
  end
end

return M
