--- Every call of a backend in every state: what becomes of it, and of those who wait.
-- time limit: 180 s
local lu = require "luaunit"
local b = require "spec.support.backend"
local p = require "spec.support.process"
local rules = require "brood.rules.backend_states"
local s = require "spec.support"

-- It listens once it may, and ends once it may, whatever it is told but KILL.
local PROGRAM = [[
for _, name in ipairs { "sigquit", "sigterm" } do
  on(name, function() note(name) brood.async(function() wait_for(arg[1] .. "/end") os.exit(0) end) end)
end
note("start " .. posix.getpid())
wait_for(arg[1] .. "/go")
serve()
]]

local function go(dir)
  s.write_file(dir .. "/go", "")
end

local function let_end(dir)
  s.write_file(dir .. "/end", "")
end

-- For each state: a backend in it. `held` is a connection that it is busy with.
local arrange = {}

function arrange.stopped()
  local backend, dir = b.lua(PROGRAM)
  go(dir)
  let_end(dir)
  return { backend = backend, dir = dir }
end

function arrange.starting()
  local backend, dir = b.lua(PROGRAM)
  local start = p.call(backend, "spawn")
  s.wait(function() return #b.notes(dir) == 1 end)
  let_end(dir)
  return { backend = backend, dir = dir, start = start }
end

function arrange.ready()
  local backend, dir = b.lua(PROGRAM)
  go(dir)
  lu.assertTrue(backend:spawn())
  let_end(dir)
  return { backend = backend, dir = dir }
end

function arrange.busy()
  local at = arrange.ready()
  at.held = assert(at.backend:connect())
  return at
end

function arrange.stopping()
  local backend, dir = b.lua(PROGRAM)
  go(dir)
  lu.assertTrue(backend:spawn())
  local quit = p.call(backend, "quit")
  s.wait(function() return b.notes(dir)[2] == "sigquit" end)
  return { backend = backend, dir = dir, quit = quit }
end

function arrange.faulted()
  local backend = b.sh "echo no config; exit 3"
  for _ = 1, 2 do
    lu.assertNil((backend:connect()))
  end
  return { backend = backend }
end

-- What becomes of the call in that state: after what is let go, its answer and the state.
local expected = {
  stopped = {
    spawn = { ready = true }, connect = { busy = true }, kill = { stopped = true }, terminate = { stopped = true },
    quit = { stopped = true }, restart = { ready = true },
  },
  starting = {
    spawn = { ready = true }, connect = { busy = true }, kill = { stopped = true, ended = "KILL" },
    terminate = { stopped = true, ended = 0 }, quit = { stopped = true, ended = 0 },
    restart = { ready = true, new = true },
  },
  ready = {
    spawn = { ready = true }, connect = { busy = true }, kill = { stopped = true, ended = "KILL" },
    terminate = { stopped = true, ended = 0 }, quit = { stopped = true, ended = 0 },
    restart = { ready = true, new = true },
  },
  busy = {
    spawn = { busy = true }, connect = { busy = true, released = true }, kill = { stopped = true, ended = "KILL" },
    terminate = { stopped = true, ended = 0 }, quit = { stopped = true, ended = 0 },
    restart = { ready = true, new = true },
  },
  stopping = {
    spawn = { ready = true, new = true }, connect = { busy = true, new = true },
    kill = { stopped = true, ended = "KILL" },
    terminate = { stopped = true, ended = 0 }, quit = { stopped = true, ended = 0 },
    restart = { ready = true, new = true },
  },
  faulted = {
    spawn = { fails = "no config", faulted = true }, connect = { fails = "no config", faulted = true },
    kill = { stopped = true }, terminate = { stopped = true }, quit = { stopped = true },
    restart = { fails = "no config", faulted = true },
  },
}

local function try(state, call, want)
  local at = arrange[state]()
  local backend = at.backend
  lu.assertEquals(backend.state, state)
  local ends = {}
  backend:on("exit", function(code, signal) table.insert(ends, signal or code) end)
  backend:on("error", function() end)
  local before = backend.pid
  local answer = p.call(backend, call)
  if at.dir then
    if want.released then
      s.remains(function() return answer.answers == 0 end, 0.03)
      at.held:close()
    end
    if state == "starting" and not want.stopped or want.new then
      go(at.dir)
    end
    if state == "stopping" and call ~= "kill" then
      s.remains(function() return answer.answers == 0 end, 0.03)
      let_end(at.dir)
    end
  end
  p.answered(answer)
  lu.assertEquals(answer.err and answer.err.message, want.fails)
  for name in pairs { stopped = 1, ready = 1, busy = 1, faulted = 1 } do
    lu.assertEquals(want[name] or nil, backend.state == name or nil, name .. " expected? it is " .. backend.state)
  end
  lu.assertEquals(want.ended, want.ended and ends[1])
  if want.new then
    lu.assertNotEquals(backend.pid, before)
  elseif state ~= "stopped" and (want.ready or want.busy) then
    lu.assertEquals(backend.pid, before)
  end
  if at.start then
    p.answered(at.start)
    lu.assertEquals(at.start.err and at.start.err.code, (want.stopped or want.new) and "stopped" or nil)
  end
  if at.quit then
    p.answered(at.quit)
  end
  if call == "connect" and not want.fails then
    lu.assertStrMatches(b.ask(answer.values[1], "/x"), backend.pid .. " /x")
    answer.values[1]:close()
  end
  if at.held then
    at.held:close()
  end
end

local T = { teardown = b.cleanup }

for _, state in ipairs(rules.states) do
  for _, call in ipairs(rules.calls) do
    T[("%s while it is %s"):format(call, state)] = function()
      try(state, call, expected[state][call])
    end
  end
end

T["a call is answered once, however many there are and whatever follows"] = function()
  local backend, dir = b.lua(PROGRAM)
  go(dir)
  let_end(dir)
  local calls = {}
  for round = 1, 3 do
    for _, call in ipairs(rules.calls) do
      if call ~= "connect" then
        table.insert(calls, p.call(backend, call))
      end
    end
    for _ = 1, round do
      backend:connect(function(err, conn)
        assert(not err, err)
        conn:close()
      end)
    end
  end
  p.answered(unpack(calls))
  s.wait(function() return backend.served == 6 end)
end

T["a kill makes a quit that is under way a quick one, and both are answered"] = function()
  local at = arrange.stopping()
  local kill = p.call(at.backend, "kill")
  p.answered(at.quit, kill)
  lu.assertEquals(at.backend.state, "stopped")
end

T["a stop ends the start that was to follow another stop"] = function()
  local at = arrange.stopping()
  local spawn, restart = p.call(at.backend, "spawn"), p.call(at.backend, "restart")
  local quit = p.call(at.backend, "quit")
  let_end(at.dir)
  p.answered(at.quit, spawn, restart, quit)
  lu.assertEquals({ spawn.err.code, restart.err.code, at.backend.state }, { "stopped", "stopped", "stopped" })
end

T["who waits for a connection outlives whatever is done to the programs"] = function()
  for _, call in ipairs { "kill", "terminate", "quit", "restart" } do
    local at = arrange.starting()
    local first = at.backend.pid
    local conn = p.call(at.backend, "connect")
    local stop = p.call(at.backend, call)
    go(at.dir)
    p.answered(conn, stop)
    lu.assertNil(conn.err)
    lu.assertNotEquals(at.backend.pid, first)
    lu.assertStrContains(b.ask(conn.values[1]), at.backend.pid .. " /")
    conn.values[1]:close()
  end
end

T["a listener may call anything in any state"] = function()
  local backend, dir = b.lua(PROGRAM)
  go(dir)
  let_end(dir)
  local calls, left = {}, 12
  backend:on("state", function()
    if left > 0 then
      left = left - 1
      table.insert(calls, p.call(backend, rules.calls[({ 1, 4, 5, 6, 3, 1 })[left % 6 + 1]]))
    end
  end)
  while left > 0 do
    backend:spawn()
    p.answered(unpack(calls))
  end
end

return T
