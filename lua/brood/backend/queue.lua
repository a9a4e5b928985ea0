--- Who waits for a program, in order. Each waits by a ticket, which may be called off.
local M = {}

---@class brood.BackendTicket
---@field done fun(err: brood.Error?, lease: brood.BackendLease?)
---@field over? boolean it has been answered, or called off
---@field queue brood.BackendQueue
local Ticket = {}
Ticket.__index = Ticket

---@class brood.BackendQueue
---@field first integer
---@field last integer
---@field count integer how many wait
local Queue = {}
Queue.__index = Queue

---@return brood.BackendQueue
function M.new()
  return setmetatable({ first = 1, last = 0, count = 0 }, Queue)
end

--- Wait, behind all others, or before them: who has had a turn that came to nothing.
---@param done fun(err: brood.Error?, lease: brood.BackendLease?)
---@param before? boolean
---@return brood.BackendTicket
function Queue:add(done, before)
  local ticket = setmetatable({ done = done, queue = self }, Ticket)
  local at
  if before then
    self.first = self.first - 1
    at = self.first
  else
    self.last = self.last + 1
    at = self.last
  end
  self[at] = ticket
  self.count = self.count + 1
  return ticket
end

--- The next one, who waits no longer.
---@return brood.BackendTicket?
function Queue:take()
  while self.first <= self.last do
    local ticket = self[self.first]
    self[self.first] = nil
    self.first = self.first + 1
    if not ticket.over then
      ticket.over = true
      self.count = self.count - 1
      return ticket
    end
  end
end

--- All that wait now, in order.
---@return brood.BackendTicket[]
function Queue:take_all()
  local list = {}
  for ticket in self.take, self do
    list[#list + 1] = ticket
  end
  return list
end

--- It is not wanted any more, and is not answered; nothing where it has been.
---@return boolean
function Ticket:cancel()
  if self.over then
    return false
  end
  self.over = true
  self.queue.count = self.queue.count - 1
  return true
end

return M
