--- The job store and its lanes against a plain model: random calls in virtual time, both ends of each lane in one
--- process. BROOD_SEED chooses other sequences.
local lu = require "luaunit"
local jobs = require "brood.core".jobs

local T = {}

local SEED = tonumber(os.getenv("BROOD_SEED") or 1)
local RUNS, STEPS, LANES = 40, 1500, 3
local FINAL = { "success", "failure", "recovering", "recovering_failure" }

local W = {}
W.__index = W

local function world(seed)
  math.randomseed(seed)
  return setmetatable({
    store = assert(jobs.store()), now = 1, seq = 0, orders = 0, late = 0,
    jobs = {}, lanes = {},
  }, W)
end

local function before(a, b)
  if a.priority ~= b.priority then
    return a.priority > b.priority
  end
  return a.order < b.order
end

-- The jobs in that state, as the store would have them in order.
function W:sorted(state)
  local list = {}
  for _, job in pairs(self.jobs) do
    if job.state == state then
      list[#list + 1] = job
    end
  end
  table.sort(list, state == "waiting" and before or function(a, b)
    if a.due ~= b.due then
      return a.due < b.due
    end
    return a.seq < b.seq
  end)
  return list
end

function W:any(accept)
  local list = {}
  for seq, job in pairs(self.jobs) do
    if not accept or accept(job) then
      list[#list + 1] = seq
    end
  end
  table.sort(list)
  return self.jobs[list[math.random(math.max(#list, 1))]]
end

function W:wait(job)
  self.orders = self.orders + 1
  job.state, job.order, job.due = "waiting", self.orders, nil
end

function W:lane()
  local n = math.random(LANES)
  local lane = self.lanes[n]
  if not lane then
    local l = assert(self.store:lane())
    lane = { l = l, inbox = l:inbox(), given = {}, sent = {}, answers = {}, n = n }
    self.lanes[n] = lane
  end
  return lane
end

-- ---- what may happen ------------------------------------------------------------------------------------------------

function W:push()
  for _ = 1, math.random(4) do
    self.seq = self.seq + math.random(3)
    local size = math.random(20) == 1 and math.random(200000) or math.random(0, 300)
    local job = {
      seq = self.seq, data = ("%d:"):format(self.seq) .. ("x"):rep(size), priority = math.random(0, 3) / 2,
      attempt = 1, client = math.random(0, 9), timeout = math.random(3) / 10, retries = math.random(-1, 5),
    }
    local due = math.random(4) == 1 and self.now + math.random(50) / 10 or 0
    assert(self.store:push(job.seq, job.data, job.priority, due, job.timeout, job.retries, job.client, self.now))
    self.jobs[job.seq] = job
    if due == 0 then
      self:wait(job)
    else
      job.state, job.due = "delayed", due
    end
  end
end

function W:push_again()
  local job = self:any()
  if job then
    local ok, err = self.store:push(job.seq, "other", 0, 0, -1, -1)
    lu.assertNil(ok)
    lu.assertEquals(err.code, "EEXIST")
  end
end

function W:time()
  self.now = self.now + math.random(20) / 10
  local next
  for _, job in ipairs(self:sorted("delayed")) do
    if job.due <= self.now then
      self:wait(job)
    else
      next = next or job.due
    end
  end
  lu.assertEquals(self.store:due(self.now), next)
end

function W:assign()
  local lane, max = self:lane(), math.random(8)
  local frame, count = lane.l:assign(max, self.now)
  local list = self:sorted("waiting")
  lu.assertEquals(frame == nil, #list == 0)
  lu.assertTrue(count <= max and (count == math.min(max, #list) or #frame > 50000))
  for i = 1, count do
    local job = list[i]
    job.state, job.lane, job.begun = "given", lane, nil
    lane.given[#lane.given + 1] = { job = job, seq = job.seq }
  end
  if frame then
    lane.sent[#lane.sent + 1] = frame
  end
end

-- The worker reads what came: perhaps late, when some of it was taken back.
function W:feed()
  local lane = self:lane()
  local frame = table.remove(lane.sent, 1)
  if frame then
    lane.read = lane.read or 0
    lu.assertTrue(lane.inbox:feed(frame))
    lane.fed = lane.fed or {}
  end
end

function W:begin()
  local lane = self:lane()
  local seq, attempt, data = lane.inbox:next(self.now)
  if not seq then
    return
  end
  for _, entry in ipairs(lane.given) do
    if not entry.begun then
      lu.assertEquals(seq, entry.seq)
      entry.begun = true
      if entry.job then
        lu.assertEquals(attempt, entry.job.attempt)
        lu.assertEquals(data, entry.job.data)
      end
      lane.current, lane.answered = entry, false
      lane.started = self.now
      return
    end
  end
  lu.fail("a job was begun that nobody gave")
end

function W:answer()
  local lane = self:lane()
  if not lane.current or lane.answered then
    return
  end
  local kind = math.random(4) == 1 and "progress" or FINAL[math.random(#FINAL)]
  local data = ("r"):rep(math.random(0, 50))
  assert(lane.inbox:put(lane.current.seq, kind, data, self.now))
  lane.answers[#lane.answers + 1] = { entry = lane.current, kind = kind, data = data }
  if kind ~= "progress" then
    lane.answered = true
    if kind:find("recovering") then
      assert(lane.inbox:put(lane.current.seq, "recovered", ""))
      lane.answers[#lane.answers + 1] = { entry = lane.current, kind = "recovered", data = "" }
    end
  end
end

local function forget(lane, entry)
  for i, other in ipairs(lane.given) do
    if other == entry then
      return table.remove(lane.given, i)
    end
  end
end

function W:take()
  local lane = self:lane()
  local frame, at = lane.inbox:frame(), 0
  for _, told in ipairs(lane.answers) do
    local job = told.entry.job
    if job or told.kind ~= "progress" then
      local offset, seq, kind, data, client = lane.l:take(frame, at, self.now)
      lu.assertEquals(seq, told.entry.seq)
      if told.kind == "recovered" then
        lu.assertEquals(kind, "recovered")
      elseif job then
        lu.assertEquals({ kind, data, client }, { told.kind, told.data, job.client })
        if kind ~= "progress" then
          job.state, job.lane = "held", nil
          forget(lane, told.entry)
        end
      else
        lu.assertEquals({ kind, data }, { "late", told.kind })
        self.late = self.late + 1
        forget(lane, told.entry)
      end
      at = offset
    end
  end
  lane.answers = {}
  if frame then
    lu.assertEquals({ lane.l:take(frame, at, self.now) }, {})
  end
end

function W:put_back(lane)
  local n, kept = 0, {}
  for _, entry in ipairs(lane.given) do
    if entry.begun then
      kept[#kept + 1] = entry
    elseif entry.job then
      entry.job.state, entry.job.lane = "waiting", nil
      n = n + 1
    end
  end
  lane.given = kept
  return n
end

function W:take_back()
  local lane = self:lane()
  lu.assertEquals(lane.l:take_back(), self:put_back(lane))
end

function W:die()
  local lane = self:lane()
  self:put_back(lane)
  local begun = {}
  for _, entry in ipairs(lane.given) do
    if entry.job then
      begun[#begun + 1] = entry.seq
      entry.job.state, entry.job.lane = "held", nil
    end
  end
  lu.assertEquals(lane.l:abandon(), begun)
  lane.l:free()
  lu.assertErrorMsgContains("freed", lane.l.outstanding, lane.l)
  self.lanes[lane.n] = nil
end

function W:remove()
  local job = self:any()
  if not job then
    lu.assertNil(self.store:remove(self.seq + 1))
    return
  end
  lu.assertTrue(self.store:remove(job.seq))
  self.jobs[job.seq] = nil
  for _, lane in pairs(self.lanes) do
    for _, entry in ipairs(lane.given) do
      if entry.job == job then
        entry.job = nil
      end
    end
  end
end

function W:requeue()
  local job = self:any(function(job)
    return job.state == "held"
  end)
  if not job then
    return
  end
  local due = math.random(2) == 1 and self.now + math.random(20) / 10 or 0
  job.attempt = job.attempt + 1
  lu.assertTrue(self.store:requeue(job.seq, due, job.attempt, self.now))
  if due == 0 then
    self:wait(job)
  else
    job.state, job.due = "delayed", due
  end
  for _, lane in pairs(self.lanes) do
    for _, told in ipairs(lane.answers) do
      if told.entry.job == job then
        told.entry.job = nil
      end
    end
  end
end

local STATES = { waiting = "waiting", delayed = "delayed", given = "assigned", held = "assigned" }

function W:look()
  local counts, bytes = { waiting = 0, delayed = 0, assigned = 0 }, 0
  for seq, job in pairs(self.jobs) do
    local state = STATES[job.state]
    counts[state] = counts[state] + 1
    bytes = bytes + #job.data
    lu.assertEquals({ self.store:find(seq) },
      { state, job.attempt, job.lane and job.lane.l, job.client, job.timeout, job.retries })
  end
  lu.assertEquals({ self.store:counts() }, { counts.waiting, counts.delayed, counts.assigned, bytes })
  local job = self:any()
  if job then
    lu.assertEquals(self.store:data(job.seq), job.data)
  end
  local expected, n = {}, math.random(20)
  for _, state in ipairs { "waiting", "delayed" } do
    for _, one in ipairs(self:sorted(state)) do
      if #expected < n then
        expected[#expected + 1] = one.seq
      end
    end
  end
  lu.assertEquals(self.store:take_any(n), expected)
  for _, lane in pairs(self.lanes) do
    local list, running = {}, nil
    for _, entry in ipairs(lane.given) do
      if entry.job then
        list[#list + 1] = entry.seq
      end
      running = entry.begun and entry.seq or running
    end
    lu.assertEquals(lane.l:list(), list)
    lu.assertEquals(lane.l:outstanding(), #lane.given)
    local seq, started = lane.l:running()
    lu.assertEquals(seq, running)
    if seq then
      lu.assertEquals(started, lane.started)
    end
  end
  lu.assertEquals(self.store:stats().late, self.late)
end

local MOVES = { "push", "push", "push_again", "time", "assign", "assign", "feed", "feed", "begin", "begin", "begin",
  "answer", "answer", "answer", "take", "take", "take_back", "die", "remove", "requeue", "requeue" }

local function run(seed)
  local w = world(seed)
  local n
  local ok, err = pcall(function()
    for step = 1, STEPS do
      n = step
      w[MOVES[math.random(#MOVES)]](w)
      if step % 20 == 0 then
        w:look()
      end
    end
  end)
  if not ok then
    error(("BROOD_SEED=%d, step %d: %s"):format(seed, n, type(err) == "table" and err.msg or tostring(err)), 0)
  end
  -- All ends, and nothing is left.
  for seq in pairs(w.jobs) do
    w.store:remove(seq)
  end
  for _, lane in pairs(w.lanes) do
    lane.l:free()
  end
  lu.assertEquals({ w.store:counts() }, { 0, 0, 0, 0 })
  w.store:close()
end

T["whatever happens in whatever order, a job is where the model has it and is begun once per attempt"] = function()
  for i = 0, RUNS - 1 do
    run(SEED + i)
  end
end

return T
