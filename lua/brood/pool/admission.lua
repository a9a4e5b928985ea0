--- How a job comes in: its options, whether there is room for it, and its place in the store.
local clock = require "brood.clock"
local E = require "brood.error"
local options = require "brood.options"
local payload = require "brood.pool.payload"
local queue = require "brood.rules.queue"

local M = {}

---@class brood.JobOptions
---@field id? string its id: while such a job is remembered, enqueueing it again returns that one
---@field priority? integer higher ones go first (0)
---@field delay? brood.duration not before then (0)
---@field timeout? brood.duration|false how long its worker may take, in place of timeout_working
---@field retries? integer how often it is tried again, in place of the pool's

local PRIORITY_MAX = 2 ^ 31 - 1
local RETRIES_MAX = 2 ^ 31 - 1
local FOREVER = 1e9 -- seconds

local specs = {
  id = { type = "string", expected = "a string that is not empty" },
  priority = { type = "integer", min = -PRIORITY_MAX, max = PRIORITY_MAX },
  delay = { type = "duration" },
  timeout = { type = "duration", off = true },
  retries = { type = "integer", min = 0, max = RETRIES_MAX },
}

M.NONE = {}

local function is_plain(n, min, max)
  return n == nil or type(n) == "number" and n >= min and n <= max and n % 1 == 0
end

local function is_seconds(n)
  return n == nil or type(n) == "number" and n >= 0 and n < math.huge
end

-- Whether there is nothing to normalise and nothing to complain of, which is found out in little time.
local function is_sound(given)
  for name in pairs(given) do
    if specs[name] == nil then
      return false
    end
  end
  return (given.id == nil or type(given.id) == "string" and given.id ~= "")
    and is_plain(given.priority, -PRIORITY_MAX, PRIORITY_MAX) and is_plain(given.retries, 0, RETRIES_MAX)
    and is_seconds(given.delay) and is_seconds(given.timeout)
end

--- The options of a job, normalised. A mistake raises.
---@param given any
---@param what string the function that they were given to
---@param level integer of whom to blame, as for `error` here
---@return table
function M.check(given, what, level)
  if type(given) == "table" and is_sound(given) then
    return given
  end
  local checked = options.check(level, given, specs, what)
  if checked.id == "" then
    error(what .. ": option 'id' must be a string that is not empty, got \"\"", level)
  end
  return checked
end

local function is_admitted(self)
  local max = self.options.max_backlog
  if not max then
    return true
  end
  local waiting, delayed = self.store:counts()
  local _, busy = self.crew:counts()
  return queue.admits(max, waiting, delayed, self.options.max_processes - busy)
end

--- Put a job into the store.
---@param self brood.Pool
---@param seq integer
---@param input string its data, encoded
---@param given table options, normalised
---@param client? integer who enqueued it, far away
---@return boolean? ok, brood.Error? err
function M.push(self, seq, input, given, client)
  if self.leaving then
    return nil, E.new("exit", "%s was told to exit", self.name)
  elseif not is_admitted(self) then
    return nil, E.new("backlog", "%s has a backlog of %d jobs already", self.name, self.options.max_backlog)
  end
  if given.id and self.ledger:is_made_here(given.id) then
    return nil, E.new("id", "%s: the id %q is one of those that it makes itself, and no job that it knows has it",
      self.name, given.id)
  end
  local due = given.delay and queue.due(clock.now(), given.delay) or 0
  local timeout = given.timeout
  if timeout == nil then
    timeout = -1
  elseif timeout == false then
    timeout = FOREVER
  end
  local ok, err = self.store:push(seq, payload.pack(input, given.id), given.priority or 0, due, timeout,
    given.retries or -1, client or 0)
  if not ok then
    return nil, err
  end
  if timeout >= 0 then
    self.crew:timeout_seen(timeout)
  end
  self:_stir(due)
  return true
end

return M
