--- Channels below all Lua values: frames, descriptors, broken and hostile input, back-pressure. Both ends are in this
--- process, or the other one is a raw socket.
local ffi = require "ffi"
local lu = require "luaunit"
local uv = require "luv"
local core = require "brood.core"
local s = require "spec.support"

ffi.cdef [[
  struct channel_spec_limit { unsigned long soft, hard; };
  int getrlimit(int, struct channel_spec_limit *); int setrlimit(int, const struct channel_spec_limit *);
]]
local RLIMIT_NOFILE = 7

-- libuv's first stream opens /dev/null for good: not in a test, where it would look like a leak.
uv.new_pipe(false):close()

local T = {}
local open

function T.setup()
  open = {}
end

function T.teardown()
  for _, chan in ipairs(open) do
    chan:close()
  end
end

-- One end as a channel that remembers all it got.
local function listen(fd, options)
  local got = { frames = {}, drains = 0 }
  got.chan = assert(core.channel.new(fd, {
    frame = options and options.frame or function(type, room, payload, received, lost)
      table.insert(got.frames, { type = type, room = room, payload = payload, fd = received, lost = lost })
    end,
    close = function(err)
      got.closed, got.err = true, err
    end,
    drain = function()
      got.drains = got.drains + 1
    end,
  }))
  table.insert(open, got.chan)
  return got
end

local function both()
  local a, b = assert(core.channel.pair())
  return listen(a), listen(b)
end

local function with_raw(options)
  local a, b = assert(core.channel.pair())
  return listen(a, options), b
end

local function frame(type, payload, flags)
  local size = #payload
  return string.char(size % 256, math.floor(size / 256) % 256, math.floor(size / 65536) % 256,
    math.floor(size / 16777216), type, flags or 0, 0, 0) .. payload
end

local function arrived(side, n)
  s.wait(function()
    return #side.frames >= n
  end, 10, n .. " frames")
end

local function closed(side)
  s.wait(function()
    return side.closed
  end, 10, "the channel to close")
end

local function file_with(text)
  local r, w = core.posix.pipe()
  core.posix.write(w, text)
  core.posix.close(w)
  return r
end

local function read_and_close(fd)
  local text = uv.fs_read(fd, 100, -1)
  core.posix.close(fd)
  return text
end

T["frames arrive whole and in order, with type and room"] = function()
  local a, b = both()
  for i = 1, 1000 do
    lu.assertTrue(a.chan:send(i % 256, i, ("p"):rep(i)))
  end
  a.chan:send(9, 65535, "")
  arrived(b, 1001)
  for i = 1, 1000 do
    local f = b.frames[i]
    lu.assertEquals({ f.type, f.room, #f.payload }, { i % 256, i, i })
  end
  lu.assertEquals(b.frames[1001].room, 65535)
  lu.assertEquals(b.frames[1001].payload, "")
end

T["frames of every size around the buffer's edges arrive unchanged"] = function()
  local a, b = both()
  local sizes = { 8184, 8192, 8193, 16376, 16377, 65527, 65528, 65529, 65536, 131072, 1000000, 3 }
  for i, size in ipairs(sizes) do
    a.chan:send(1, i, string.char(64 + i):rep(size))
  end
  arrived(b, #sizes)
  for i, size in ipairs(sizes) do
    lu.assertTrue(b.frames[i].payload == string.char(64 + i):rep(size), "size " .. size)
  end
end

T["a frame that comes byte by byte is one frame"] = function()
  local a, raw = with_raw()
  local bytes = frame(3, "hello") .. frame(4, "world")
  for i = 1, #bytes do
    uv.fs_write(raw, bytes:sub(i, i))
    a.chan:read_now()
  end
  lu.assertEquals(#a.frames, 2)
  lu.assertEquals(a.frames[2].payload, "world")
  core.fd.close(raw)
end

T["frames cut at random places arrive unchanged"] = function()
  math.randomseed(3)
  local a, raw = with_raw()
  local parts, n = {}, 300
  for i = 1, n do
    parts[i] = frame(i % 100, string.char(i % 256):rep(math.random(0, 2000)))
  end
  local bytes, at = table.concat(parts), 1
  while at <= #bytes do
    local size = math.random(1, 5000)
    uv.fs_write(raw, bytes:sub(at, at + size - 1))
    at = at + size
    a.chan:read_now()
  end
  lu.assertEquals(#a.frames, n)
  for i, f in ipairs(a.frames) do
    lu.assertEquals(frame(f.type, f.payload), parts[i])
  end
  core.fd.close(raw)
end

T["half a frame at the end is reported"] = function()
  local a, raw = with_raw()
  uv.fs_write(raw, frame(3, "whole") .. frame(3, "half"):sub(1, 10))
  core.fd.close(raw)
  closed(a)
  lu.assertEquals(#a.frames, 1)
  lu.assertStrContains(a.err.message, "in the middle of a frame (10 of 12 bytes)")
end

T["the end after whole frames is no error"] = function()
  local a, raw = with_raw()
  uv.fs_write(raw, frame(3, "last words"))
  core.fd.close(raw)
  closed(a)
  lu.assertEquals(a.frames[1].payload, "last words")
  lu.assertNil(a.err)
end

T["a frame that claims more than 64 MB closes the channel and says why"] = function()
  local a, raw = with_raw()
  uv.fs_write(raw, "\255\255\255\255\7\0\0\0")
  closed(a)
  lu.assertStrContains(a.err.message, "type 7 claims 4294967295 bytes")
  core.fd.close(raw)
end

T["unknown flags close the channel"] = function()
  local a, raw = with_raw()
  uv.fs_write(raw, frame(3, "", 2))
  closed(a)
  lu.assertStrContains(a.err.message, "unknown flags 0x02")
  core.fd.close(raw)
end

T["what the other side wrote before it ended without reading is still read"] = function()
  local a, raw = with_raw()
  lu.assertTrue(a.chan:send(1, 1, "never read"))
  uv.fs_write(raw, frame(3, "last words"))
  core.fd.close(raw)
  closed(a)
  lu.assertEquals(a.frames[1].payload, "last words")
  lu.assertNil(a.err)
end

T["sending to an ended side says stopped, and raises no SIGPIPE"] = function()
  local a, raw = with_raw()
  core.fd.close(raw)
  a.chan:send(1, 1, "x")
  local ok, err = a.chan:send(1, 1, "x")
  lu.assertNil(ok)
  lu.assertEquals(err.code, "stopped")
  closed(a)
end

T["descriptors arrive with their frames, and the sender may close its own at once"] = function()
  local a, b = both()
  for i = 1, 50 do
    local fd = i % 2 == 0 and file_with("file " .. i) or nil
    lu.assertTrue(a.chan:send(1, i, "payload", fd))
    if fd then
      core.posix.close(fd)
    end
  end
  arrived(b, 50)
  for i, f in ipairs(b.frames) do
    lu.assertEquals(f.fd and read_and_close(f.fd), i % 2 == 0 and "file " .. i or nil)
  end
end

T["a large frame brings its descriptor too"] = function()
  local a, b = both()
  local fd = file_with("with a large one")
  a.chan:send(1, 1, ("x"):rep(3000000), fd)
  core.posix.close(fd)
  arrived(b, 1)
  lu.assertEquals(read_and_close(b.frames[1].fd), "with a large one")
end

T["a descriptor that no frame announced is closed"] = function()
  local a, raw = with_raw()
  local pipe, other = uv.new_pipe(true), uv.new_pipe(false)
  core.fd.release(raw)
  pipe:open(raw)
  other:open(file_with(""))
  local before = s.fd_count()
  uv.write2(pipe, frame(3, "unflagged"), other, function() end)
  arrived(a, 1)
  lu.assertNil(a.frames[1].fd)
  lu.assertEquals(s.fd_count(), before)
  other:close()
  pipe:close()
  closed(a)
end

T["a descriptor lost because this process has too many open files is told, and the frame comes"] = function()
  local a, b = both()
  local fd = file_with("")
  a.chan:send(1, 1, "with a descriptor", fd)
  a.chan:send(1, 2, "next", nil)
  core.posix.close(fd)
  local limit, small = ffi.new("struct channel_spec_limit"), ffi.new("struct channel_spec_limit")
  ffi.C.getrlimit(RLIMIT_NOFILE, limit)
  small.soft, small.hard = 3, limit.hard
  ffi.C.setrlimit(RLIMIT_NOFILE, small)
  b.chan:read_now()
  ffi.C.setrlimit(RLIMIT_NOFILE, limit)
  lu.assertEquals(#b.frames, 2)
  lu.assertNil(b.frames[1].fd)
  lu.assertEquals(b.frames[1].lost, "EMFILE")
  lu.assertEquals({ b.frames[2].payload, b.frames[2].lost }, { "next" })
end

T["sending a descriptor that is none is an error, and nothing is sent"] = function()
  local a, b = both()
  local ok, err = a.chan:send(1, 1, "x", 9999)
  lu.assertNil(ok)
  lu.assertEquals(err.code, "EBADF")
  a.chan:send(1, 2, "y")
  arrived(b, 1)
  lu.assertEquals(b.frames[1].room, 2)
end

T["send returns false once more than 1 MB waits, and drain comes when it is gone"] = function()
  local a, b = both()
  b.chan:pause()
  local sent = 0
  repeat
    local ok = a.chan:send(1, 1, ("x"):rep(50000))
    sent = sent + 1
  until ok == false
  lu.assertTrue(a.chan:pending() > 1024 * 1024)
  lu.assertTrue(a.chan:pending() < 1024 * 1024 + 100000)
  b.chan:resume()
  arrived(b, sent)
  s.wait(function()
    return a.drains == 1
  end)
  lu.assertEquals(a.chan:pending(), 0)
end

T["a held channel keeps bulk frames back, and lets control frames pass"] = function()
  local a, b = both()
  a.chan:hold(true)
  a.chan:send(200, 1, "bulk 1")
  a.chan:send(1, 1, "control")
  a.chan:send(200, 1, "bulk 2")
  arrived(b, 1)
  lu.assertEquals(b.frames[1].payload, "control")
  a.chan:hold(false)
  arrived(b, 3)
  lu.assertEquals({ b.frames[2].payload, b.frames[3].payload }, { "bulk 1", "bulk 2" })
end

T["frames that already wait are held back too, all but one that is half sent"] = function()
  local a, b = both()
  b.chan:pause()
  a.chan:send(200, 1, ("x"):rep(1000000))
  a.chan:send(200, 2, ("y"):rep(100000))
  a.chan:send(1, 3, "control")
  a.chan:hold(true)
  b.chan:resume()
  arrived(b, 2)
  lu.assertEquals({ b.frames[1].room, b.frames[2].room }, { 1, 3 })
  a.chan:hold(false)
  arrived(b, 3)
  lu.assertEquals({ b.frames[3].room, #b.frames[3].payload }, { 2, 100000 })
end

T["a paused channel still notices the other side's end, and hands on what it had sent"] = function()
  local a, raw = with_raw()
  a.chan:pause()
  uv.fs_write(raw, frame(3, "last words"))
  core.fd.close(raw)
  closed(a)
  lu.assertEquals(a.frames[1].payload, "last words")
end

T["a channel may be closed in its own callbacks"] = function()
  local a, raw
  a, raw = with_raw { frame = function()
    a.count = (a.count or 0) + 1
    a.chan:close()
  end }
  uv.fs_write(raw, frame(3, "one") .. frame(3, "two"))
  s.wait(function()
    return a.count
  end)
  lu.assertEquals(a.count, 1)
  lu.assertNil(a.closed)
  core.fd.close(raw)
end

T["reading from within a frame's callback does nothing"] = function()
  local order, a = {}, nil
  local function on_frame(_, _, payload)
    a.chan:read_now()
    table.insert(order, payload)
  end
  local raw
  a, raw = with_raw { frame = on_frame }
  uv.fs_write(raw, frame(3, "one") .. frame(3, "two"))
  s.wait(function()
    return #order == 2
  end)
  lu.assertEquals(order, { "one", "two" })
  core.fd.close(raw)
end

T["a blocking flush ends when the other side does not read"] = function()
  local a, b = both()
  b.chan:pause()
  a.chan:send(1, 1, ("x"):rep(2000000))
  local seconds, ok, err = s.timed(a.chan.flush_blocking, a.chan, 50)
  lu.assertNil(ok)
  lu.assertEquals(err.code, "timeout")
  lu.assertTrue(seconds >= 0.045 and seconds < 2)
  b.chan:resume()
  arrived(b, 1)
  lu.assertTrue(a.chan:flush_blocking(1000))
end

T["a closed channel answers every method"] = function()
  local a = both()
  a.chan:close()
  a.chan:close()
  lu.assertEquals(a.chan:pending(), 0)
  for _, name in ipairs { "pause", "resume", "ref", "unref", "read_now" } do
    a.chan[name](a.chan)
  end
  lu.assertNil((a.chan:send(1, 1, "")))
  lu.assertNil((a.chan:flush_blocking(1)))
end

T["an error in a callback is logged and the next frame comes"] = function()
  local result = s.script([[
    local core = require "brood.core"
    local a, b = core.channel.pair()
    local n = 0
    local receiver = core.channel.new(a, { close = function() end, frame = function(_, _, payload)
      n = n + 1
      print(payload)
      if n == 1 then error("the first one breaks") end
      os.exit(5)
    end })
    local sender = core.channel.new(b, { close = function() end, frame = function() end })
    sender:send(3, 0, "one")
    sender:send(3, 0, "two")
    receiver:ref()
  ]]):finish()
  lu.assertEquals(result.stdout, "one\ntwo\n")
  lu.assertEquals(result.code, 5)
  lu.assertStrContains(result.stderr, "the first one breaks")
end

return T
