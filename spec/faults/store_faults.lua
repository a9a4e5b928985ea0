--- The job store without memory: each mapping, and each malloc, fails in turn. A push or a lane is refused with a clear
--- error and works the next time; what was in the store stays in it, in order.
local lu = require "luaunit"
local faults = require "spec.support.faults"

local T = {}

-- Pushes of several sizes, priorities and delays, enough for tables and heaps to grow; each that fails is tried again.
local SCRIPT = [[
local jobs = require "brood.core".jobs
local fault = require "spec.support.faults"
local codes = {}
jit.off() -- where a trace begins, LuaJIT and libgcc do not survive without memory
local function again(fn, ...)
  local ok, err, third = fn(...)
  if not ok and (err or third) then
    err = type(err) == "table" and err or third
    if err then
      codes[err.code] = true
      ok, err = fn(...)
    end
  end
  return ok, err
end
local warm = jobs.store()
warm:push(1, "", 0, 0, -1, -1)
warm:lane()
warm:close()
fault.arm()
local store = assert(again(jobs.store))
local N = 1500
for seq = 1, N do
  local data = seq .. ":" .. ("x"):rep(seq % 50 == 0 and 70000 or seq % 700)
  assert(again(store.push, store, seq, data, seq % 5, seq % 3 == 0 and 1 + seq / N or 0, -1, -1, 0, 1))
end
local lane = assert(again(store.lane, store))
local given, seen, last = 0, {}, nil
for round = 1, 20 do
  local frame, n = again(lane.assign, lane, 30, 1)
  if frame then
    given = given + n
    if round % 2 == 0 then given = given - lane:take_back() end
  end
end
local waiting, delayed, assigned = store:counts()
if waiting + delayed + assigned ~= N then print("LOST", waiting, delayed, assigned) end
lane:abandon()
store:due(10)
for seq = 1, N do
  local state = store:find(seq)
  if not state or store:data(seq):match("^%d+") ~= tostring(seq) then print("WRONG", seq, state) end
  if seq % 2 == 0 then store:remove(seq) end
end
lane:free()
for seq = 1, N, 2 do
  if select(2, store:find(seq)) == nil then print("GONE", seq) end
  if store:find(seq) == "assigned" then store:requeue(seq, seq % 4 == 1 and 99 or 0, 2, 1) end
  store:remove(seq)
end
if store:counts() ~= 0 then print("LEFT", store:counts()) end
store:close()
fault.disarm()
local list = {}
for code in pairs(codes) do list[#list + 1] = code end
print("codes", table.concat(list, " "))
]]

local function judge(call)
  return function()
    local failures = 0
    faults.each({ call = call, errno = "ENOMEM", script = SCRIPT, from = "arm", max = 120 }, function(result, n)
      local where = ("%s %d: %s%s"):format(call, n, result.stdout, result.stderr)
      lu.assertEquals(result.code, 0, where)
      local codes = result.stdout:match("^codes\t([%w ]*)\n$")
      lu.assertTrue(codes == "" or codes == "ENOMEM", where)
      failures = failures + (codes == "ENOMEM" and 1 or 0)
    end)
    -- A sanitizer has a malloc of its own.
    lu.assertTrue(failures > 0 or call == "malloc" and os.getenv("BROOD_SANITIZED") ~= nil)
  end
end

T["a mapping that cannot be kept from forks is none, and what was pushed stays"] = judge "madvise"
T["a lane without a shared page is refused, and there is one the next time"] = judge "mmap"
T["whatever malloc refuses, nothing is lost"] = judge "malloc"

return T
