--- Much traffic over a channel, both ways, while sendmsg and recvmsg fail again and again: every message arrives once,
--- whole and in order, with its descriptor; where none can be had, the receiver hears of that and the rest goes on.
local lu = require "luaunit"
local faults = require "spec.support.faults"

-- 400 numbers, every 50th with a pipe into which the child writes that number, every 100th followed by a megabyte; the
-- child sends back what it got and counts what was out of order.
local SCRIPT = [[
local posix, brood, Worker = require "brood.posix", require "brood", require "brood.worker"
local fault_try, faults = require "spec.support.fault_try", require "spec.support.faults"
require "brood.inbox"
faults.arm()
local worker = assert(Worker.fork())
if worker:is_child() then
  worker:on("message", function(value, fd, err)
    if fd then
      posix.write(fd, tostring(value))
      posix.close(fd)
    end
    worker:send { value, lost = err and err.code }
  end)
  while true do brood.sleep(60) end
end
local expected, sent, received, lost = {}, 0, 0, 0
worker:on("message", function(value)
  received = received + 1
  assert(value[1] == expected[received], "out of order at " .. received)
  lost = lost + (value.lost and 1 or 0)
end)
local function send(value, fd)
  sent = sent + 1
  expected[sent] = value
  local ok, err = worker:send(value, fd)
  assert(ok ~= nil, err and err.message)
end
local pipes = {}
for i = 1, 400 do
  if i % 50 == 0 then
    local r, w = assert(posix.pipe())
    send(i, w)
    posix.close(w)
    pipes[i] = r
  else
    send(i)
  end
  if i % 100 == 0 then
    send(("%d "):format(i):rep(200000))
  end
  if i % 20 == 0 then
    brood.sleep(0.001)
  end
end
assert(fault_try.eventually(function() return received == sent end), ("only %d of %d came back"):format(received, sent))
local written = 0
for i, r in pairs(pipes) do
  written = written + (posix.read(r, 10) == tostring(i) and 1 or 0)
  posix.close(r)
end
faults.disarm()
worker:stop()
print("written", written, "lost", lost)
]]

local function run(rules)
  local result = faults.run(rules, { script = SCRIPT, from = "arm", timeout = 20 })
  local text = ("%s: code %s, signal %s\n%s%s"):format(rules, tostring(result.code), tostring(result.signal),
    result.stdout, result.stderr)
  lu.assertEquals(result.code, 0, text)
  return result, text
end

local T = {}

for _, call in ipairs { "sendmsg", "recvmsg" } do
  for _, errno in ipairs { "EINTR", "EAGAIN", "ENOMEM", "ENOBUFS", "SHORT" } do
    T[("nothing is lost while %s meets %s for a while"):format(call, errno)] = function()
      for _, range in ipairs { "1-3", "10-40", "100-130" } do
        local result, text = run(("%s:%s:%s"):format(call, errno, range))
        lu.assertEquals(result.stdout, "written\t8\tlost\t0\n", text)
      end
    end
  end
end

T["nothing is lost when all of it fails in turn"] = function()
  local result, text = run("sendmsg:SHORT:5-60,sendmsg:EAGAIN:70-75,sendmsg:EINTR:80-90,sendmsg:ETOOMANYREFS:100-102,"
    .. "recvmsg:SHORT:5-60,recvmsg:EINTR:70-90,recvmsg:ENOMEM:100-102")
  lu.assertEquals(result.stdout, "written\t8\tlost\t0\n", text)
end

T["a descriptor that cannot be duplicated is the sender's error"] = function()
  local result = faults.run("fcntl:EMFILE:1", { script = SCRIPT, from = "arm" })
  lu.assertEquals(result.code, 1)
  lu.assertStrContains(result.stderr, "Too many open files")
end

return T
