--- Peers: values and descriptors both ways, what is kept until somebody listens, back-pressure, control frames, ends.
--- Both ends live in this process; spec/system/channel_processes.lua has them in two.
local lu = require "luaunit"
local uv = require "luv"
local core = require "brood.core"
local peers = require "brood.peer"
local s = require "spec.support"

local T = {}
local open

uv.new_pipe(false):close() -- libuv's first stream opens /dev/null for good

function T.setup()
  open = {}
end

function T.teardown()
  for _, peer in ipairs(open) do
    peer:close()
  end
end

local function new(fd, role, options)
  options = options or {}
  options.role = role
  options.name = options.name or "the spec's " .. (role == "parent" and "child" or "parent")
  local peer = assert(peers.new(fd, options))
  peer:hold_loop(true)
  table.insert(open, peer)
  return peer
end

local function both(parent_options, child_options)
  local a, b = assert(core.channel.pair())
  return new(a, "parent", parent_options), new(b, "child", child_options)
end

local function collect(peer)
  local list = {}
  peer:on("message", function(value, fd)
    table.insert(list, { value = value, fd = fd })
  end)
  return list
end

local function arrived(list, n)
  s.wait(function()
    return #list >= n
  end, 30, n .. " messages")
end

T["values go both ways, in order"] = function()
  local parent, child = both()
  local up, down = collect(parent), collect(child)
  for i = 1, 500 do
    lu.assertTrue(parent:send { n = i })
    lu.assertTrue(child:send(i))
  end
  arrived(up, 500)
  arrived(down, 500)
  for i = 1, 500 do
    lu.assertEquals(down[i].value.n, i)
    lu.assertEquals(up[i].value, i)
  end
end

T["nil, false and the empty string are messages"] = function()
  local parent, child = both()
  local got = {}
  child:on("message", function(...)
    table.insert(got, { n = select("#", ...), ... })
  end)
  parent:send(nil)
  parent:send(false)
  parent:send("")
  arrived(got, 3)
  lu.assertNil(got[1][1])
  lu.assertEquals({ got[2][1], got[3][1] }, { false, "" })
end

T["a descriptor arrives with its message"] = function()
  local parent, child = both()
  local got = collect(child)
  local r, w = core.posix.pipe()
  parent:send("take this", w)
  core.posix.close(w)
  arrived(got, 1)
  core.posix.write(got[1].fd, "through the copy")
  core.posix.close(got[1].fd)
  lu.assertEquals(uv.fs_read(r, 100, -1), "through the copy")
  core.posix.close(r)
end

T["messages are kept, in order, until somebody listens"] = function()
  local parent, child = both()
  for i = 1, 100 do
    parent:send(i)
  end
  s.wait(function()
    return child.inbox:count() == 100
  end)
  local got = collect(child)
  parent:send(101)
  arrived(got, 101)
  for i = 1, 101 do
    lu.assertEquals(got[i].value, i)
  end
end

T["once takes one message and leaves the others for the next listener"] = function()
  local parent, child = both()
  local first = {}
  child:once("message", function(v)
    table.insert(first, v)
  end)
  for i = 1, 3 do
    parent:send(i)
  end
  arrived(first, 1)
  local got = collect(child)
  arrived(got, 2)
  lu.assertEquals(first, { 1 })
  lu.assertEquals({ got[1].value, got[2].value }, { 2, 3 })
end

T["a sender whose messages nobody listens to is told to wait, and control frames still pass"] = function()
  local parent, child = both()
  local pongs = {}
  parent:handle("pong", function(v)
    table.insert(pongs, v)
  end)
  local text, sent, drained = ("x"):rep(100000), 0, false
  parent:on("drain", function()
    drained = true
  end)
  s.wait(function()
    sent = sent + 1
    return parent:send(text) == false
  end, 20, "back-pressure")
  lu.assertTrue(sent * 100000 < 8 * 1024 * 1024)
  parent:post("ping", 7)
  s.wait(function()
    return pongs[1] == 7
  end, 5, "an answer to the ping")
  lu.assertFalse(drained)
  local got = collect(child)
  arrived(got, sent)
  s.wait(function()
    return drained
  end, 5, "drain")
end

T["a sender that does not wait does not fill the memory of one that does not listen"] = function()
  local parent, child = both()
  for _ = 1, 40 do
    parent:send(("x"):rep(1000000))
  end
  s.wait(function()
    return child.inbox.paused or child.inbox.holding
  end)
  s.remains(function()
    return child.inbox.bytes < 20 * 1024 * 1024
  end, 0.2)
  arrived(collect(child), 40)
end

T["flush waits until all is handed over"] = function()
  local parent, child = both()
  collect(child)
  lu.assertFalse(parent:send(("x"):rep(5000000)))
  lu.assertTrue(parent:flush())
  lu.assertEquals(parent:pending(), 0)
  lu.assertTrue(parent:flush())
end

T["flush and send say stopped where nobody runs"] = function()
  local parent, child = both()
  parent:send(("x"):rep(5000000))
  local answer
  parent:flush(function(err)
    answer = err
  end)
  child:close()
  s.wait(function()
    return parent.closed and answer
  end)
  lu.assertEquals(answer.code, "stopped")
  local ok, err = parent:send(1)
  lu.assertNil(ok)
  lu.assertEquals(err.code, "stopped")
  lu.assertStrContains(tostring(err), "the spec's child is not running")
end

T["disconnect is told once, after the messages that came before it"] = function()
  local parent, child = both()
  local seen = {}
  child:on("disconnect", function()
    table.insert(seen, "disconnect")
  end)
  parent:send(1)
  parent:send(2)
  s.wait(function()
    return child.inbox:count() == 2
  end)
  child:on("message", function(v)
    table.insert(seen, v)
  end)
  parent:close()
  s.wait(function()
    return #seen == 3
  end)
  lu.assertEquals(seen, { 1, 2, "disconnect" })
end

T["a side that leaves 256 MB unread is reported and cut off"] = function()
  local unread
  local parent, child = both { overflow = function(bytes)
    unread = bytes
  end }
  child.channel:pause()
  local text, ok, err = ("x"):rep(32 * 1024 * 1024), nil, nil
  for _ = 1, 12 do
    ok, err = parent:send(text)
    if ok == nil then
      break
    end
  end
  lu.assertNil(ok)
  lu.assertEquals(err.code, "overflow")
  lu.assertTrue(unread > 256 * 1024 * 1024)
  lu.assertTrue(parent.closed)
end

T["a value that cannot be sent raises at the caller's line and names the culprit"] = function()
  local parent = both()
  local ok, err = pcall(function()
    parent:send { jobs = { { fn = print } } }
  end)
  lu.assertFalse(ok)
  lu.assertStrContains(err, "channel_peer.lua")
  lu.assertStrContains(err, "message.jobs[1].fn is a function")
  lu.assertErrorMsgContains("descriptor must be a number", parent.send, parent, 1, "2")
end

T["what depends on the data is returned: cycles, depth, size"] = function()
  local parent = both()
  local t = {}
  t.t = t
  lu.assertEquals(select(2, parent:send(t)).code, "cycle")
  lu.assertEquals(select(2, parent:send(("x"):rep(65 * 1024 * 1024))).code, "too_large")
end

T["control frames reach the handler of their type, errors whole"] = function()
  local parent, child = both()
  local got = {}
  parent:handle("ready", function(v)
    got.ready = v
  end)
  parent:handle("failed", function(err)
    got.err = err
  end)
  child:post("ready", { port = 7000 })
  child:post("failed", { message = "no database", code = "ECONNREFUSED", traceback = "stack", fn = print })
  s.wait(function()
    return got.err
  end)
  lu.assertEquals(got.ready, { port = 7000 })
  lu.assertEquals("it failed: " .. got.err, "it failed: no database")
  lu.assertEquals({ got.err.code, got.err.traceback }, { "ECONNREFUSED", "stack" })
  lu.assertErrorMsgContains("does not send", child.post, child, "ping")
end

T["an exit comes after the messages before it"] = function()
  local parent, child = both()
  local seen = {}
  child:handle("exit", function(code)
    table.insert(seen, "exit " .. code)
  end)
  parent:send(1)
  parent:send(2)
  parent:post("exit", 3)
  s.wait(function()
    return child.inbox:count() == 3
  end)
  child:on("message", function(v)
    table.insert(seen, v)
  end)
  s.wait(function()
    return #seen == 3
  end)
  lu.assertEquals(seen, { 1, 2, "exit 3" })
end

T["an exit does not wait for ever behind messages that nobody listens to"] = function()
  local parent, child = both()
  local code
  child:handle("exit", function(value)
    code = value
  end)
  parent:send("unheard")
  parent:post("exit", 4)
  s.wait(function()
    return code == 4
  end, 5)
end

T["a frame that its sender may not send closes the channel and says so"] = function()
  local a, b = assert(core.channel.pair())
  local parent = new(a, "parent")
  local gone
  parent:on("disconnect", function(err)
    gone = err
  end)
  core.posix.write(b, "\1\0\0\0\3\0\0\0\0") -- a ping: only parents ping
  s.wait(function()
    return gone
  end)
  lu.assertEquals(gone.code, "protocol")
  lu.assertStrContains(gone.message, "a 'ping' frame from a child")
  core.fd.close(b)
end

T["a message that is no sound value closes the channel and says so"] = function()
  local a, b = assert(core.channel.pair())
  local parent = new(a, "parent")
  local gone
  collect(parent)
  parent:on("disconnect", function(err)
    gone = err
  end)
  core.posix.write(b, "\6\0\0\0\128\0\3\0\10\255\255\255\255\127")
  s.wait(function()
    return gone
  end)
  lu.assertStrContains(gone.message, "cannot be decoded")
  core.fd.close(b)
end

T["another emitter can be the one that tells the messages"] = function()
  local emitter = require "brood.emitter"
  local owner = emitter.mixin {}
  local parent, child = both({}, { target = owner })
  owner.on_listen = function()
    child:listening()
  end
  local got = {}
  parent:send("for the owner")
  s.wait(function()
    return child.inbox:count() == 1
  end)
  owner:on("message", function(v)
    table.insert(got, v)
  end)
  arrived(got, 1)
  lu.assertEquals(got, { "for the owner" })
end

T["closing in a message's listener is safe"] = function()
  local parent, child = both()
  local n = 0
  child:on("message", function()
    n = n + 1
    child:close()
  end)
  for i = 1, 10 do
    parent:send(i)
  end
  s.wait(function()
    return parent.closed
  end)
  lu.assertEquals(n, 1)
end

return T
