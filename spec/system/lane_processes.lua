--- A lane between two processes: the master gives and takes back, the worker claims, and whoever dies when, each job is
--- begun by one of them or waits again. And what a fork sees of a store.
local lu = require "luaunit"
local core = require "brood.core"
local posix = require "brood.posix"
local s = require "spec.support"
local uv = require "luv"

local T = {}

local function clock()
  return uv.hrtime() / 1e9
end

-- A worker that claims all it is sent, one frame per byte told on `go`, and writes what it began to `out`.
local function start(lane, frames, pause)
  local r, w = assert(posix.pipe())
  local pid = assert(core.fork_main({}, function()
    local inbox = lane:inbox()
    for _, frame in ipairs(frames) do
      assert(inbox:feed(frame))
    end
    while true do
      local seq = inbox:next(clock())
      if not seq then
        break
      end
      posix.write(w, seq .. " ")
      if pause then
        posix.read(pause, 1)
      end
    end
    posix.write(w, "end")
    core.exit(0)
  end))
  posix.close(w)
  return pid, r
end

local function numbers(text)
  local list = {}
  for n in text:gmatch("%d+") do
    list[#list + 1] = tonumber(n)
  end
  return list
end

local function read_all(fd)
  local parts = {}
  while true do
    local text = posix.read(fd, 65536)
    if not text or text == "" then
      break
    end
    parts[#parts + 1] = text
  end
  posix.close(fd)
  return table.concat(parts)
end

local function filled(n, data)
  local store = assert(core.jobs.store())
  for seq = 1, n do
    assert(store:push(seq, data or "", 0, 0, -1, -1))
  end
  return store
end

T["what a worker claims in its process is seen by the master without a message"] = function()
  local store = filled(3)
  local lane = store:lane()
  local go, w = assert(posix.pipe())
  local pid, out = start(lane, { (lane:assign(2, 1)) }, go)
  local before = clock()
  lu.assertEquals(posix.read(out, 16), "1 ")
  local seq, started = lane:running()
  lu.assertEquals(seq, 1)
  lu.assertTrue(math.abs(started - before) < 60)
  lu.assertEquals(lane:take_back(), 1)
  posix.write(w, "x")
  lu.assertEquals(read_all(out), "end")
  posix.waitpid(pid)
  posix.close(go)
  posix.close(w)
  lu.assertEquals(lane:abandon(), { 1 })
  lu.assertEquals(store:take_any(9), { 2, 3 })
end

T["the job of a worker that is killed is told, and those behind it wait again"] = function()
  local store = filled(4)
  local lane = store:lane()
  local go, w = assert(posix.pipe())
  local pid, out = start(lane, { (lane:assign(3, 1)) }, go)
  posix.read(out, 16)
  posix.kill(pid, 9)
  posix.waitpid(pid)
  posix.close(go)
  posix.close(w)
  posix.close(out)
  lu.assertEquals(lane:abandon(), { 1 })
  lu.assertEquals(store:take_any(9), { 2, 3, 4 })
  lane:free()
  lu.assertEquals({ store:counts() }, { 3, 0, 1, 0 })
end

T["taking back while the worker claims leaves each job with one of them"] = function()
  for round = 1, 60 do
    local n = 20000
    local store = filled(n)
    local lane = store:lane()
    local frames = {}
    repeat
      frames[#frames + 1] = lane:assign(1000, 1)
    until lane:outstanding() == n
    local pid, out = start(lane, frames)
    posix.read(out, 2)
    for _ = 1, round * 200 do
      lane:running()
    end
    local back = lane:take_back()
    local begun = numbers("1 " .. read_all(out))
    posix.waitpid(pid)
    lu.assertEquals(#begun + back, n)
    lu.assertEquals(#lane:abandon(), #begun)
    local waiting = store:take_any(n)
    for i, seq in ipairs(begun) do
      lu.assertEquals(seq, i)
    end
    for i, seq in ipairs(waiting) do
      lu.assertEquals(seq, #begun + i)
    end
    store:close()
  end
end

T["in the child of a fork a store can neither be used nor harmed"] = function()
  local program = s.script [[
    local core, posix = require "brood.core", require "brood.posix"
    local store = core.jobs.store()
    local lane = store:lane()
    local inbox = lane:inbox()
    for seq = 1, 1000 do store:push(seq, ("x"):rep(100), 0, 0, -1, -1) end
    lane:assign(3, 1)
    local pid = posix.fork()
    if pid == 0 then
      local bad = 0
      for _, name in ipairs { "push", "due", "counts", "find", "data", "remove", "requeue", "take_any", "lane", "stats" } do
        local ok, err = pcall(store[name], store, 1, "", 0, 0, -1, -1)
        if ok or not tostring(err):find("another process") then bad = bad + 1 end
      end
      for _, name in ipairs { "assign", "outstanding", "running", "list", "take", "take_back", "abandon", "free" } do
        local ok, err = pcall(lane[name], lane, 1, 1, 1)
        if ok or not tostring(err):find("another process") then bad = bad + 1 end
      end
      if pcall(inbox.next, inbox, 1) then bad = bad + 1 end
      store:close()
      store, lane, inbox = nil, nil, nil
      collectgarbage() collectgarbage()
      core.exit(bad)
    end
    print(posix.waitpid(pid))
    print(store:counts())
    print(#lane:list(), #store:data(1000))
  ]]
  local out = program:finish().stdout
  lu.assertStrMatches(out, "%d+\texited\t0\n997\t0\t3\t100000\n3\t100\n")
end

T["a fork with 300000 waiting jobs has none of their pages"] = function()
  local program = s.script [[
    local core, posix = require "brood.core", require "brood.posix"
    local function mapped()
      return tonumber(io.open("/proc/self/statm"):read("*a"):match("%d+")) * 4096
    end
    local store = core.jobs.store()
    for seq = 1, 300000 do store:push(seq, ("x"):rep(50), 0, seq % 3 == 0 and 5 or 0, -1, -1) end
    local here, size = mapped(), store:stats().mapped
    local pid = posix.fork()
    if pid == 0 then
      core.exit(here - mapped() > size * 0.9 and 0 or 1)
    end
    print(posix.waitpid(pid))
  ]]
  lu.assertStrMatches(program:finish().stdout, "%d+\texited\t0\n")
end

return T
