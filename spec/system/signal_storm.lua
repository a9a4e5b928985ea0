--- Random signals at random times to a master under load, and to the master of an upgrade beside it. Whatever they are,
--- in the end the masters are in a state that the wishes allow, do what they are told, and have left no zombie, no
--- descriptor and no second master. A run is repeated by its seed: BROOD_SEED=7; BROOD_STORM=2000x20 is the long proof.
-- time limit: 2400 s
local lu = require "luaunit"
local bit = require "bit"
local brood = require "brood"
local load_client = require "spec.support.load_client"
local s = require "spec.support"
local upgrade = require "spec.support.upgrade"
local uv = require "luv"

local SIGNALS, RUNS = (os.getenv "BROOD_STORM" or "200x2"):match "^(%d+)x(%d+)$"
local FIRST = tonumber(os.getenv "BROOD_SEED" or 1)
local WORKERS = 2

-- A generator of our own: nobody else takes numbers from it, so the same seed is the same storm.
local function generator(seed)
  local state = seed * 2654435761 % 2 ^ 32
  return function(n)
    for _ = 1, 2 do
      state = bit.bxor(state, bit.lshift(state, 13))
      state = bit.bxor(state, bit.rshift(state, 17))
      state = bit.bxor(state, bit.lshift(state, 5))
    end
    return state % 2 ^ 32 % n + 1
  end
end

-- How often each comes, of 100.
local WEIGHTS = {
  { "HUP", 25 }, { "TTIN", 20 }, { "TTOU", 20 }, { "USR1", 15 }, { "WINCH", 10 }, { "USR2", 5 }, { "QUIT", 5 },
}

local function pick(random)
  local n = random(100)
  for _, entry in ipairs(WEIGHTS) do
    n = n - entry[2]
    if n <= 0 then
      return entry[1]
    end
  end
end

-- ---- which numbers of workers are allowed --------------------------------------------------------------------------

local MOST = 5 -- a storm asks for no more: that would try the machine, not the master

local effects = {
  HUP = function() return WORKERS end,
  WINCH = function() return 0 end,
  TTIN = function(n) return n == 0 and WORKERS or n + 1 end,
  TTOU = function(n) return n > 1 and n - 1 or n end,
}

local function apply(set, signal)
  local after = {}
  for n in pairs(set) do
    after[effects[signal](n)] = true
  end
  return after
end

local function union(a, b)
  for n in pairs(b) do
    a[n] = true
  end
  return a
end

-- A signal may have been one with another of its kind, given way to a newer wish, or come before one that was sent
-- before it: each but the last is done or not, the last three in any order.
local function allowed(history)
  local set = { [WORKERS] = true }
  local from = math.max(1, #history - 2)
  for i = 1, from - 1 do
    set = union(apply(set, history[i]), set)
  end
  local last = { unpack(history, from) }
  local found = {}
  local function try(numbers, left)
    found = union(found, #left == 0 and numbers or {})
    for i = 1, #left do
      local rest = { unpack(left) }
      table.remove(rest, i)
      try(apply(numbers, left[i]), rest)
      if #rest > 0 then
        try(numbers, rest)
      end
    end
  end
  try(set, last)
  return found
end

-- ---- the storm -----------------------------------------------------------------------------------------------------

---@class spec.Storm
---@field master spec.Upgraded
---@field random fun(n: integer): integer
---@field living { pid: integer, history: string[], most: integer }[]
---@field sent string[] the last ones, for the failure
local Storm = {}
Storm.__index = Storm

-- The masters that serve: a new one is one of us as soon as it says so.
function Storm:look()
  for pid in self.master:log():gmatch "the new master %(pid (%d+)%) serves beside" do
    pid = tonumber(pid)
    if not self.known[pid] then
      self.known[pid] = true
      table.insert(self.master.masters, pid)
      table.insert(self.living, { pid = pid, history = {} })
    end
  end
  for i = #self.living, 1, -1 do
    if not s.alive(self.living[i].pid) then
      lu.assertTrue(self.living[i].told, "a master died that was not told to: " .. self.living[i].pid)
      table.remove(self.living, i)
    end
  end
  lu.assertTrue(#self.living > 0, "no master lives")
end

local function staying(self)
  local n = 0
  for _, one in ipairs(self.living) do
    n = n + (one.told and 0 or 1)
  end
  return n
end

function Storm:signal(one, name)
  if name == "QUIT" then
    one.told = true
  elseif effects[name] then
    table.insert(one.history, name)
  end
  table.insert(self.sent, ("%s>%d"):format(name, one.pid))
  uv.kill(one.pid, "sig" .. name:lower())
end

function Storm:one()
  self:look()
  local one, name = self.living[self.random(#self.living)], pick(self.random)
  if one.told or name == "QUIT" and staying(self) < 2 or name == "TTIN" and s.worker_count(one.pid) > MOST then
    name = "USR1"
  end
  self:signal(one, name)
end

-- ---- what must be true afterwards ----------------------------------------------------------------------------------

-- What a master has open: how many of each kind.
local function belongings(pid)
  local kinds = {}
  for _, what in pairs(s.fds(pid)) do
    local kind = what:gsub("%[%d+%]", ""):gsub("%d+$", "")
    kinds[kind] = (kinds[kind] or 0) + 1
  end
  return kinds
end

-- What of it is more than before; the first master has inherited something of the spec's as well.
local function leaked(before, now)
  local list = {}
  for kind, n in pairs(now) do
    if n > (before[kind] or 0) then
      list[#list + 1] = ("%s: %d of them, %d before"):format(kind, n, before[kind] or 0)
    end
  end
  return table.concat(list, ", ")
end

local function describe(set)
  local list = {}
  for n in pairs(set) do
    list[#list + 1] = n
  end
  table.sort(list)
  return table.concat(list, " ")
end

local function zombies_of(pid)
  local found = {}
  for child, what in pairs(s.children(pid)) do
    if what:find " Z$" then
      found[#found + 1] = child .. " " .. what
    end
  end
  return table.concat(found, ", ")
end

-- Whether one of these numbers of workers has come about, and stays.
local function settle(one)
  local wanted = allowed(one.history)
  s.wait(function()
    if wanted[s.worker_count(one.pid)] then
      for _ = 1, 10 do
        brood.sleep(0.02)
        if not wanted[s.worker_count(one.pid)] then
          return false
        end
      end
      return true
    end
  end, 30, function()
    return ("%d workers, with one of %s allowed"):format(s.worker_count(one.pid), describe(wanted))
  end)
  s.wait(function() return zombies_of(one.pid) == "" end, 5, function() return "an end of " .. zombies_of(one.pid) end)
end

-- It does still what it is told, one thing after the other.
local function obeys(self, one)
  for _, step in ipairs { { "HUP", 2 }, { "TTIN", 3 }, { "TTOU", 2 }, { "WINCH", 0 }, { "TTIN", 2 }, { "HUP", 2 } } do
    self:signal(one, step[1])
    s.wait(function() return s.worker_count(one.pid) == step[2] end, 30, function()
      return ("%d workers after %s: there are %d"):format(step[2], step[1], s.worker_count(one.pid))
    end)
  end
end

local function masters_of(dir)
  local n = 0
  for _, process in ipairs(s.processes()) do
    local cmdline = table.concat(s.cmdline(process.pid) or {}, " ")
    n = n + (process.state ~= "Z" and cmdline:find("master " .. dir, 1, true) and 1 or 0)
  end
  return n
end

function Storm:judge()
  self:look()
  for _, one in ipairs(self.living) do
    if not one.told then
      settle(one)
    end
  end
  -- One stays. An upgrade that was wished for may begin only now.
  local calm = 0
  s.wait(function()
    self:look()
    for _, one in ipairs(self.living) do
      if not one.told and staying(self) > 1 then
        self:signal(one, "QUIT")
      end
    end
    calm = #self.living == 1 and masters_of(self.master.dir) == 1 and calm + 1 or 0
    return calm == 25
  end, 30, function()
    return ("one master: there are %d, %d known"):format(masters_of(self.master.dir), #self.living)
  end)
  local one = self.living[1]
  obeys(self, one)
  s.wait(function() return leaked(self.first, belongings(one.pid)) == "" end, 10, function()
    return "the end of what is open: " .. leaked(self.first, belongings(one.pid))
  end)
  lu.assertEquals(self.master:pid(), one.pid)
end

-- Told to end, in one way and perhaps another, with other signals after that: it ends, and nothing comes after it.
function Storm:finish()
  local one, ends = self.living[1], { "QUIT", "TERM", "INT" }
  one.told = true
  self:signal(one, ends[self.random(3)])
  for _ = 1, 10 do
    brood.sleep(self.random(5) / 1000)
    local name = pick(self.random)
    self:signal(one, self.random(4) == 1 and ends[self.random(3)] or name)
  end
  s.wait(function() return not s.alive(one.pid) and masters_of(self.master.dir) == 0 end, 20, function()
    return ("the end: %d masters are left"):format(masters_of(self.master.dir))
  end)
  lu.assertFalse(s.exists(self.master.dir .. "/run.pid"))
  lu.assertFalse(s.exists(self.master.dir .. "/run.pid.oldbin"))
  lu.assertFalse(s.exists(self.master.dir .. "/web.sock"))
  if one.pid == self.master.program.pid then
    lu.assertEquals({ self.master.program:wait() }, { 0 })
  end
end

local function run(seed)
  local random = generator(seed)
  local master = upgrade.start {
    app = load_client.APP, workers = WORKERS,
    config = 'listen = { "127.0.0.1:0", "unix:web.sock" }, graceful_timeout = 10,',
  }
  local pid = master.program.pid
  local self = setmetatable({
    master = master, random = random, living = { { pid = pid, history = {} } }, known = { [pid] = true }, sent = {},
  }, Storm)
  assert(master:hup())
  settle(self.living[1])
  self.first = belongings(pid)
  local load = load_client.start({ master:address(), "unix:" .. master.dir .. "/web.sock" }, { "4:keep:echo:5",
    "4:short:echo:5", "2:keep:slow:0", "2:keep:echo:200" })
  local ok, err = brood.async(function()
    for _ = 1, tonumber(SIGNALS) do
      self:one()
      brood.sleep((random(20) - 1) / 1000)
    end
    self:judge()
    return true
  end):wait()
  local figures = load:stop()
  if ok then
    ok, err = brood.async(function()
      self:finish()
      return true
    end):wait()
  end
  local log = master:log()
  master:over()
  if not ok then
    error(("seed %d: %s\nthe last signals: %s\n%s"):format(seed, err.message,
      table.concat(self.sent, " ", math.max(1, #self.sent - 40)), log:sub(-6000)), 0)
  end
  -- A third generation of draining workers cuts the first one short: an idle connection may then be closed.
  lu.assertEquals(figures.failed - figures.stale, 0, "seed " .. seed .. ": " .. brood.json.encode(figures))
  print(("seed %d: %d signals, %d masters, %d answers, %d stale"):format(seed, #self.sent, #master.masters, figures.ok,
    figures.stale))
end

local T = {}

for seed = FIRST, FIRST + tonumber(RUNS) - 1 do
  T[("a storm of %s signals, seed %d"):format(SIGNALS, seed)] = function()
    run(seed)
  end
end

return T
