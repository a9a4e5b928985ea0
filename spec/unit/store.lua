--- The job store: order, delays, arguments, malformed frames, histograms; what a lane says of each job.
local lu = require "luaunit"
local jobs = require "brood.core".jobs
local message = require "brood.message"

local T = {}

local function filled(...)
  local s = assert(jobs.store())
  for seq, priority in ipairs { ... } do
    assert(s:push(seq, "job " .. seq, priority, 0, -1, -1, 0, 1))
  end
  return s
end

local function lane_of(s)
  local lane = assert(s:lane())
  return lane, lane:inbox()
end

-- All that the worker begins of one frame of so many.
local function begun(s, n)
  local lane, inbox = lane_of(s)
  local frame, list = lane:assign(n, 1), {}
  if frame then
    assert(inbox:feed(frame))
  end
  repeat
    local seq = inbox:next(1)
    list[#list + 1] = seq
  until not seq
  return list, lane, inbox
end

T["higher priorities go first and equals in order, whatever numbers they are"] = function()
  lu.assertEquals(begun(filled(0, 5, 0, -1, 5, 0.5, 1e300, -math.huge, -0), 20), { 7, 2, 5, 6, 1, 3, 9, 4, 8 })
end

T["ten thousand different priorities are in order too, also after half were removed"] = function()
  local s, left = jobs.store(), {}
  for seq = 1, 10000 do
    s:push(seq, "", seq * 7919 % 10007, 0, -1, -1)
  end
  for seq = 1, 10000 do
    if seq % 2 == 0 then
      s:remove(seq)
    else
      left[#left + 1] = seq
    end
  end
  table.sort(left, function(a, b)
    return a * 7919 % 10007 > b * 7919 % 10007
  end)
  lu.assertEquals(s:take_any(10000), left)
end

T["delayed jobs wait from when they are due, behind their equals, in the order of being due"] = function()
  local s = filled(0)
  s:push(2, "", 0, 30, -1, -1)
  s:push(3, "", 0, 20, -1, -1)
  s:push(4, "", 0, 20, -1, -1)
  lu.assertEquals(s:due(10), 20)
  lu.assertEquals({ s:counts() }, { 1, 3, 0, 5 })
  lu.assertEquals(s:due(20), 30)
  lu.assertNil(s:due(31))
  lu.assertEquals(begun(s, 9), { 1, 3, 4, 2 })
end

T["what was taken back goes before its equals and is not begun by who still has it"] = function()
  local s = filled(0, 0, 0, 0)
  local lane, inbox = lane_of(s)
  local frame = lane:assign(3, 1)
  assert(inbox:feed(frame))
  lu.assertEquals(inbox:next(1), 1)
  lu.assertEquals(lane:take_back(), 2)
  lu.assertNil(inbox:next(1))
  lu.assertEquals(s:take_any(9), { 2, 3, 4 })
  lu.assertEquals(lane:list(), { 1 })
  assert(inbox:feed((lane:assign(1, 1))))
  lu.assertEquals(inbox:next(1), 2)
  inbox:put(1, "success", "not the one claimed last")
  inbox:put(2, "success", "two")
  local results = inbox:frame()
  local offset, seq, kind = lane:take(results, 0, 2)
  lu.assertEquals({ seq, kind }, { 1, "late" })
  lu.assertEquals({ select(2, lane:take(results, offset, 2)) }, { 2, "success", "two", 0, 1 })
end

-- Given and answered, with the frame that says so: what store:answer is told by lane:take.
local function answered(s, seq, value, result)
  local record, size = s:put(seq, value)
  local lane, inbox = lane_of(s)
  assert(inbox:feed((lane:assign(1, 1))))
  assert(inbox:next(1))
  inbox:put(seq, "success", result)
  local frame = inbox:frame()
  local offset, _, kind, bytes = lane:take(frame, 0, 1, true)
  lu.assertEquals({ kind, bytes }, { "success", #result })
  return record, size, frame, offset, bytes
end

T["a record keeps what a job was given, and its output where there is room for it"] = function()
  local s, value = jobs.store(), { "data", n = 1 }
  for _, result in ipairs { message.encode(42), message.encode(("long "):rep(100)), message.encode(nil) } do
    local record, size, frame, offset, bytes = answered(s, 1, value, result)
    lu.assertEquals({ size, jobs.input(record) }, { #s:data(1), s:data(1) })
    local known, decoded, output = s:answer(1, record, frame, offset, bytes)
    lu.assertEquals({ known, decoded }, { true, (select(2, message.decode(result))) })
    lu.assertTrue(output == (#result < 30 and true or result))
    lu.assertEquals(output == true and jobs.output(record) or output, result)
    lu.assertEquals(select(2, message.decode(jobs.input(record))), value)
    lu.assertNil(s:find(1)) -- it has ended
    lu.assertNil(s:answer(1, record, frame, offset, bytes))
  end
end

T["what only a string can tell is left to it, and the job stays"] = function()
  local s = jobs.store()
  local record, _, frame, offset, bytes = answered(s, 1, "data", "\255 nonsense")
  lu.assertNil(s:answer(1, record, frame, offset, bytes))
  lu.assertEquals(s:find(1), "assigned")
end

T["neither what is no record nor bytes beyond the frame are taken"] = function()
  local s = jobs.store()
  local record, _, frame, offset, bytes = answered(s, 1, "data", message.encode(1))
  for _, other in ipairs { s, io.stdout, newproxy(), "record", 1 } do
    lu.assertErrorMsgContains("record expected", jobs.input, other)
    lu.assertErrorMsgContains("record expected", jobs.output, other)
    lu.assertErrorMsgContains("record expected", s.answer, s, 1, other, frame, offset, bytes)
  end
  lu.assertErrorMsgContains("beyond the frame", s.answer, s, 1, record, frame, #frame + 1, 1)
  lu.assertErrorMsgContains("beyond the frame", s.answer, s, 1, record, frame, offset, offset + 1)
  lu.assertEquals(s:find(1), "assigned")
end

T["a claimed job of a former generation is still answered"] = function()
  local s = filled(0, 0)
  local _, lane, inbox = begun(s, 1)
  assert(inbox:feed((lane:assign(1, 1))))
  lu.assertEquals(lane:take_back(), 1)
  inbox:put(1, "failure", "why")
  lu.assertEquals({ select(2, lane:take(inbox:frame(), 0, 2)) }, { 1, "failure", "why", 0, 0 })
  lu.assertEquals({ s:find(1) }, { "assigned", 1, nil, 0, -1, -1 })
end

T["an answer for a job that was not begun is a breach of protocol"] = function()
  local _, lane, inbox = begun(filled(0, 0), 1)
  inbox:put(1, "success", "")
  local frame = inbox:frame()
  lane:take(frame, 0, 1)
  lane:assign(1, 1)
  -- The ticket after the one that it had, and job 2.
  local forged = string.char(2) .. frame:sub(2, 28) .. string.char(frame:byte(29) + 1) .. frame:sub(30)
  lu.assertEquals({ lane:take(forged, 0, 1) }, { nil, "protocol" })
end

T["a frame that is cut anywhere, or of nonsense, is refused by either end"] = function()
  local s = filled(0, 0)
  local lane, inbox = lane_of(s)
  local frame = lane:assign(2, 1)
  for n = 0, #frame - 1 do
    if n ~= #frame / 2 then
      lu.assertEquals({ inbox:feed(frame:sub(1, n)) }, { nil, "protocol" }, n)
    end
  end
  lu.assertNil(inbox:feed(("\0"):rep(24)))
  lu.assertNil(inbox:feed(("\255"):rep(100)))
  assert(inbox:feed(frame))
  inbox:next(1)
  inbox:put(1, "success", "result")
  local results = inbox:frame()
  for n = 1, #results - 1 do
    lu.assertEquals({ lane:take(results:sub(1, n), 0, 1) }, { nil, "protocol" }, n)
  end
  lu.assertEquals({ lane:take(("\255"):rep(64), 0, 1) }, { nil, "protocol" })
  lu.assertEquals({ lane:take(("\0"):rep(32), 0, 1) }, { nil, "protocol" })
  lu.assertEquals(lane:list(), { 1, 2 })
end

T["bytes at random make neither end crash"] = function()
  math.randomseed(7)
  local s = filled(0, 0, 0)
  local lane, inbox = lane_of(s)
  local frame = lane:assign(3, 1)
  for _ = 1, 3000 do
    local bytes = { frame:byte(1, -1) }
    for _ = 1, math.random(4) do
      bytes[math.random(#bytes)] = math.random(0, 255)
    end
    local text = string.char(unpack(bytes))
    lane:take(text, 0, 1)
    if inbox:feed(text) then
      while inbox:next(1) do
        inbox:put(1, "progress", "")
      end
    end
    local results = inbox:frame()
    if results then
      lane:take(results, 0, 1)
    end
  end
end

T["a frame ends at 256 kB, but one job is always taken"] = function()
  local s = jobs.store()
  s:push(1, ("x"):rep(300000), 0, 0, -1, -1)
  for seq = 2, 10 do
    s:push(seq, ("x"):rep(100000), 0, 0, -1, -1)
  end
  local lane = s:lane()
  lu.assertEquals(select(2, lane:assign(10, 1)), 1)
  lu.assertEquals(select(2, lane:assign(10, 1)), 2)
  lu.assertEquals({ lane:assign(0, 1) }, { nil, 0 })
  lu.assertEquals({ lane:assign(-5, 1) }, { nil, 0 })
  lu.assertEquals(lane:outstanding(), 3)
end

T["64 MB go through, more is refused at once"] = function()
  local s, data = jobs.store(), ("x"):rep(64 * 1024 * 1024)
  assert(s:push(1, data, 0, 0, -1, -1))
  local _, err = s:push(2, data .. ("y"):rep(70000), 0, 0, -1, -1)
  lu.assertEquals(err.code, "too_large")
  local lane, inbox = lane_of(s)
  assert(inbox:feed((lane:assign(1, 1))))
  lu.assertTrue(select(3, inbox:next(1)) == data)
  inbox:put(1, "progress", ("p"):rep(100000))
  inbox:put(1, "success", data)
  local first, second = inbox:frame(), inbox:frame()
  lu.assertNil(inbox:frame())
  lu.assertEquals(select(3, lane:take(first, 0, 1)), "progress")
  lu.assertTrue(select(4, lane:take(second, 0, 1)) == data)
  s:remove(1)
  lu.assertTrue(s:stats().mapped < 8e6)
end

T["arguments that make no sense raise, and change nothing"] = function()
  local s = filled(0)
  for _, seq in ipairs { 0, -1, 1.5, 2 ^ 53, 0 / 0, 1 / 0 } do
    lu.assertErrorMsgContains("whole one", s.push, s, seq, "", 0, 0, -1, -1)
    lu.assertErrorMsgContains("whole one", s.find, s, seq)
  end
  assert(s:push(2 ^ 53 - 1, "", 0, 0, -1, -1))
  lu.assertErrorMsgContains("priority", s.push, s, 5, "", 0 / 0, 0, -1, -1)
  lu.assertErrorMsgContains("negative", s.push, s, 5, "", 0, -1, -1, -1)
  lu.assertErrorMsgContains("retries", s.push, s, 5, "", 0, 0, -1, -2)
  lu.assertErrorMsgContains("client", s.push, s, 5, "", 0, 0, -1, -1, -1)
  lu.assertErrorMsgContains("string expected", s.push, s, 5, {}, 0, 0, -1, -1)
  lu.assertErrorMsgContains("negative", s.take_any, s, -1)
  lu.assertNil(s:remove(5))
  lu.assertNil(s:data(5))
  lu.assertNil(s:find(5))
  lu.assertNil(s:requeue(5, 0, 1))
  lu.assertNil(s:requeue(1, 0, 1))
  local lane, inbox = lane_of(s)
  lu.assertErrorMsgContains("beyond", lane.take, lane, "", 1, 1)
  lu.assertErrorMsgContains("invalid option", inbox.put, inbox, 1, "late", "")
  lu.assertEquals({ s:counts() }, { 2, 0, 0, 5 })
end

T["a closed store raises, its lanes too, and closing again does nothing"] = function()
  local s = filled(0, 0)
  local lane = s:lane()
  lane:assign(1, 1)
  s:close()
  s:close()
  lu.assertErrorMsgContains("closed", s.counts, s)
  lu.assertErrorMsgContains("closed", lane.assign, lane, 1, 1)
  lu.assertErrorMsgContains("closed", lane.abandon, lane)
end

T["percentiles are within a quarter power of two, and never above the largest"] = function()
  local s = jobs.store()
  local lane, inbox = lane_of(s)
  for seq = 1, 1000 do
    s:push(seq, "", 0, 0, -1, -1, 0, 1)
    assert(inbox:feed((lane:assign(1, 1))))
    inbox:next(1 + seq / 1000)
    inbox:put(seq, "success", "", 1 + seq / 1000 + seq / 1e6)
    lane:take(inbox:frame(), 0, 5)
    s:remove(seq)
  end
  for name, unit in pairs { waiting = 1, running = 1e-3 } do
    local h = s:stats()[name]
    lu.assertEquals(h.count, 1000)
    lu.assertAlmostEquals(h.sum, 500.5 * unit, 1e-6)
    lu.assertAlmostEquals(h.max, unit, 1e-9)
    for share, value in pairs { [0.5] = h.p50, [0.9] = h.p90, [0.99] = h.p99 } do
      lu.assertTrue(value >= share * unit * 0.9999 and value <= share * unit * 1.1893, name)
      lu.assertTrue(value <= h.max)
    end
  end
end

T["a slot that is used again lets nothing of its former lane be begun"] = function()
  local s, lanes = filled(0, 0, 0), {}
  for i = 1, 200 do
    lanes[i] = assert(s:lane())
  end
  local inbox = lanes[200]:inbox()
  assert(inbox:feed((lanes[200]:assign(2, 1))))
  for i = 1, 200 do
    lanes[i]:free()
    lu.assertErrorMsgContains("freed", lanes[i].inbox, lanes[i])
  end
  local lane
  for _ = 1, 200 do
    lane = s:lane()
    lane:assign(1, 1)
    lu.assertNil(inbox:next(1))
    lane:take_back()
  end
  lu.assertEquals(s:take_any(9), { 1, 2, 3 })
end

T["an attempt has any number, and what comes behind the largest stays that"] = function()
  local s = jobs.store()
  local lane = s:lane()
  local inbox = lane:inbox()
  s:push(1, "x", 0, 0, -1, 2 ^ 31 - 1)
  for _, pair in ipairs { { 65535, 65535 }, { 65536, 65536 }, { 2 ^ 32 - 1, 2 ^ 32 - 1 }, { 2 ^ 33, 2 ^ 32 - 1 } } do
    assert(inbox:feed((lane:assign(1, 1))))
    inbox:next(1)
    lane:abandon()
    lu.assertTrue(s:requeue(1, 0, pair[1]))
    lane:free()
    lane = s:lane()
    inbox = lane:inbox()
    lu.assertEquals({ s:find(1) }, { "waiting", pair[2], nil, 0, -1, 2 ^ 31 - 1 })
  end
  assert(inbox:feed((lane:assign(1, 1))))
  lu.assertEquals({ inbox:next(1) }, { 1, 2 ^ 32 - 1, "x", 1 })
end

T["a job costs less than 150 bytes beyond its data, and a burst is given back"] = function()
  local s, n, data = jobs.store(), 200000, ("x"):rep(50)
  for seq = 1, n do
    s:push(seq, data, 0, 0, -1, -1)
  end
  lu.assertTrue(s:stats().mapped / n - 50 < 150, s:stats().mapped / n)
  for seq = 1, n do
    s:remove(seq)
  end
  lu.assertTrue(s:stats().mapped < 6e6, s:stats().mapped)
end

return T
