--- What a peer has received and nobody has listened to yet. It keeps the order,
--- asks the other side to hold back before much has piled up, and hands all on
--- once somebody listens. It neither decodes nor knows what a channel is.
local log = require "brood.log"
local timer = require "brood.timer"

--- From HOLD on the other side is asked to wait with messages, from PAUSE on nothing is read.
local HOLD = 1024 * 1024
local PAUSE = 16 * 1024 * 1024
--- What a kept message costs beside its bytes.
local ENTRY_COST = 100
--- How long an ordered frame waits behind messages to which nobody listens, in seconds.
local ORDERED_GRACE = 1

local M = {}

---@class brood.InboxEntry
---@field payload string
---@field fd integer?
---@field ordered boolean? a control frame that comes after the messages before it

---@class brood.InboxOwner
---@field name string
---@field is_heard fun(): boolean whether somebody listens to messages
---@field take fun(entry: brood.InboxEntry) hand it on
---@field drop fun(entry: brood.InboxEntry) nobody wants it
---@field hold fun(on: boolean) ask the other side to keep messages, or to send them
---@field pause fun(on: boolean) stop reading, or go on
---@field drained fun() a handing on that was planned is over

---@class brood.Inbox
---@field bytes integer
---@field holding boolean
---@field paused boolean
---@field draining boolean messages will be handed on in a turn of their own
local Inbox = {}
Inbox.__index = Inbox

---@param owner brood.InboxOwner
---@return brood.Inbox
function M.new(owner)
  return setmetatable({
    owner = owner, entries = {}, first = 1, last = 0, bytes = 0, holding = false, paused = false, draining = false,
  }, Inbox)
end

---@return integer
function Inbox:count()
  return self.last - self.first + 1
end

local function reset(self)
  self.entries, self.first, self.last, self.bytes = {}, 1, 0, 0
end

local function pop(self)
  local entry = self.entries[self.first]
  self.entries[self.first] = nil
  self.first = self.first + 1
  self.bytes = self.bytes - #entry.payload - ENTRY_COST
  return entry
end

local function open_again(self)
  if self.holding then
    self.holding = false
    self.owner.hold(false)
  end
  if self.paused then
    self.paused = false
    self.owner.pause(false)
  end
end

--- Hand on what was kept, as long as somebody listens: a `once` takes one.
function Inbox:drain()
  self.draining = false
  while self.first <= self.last do
    if not self.entries[self.first].ordered and not self.owner.is_heard() then
      break
    end
    self.owner.take(pop(self))
  end
  if self.first > self.last then
    reset(self)
    open_again(self)
  end
  self.owner.drained()
end

--- Somebody listens now: hand on what was kept, in a turn of its own, because who adds a listener has not finished yet.
function Inbox:heard()
  if self.first <= self.last and not self.draining then
    self.draining = true
    timer.after(0, function()
      self:drain()
    end)
  end
end

--- Forget all of it.
function Inbox:clear()
  for i = self.first, self.last do
    self.owner.drop(self.entries[i])
  end
  reset(self)
end

local function keep(self, entry)
  self.last = self.last + 1
  self.entries[self.last] = entry
  self.bytes = self.bytes + #entry.payload + ENTRY_COST
  if self.bytes > HOLD and not self.holding then
    self.holding = true
    self.owner.hold(true)
  end
  if self.bytes > PAUSE and not self.paused then
    self.paused = true
    self.owner.pause(true)
  end
end

-- Where nobody ever listens to the messages before it, an ordered frame comes all the same.
local function give_up_waiting(self, entry)
  if self.first <= self.last and self.entries[self.last] == entry and not self.owner.is_heard() then
    log.debug(("%s: %d messages were never listened to"):format(self.owner.name, self:count() - 1))
    self.entries[self.last] = nil
    self.last = self.last - 1
    self:clear()
    self.owner.take(entry)
  end
end

--- Hand it on now, or behind what waits already.
---@param entry brood.InboxEntry
function Inbox:put(entry)
  if self.first > self.last and (entry.ordered or self.owner.is_heard()) then
    return self.owner.take(entry)
  end
  keep(self, entry)
  if entry.ordered then
    timer.after(ORDERED_GRACE, function()
      give_up_waiting(self, entry)
    end):unref()
  end
end

return M
