--- The store of waiting jobs as plain Lua lists: what core.jobs must do, written down as simply as can be. Slow, for
--- one process, and with frames that are tables.
local M = {}

---@class spec.JobStore
local Store = {}
Store.__index = Store
local Lane = {}
Lane.__index = Lane
local Inbox = {}
Inbox.__index = Inbox

function M.store()
  return setmetatable({ jobs = {}, waiting = {}, late = 0, order = 0, front = 0 }, Store)
end

-- Higher priorities first, then those taken back, the earlier first.
local function insert(self, job)
  local at = 1
  while self.waiting[at] do
    local other = self.waiting[at]
    if job.priority > other.priority or job.priority == other.priority and job.place < other.place then
      break
    end
    at = at + 1
  end
  table.insert(self.waiting, at, job)
  job.state, job.lane = "waiting", nil
end

local function last_place(self)
  self.order = self.order + 1
  return self.order
end

local function take_out(self, job)
  for at, each in ipairs(self.waiting) do
    if each == job then
      table.remove(self.waiting, at)
    end
  end
end

function Store:push(seq, payload, priority, due, timeout, retries, client)
  assert(not self.jobs[seq])
  local job = {
    seq = seq, payload = payload, priority = priority, timeout = timeout, retries = retries, client = client or 0,
    attempt = 1, due = due, state = "delayed",
  }
  self.jobs[seq] = job
  if due == 0 then
    job.place = last_place(self)
    insert(self, job)
  end
  return true
end

local function delayed(self)
  local list = {}
  for _, job in pairs(self.jobs) do
    if job.state == "delayed" then
      table.insert(list, job)
    end
  end
  table.sort(list, function(a, b)
    return a.due < b.due or a.due == b.due and a.seq < b.seq
  end)
  return list
end

function Store:due(now)
  for _, job in ipairs(delayed(self)) do
    if job.due > now then
      return job.due
    end
    job.place = last_place(self)
    insert(self, job)
  end
end

function Store:counts()
  local assigned = 0
  for _, job in pairs(self.jobs) do
    assigned = assigned + (job.state == "assigned" and 1 or 0)
  end
  return #self.waiting, #delayed(self), assigned
end

function Store:find(seq)
  local job = self.jobs[seq]
  if job then
    return job.state, job.attempt, job.lane, job.client, job.timeout, job.retries
  end
end

function Store:put() end -- luacheck: ignore 212

---A pool encodes and decodes by itself where these do not.
function Store:finish(seq)
  self:remove(seq)
end

function Store:data(seq)
  return self.jobs[seq] and self.jobs[seq].payload
end

function Store:remove(seq)
  local job = self.jobs[seq]
  if job then
    take_out(self, job)
    self.jobs[seq] = nil
    return true
  end
end

function Store:requeue(seq, due, attempt)
  local job = self.jobs[seq]
  job.attempt, job.due, job.state, job.lane = attempt, due, "delayed", nil
  if due == 0 then
    job.place = last_place(self)
    insert(self, job)
  end
end

function Store:take_any(n)
  local list = {}
  for _, from in ipairs { self.waiting, delayed(self) } do
    for _, job in ipairs(from) do
      if #list < n then
        table.insert(list, job.seq)
      end
    end
  end
  return list
end

function Store:stats()
  return { late = self.late, waiting = {}, running = {} }
end

function Store:lane()
  return setmetatable({ store = self, given = {}, claimed = {} }, Lane)
end

function Lane:assign(n)
  local frame = {}
  while #frame < n and self.store.waiting[1] do
    local job = table.remove(self.store.waiting, 1)
    job.state, job.lane = "assigned", self
    table.insert(self.given, job.seq)
    table.insert(frame, { job.seq, job.attempt, job.payload })
  end
  return #frame > 0 and frame or nil, #frame
end

function Lane:outstanding()
  return #self.given
end

function Lane:list()
  return { unpack(self.given) }
end

function Lane:running()
  local seq = self.latest
  if seq and self.claimed[seq] then
    return seq, self.claimed[seq]
  end
end

local function drop(self, seq)
  for at, each in ipairs(self.given) do
    if each == seq then
      self.claimed[seq] = nil
      table.remove(self.given, at)
      return true
    end
  end
end

function Lane:take(frame, offset)
  local record = frame[offset + 1]
  if not record then
    return nil
  end
  local seq, kind, payload = unpack(record)
  local job = self.store.jobs[seq]
  local late = not job or job.lane ~= self
  if kind ~= "progress" and kind ~= "recovered" then
    drop(self, seq)
    if job and not late then
      job.lane = nil
    end
  end
  if late then
    self.store.late = self.store.late + 1
    kind = "late"
  end
  return offset + 1, seq, kind, payload, job and job.client or 0
end

function Lane:take_back()
  local n = 0
  for at = #self.given, 1, -1 do
    local seq = self.given[at]
    if not self.claimed[seq] then
      table.remove(self.given, at)
      local job = self.store.jobs[seq]
      if job then
        self.store.front = self.store.front - 1
        job.place = self.store.front
        insert(self.store, job)
        n = n + 1
      end
    end
  end
  return n
end

function Lane:abandon()
  self:take_back()
  local list = {}
  for _, seq in ipairs(self.given) do
    local job = self.store.jobs[seq]
    if job then
      job.lane = nil
      table.insert(list, seq)
    end
  end
  self.given, self.claimed = {}, {}
  return list
end

function Lane:free() end -- luacheck: ignore 212

function Lane:inbox()
  return setmetatable({ lane = self, fed = {}, out = {} }, Inbox)
end

function Inbox:feed(frame)
  for _, record in ipairs(frame) do
    table.insert(self.fed, record)
  end
  return true
end

function Inbox:next(now)
  while self.fed[1] do
    local seq, attempt, payload = unpack(table.remove(self.fed, 1))
    for _, given in ipairs(self.lane.given) do
      if given == seq and not self.lane.claimed[seq] then
        self.lane.claimed[seq], self.lane.latest = now or 0, seq
        return seq, attempt, payload
      end
    end
  end
end

function Inbox:put(seq, kind, payload)
  table.insert(self.out, { seq, kind, payload })
  return #self.out
end

function Inbox:frame()
  local out = self.out
  self.out = {}
  return #out > 0 and out or nil
end

return M
