--- Every call in every state of a service: what it answers, once, and what becomes of the service.
local lu = require "luaunit"
local p = require "spec.support.process"
local s = require "spec.support"
local sp = require "spec.support.spinner"

local PLAIN = { name = "x", command = { "sleep", "60" }, port = false }
-- Ready when its file says so; takes as long to end as a file says.
local function slow(options)
  local dir = s.temp_dir()
  local full = {
    name = "x", port = true,
    command = sp.server(([[
      local dir = %q
      local signal = require("luv").new_signal()
      signal:start("sigterm", function()
        require("brood").async(function()
          while io.open(dir .. "/hold") do brood.sleep(0.005) end
          os.exit(0)
        end)
      end)
      while not io.open(dir .. "/go") do brood.sleep(0.005) end
      listen()
    ]]):format(dir)),
  }
  for name, value in pairs(options or {}) do
    full[name] = value
  end
  return full, function() s.write_file(dir .. "/go", "") end, function() s.write_file(dir .. "/hold", "") end,
    function() os.remove(dir .. "/hold") end
end

local function in_state(spinner, state)
  s.wait(function() return spinner:get("x").state == state end, 10, "the state " .. state)
end

-- A service in that state, and what lets it go on.
local enter = {}

function enter.stopped(spinner)
  spinner:start(PLAIN)
  spinner:stop "x"
end

function enter.starting(spinner)
  local options, go = slow()
  local call = p.call(spinner, "start", options)
  in_state(spinner, "starting")
  return go, call
end

function enter.ready(spinner)
  spinner:start(PLAIN)
end

function enter.stopping(spinner)
  local options, go, hold, release = slow()
  go()
  hold()
  spinner:start(options)
  local call = p.call(spinner, "stop", "x")
  in_state(spinner, "stopping")
  return release, call
end

function enter.faulted(spinner)
  lu.assertNil((spinner:start { name = "x", command = { "false" }, port = false, ready = "notify", attempts = 1 }))
  lu.assertEquals(spinner:get("x").state, "faulted")
end

-- In each state: what a call ends with ("ok" or the code of its error), and the state then.
local EXPECTED = {
  stopped = { start = { "ok", "ready" }, stop = { "ok", "stopped" }, restart = { "ok", "ready" },
    touch = { "stopped", "stopped" } },
  starting = { start = { "ok", "ready" }, stop = { "ok", "stopped", "stopped" }, restart = { "ok", "ready" },
    touch = { "ok", "ready" } },
  ready = { start = { "ok", "ready" }, stop = { "ok", "stopped" }, restart = { "ok", "ready" },
    touch = { "ok", "ready" } },
  stopping = { start = { "ok", "ready" }, stop = { "ok", "stopped" }, restart = { "ok", "ready" },
    touch = { "stopped", "stopped" } },
  faulted = { start = { "faulted", "faulted" }, stop = { "ok", "stopped" }, restart = { "exit", "faulted" },
    touch = { "stopped", "faulted" } },
}

local T = { teardown = sp.cleanup }

for state, calls in pairs(EXPECTED) do
  for method, expected in pairs(calls) do
    T[("a %s while it is %s"):format(method, state)] = function()
      local spinner = sp.new()
      local go, first = enter[state](spinner)
      local call = p.call(spinner, method, "x")
      if go then
        go()
      end
      p.answered(call, unpack { first })
      lu.assertEquals(call.err and call.err.code or "ok", expected[1])
      in_state(spinner, expected[2])
      if first then
        lu.assertEquals(first.err and first.err.code, expected[3])
      end
      s.remains(function() return call.answers == 1 and spinner:get("x").state == expected[2] end, 0.05)
    end
  end
end

T["a stop while it waits for the next attempt ends the start, and no attempt follows"] = function()
  local path, lines = sp.journal()
  local spinner = sp.new()
  local call = p.call(spinner, "start",
    { name = "x", command = { "sh", "-c", "echo x >>" .. path .. "; exit 1" }, attempts = 10 })
  s.wait(function() return #lines() == 2 end)
  lu.assertTrue(spinner:stop "x")
  p.answered(call)
  lu.assertEquals(call.err.code, "stopped")
  local n = #lines()
  s.remains(function() return #lines() == n end, 0.6)
end

T["starts and stops in a row are each answered, in order, and the last wish holds"] = function()
  local spinner = sp.new()
  spinner:start(PLAIN)
  local calls = {}
  for i, method in ipairs { "stop", "start", "stop", "start", "restart", "stop", "start", "start" } do
    calls[i] = p.call(spinner, method, "x")
  end
  p.answered(unpack(calls))
  lu.assertEquals(spinner:get("x").state, "ready")
  local codes = {}
  for i, call in ipairs(calls) do
    codes[i] = call.err and call.err.code or "ok"
  end
  lu.assertEquals(codes, { "ok", "stopped", "ok", "stopped", "stopped", "ok", "ok", "ok" })
end

T["a listener of started may stop it, and one of stopped start it, at once"] = function()
  local spinner = sp.new()
  local service = spinner:start(PLAIN, function() end)
  local n = 0
  service:on("started", function()
    n = n + 1
    if n < 3 then
      spinner:stop("x", function() end)
    end
  end)
  service:on("stopped", function()
    spinner:start("x", function() end)
  end)
  s.wait(function() return n == 3 and service.state == "ready" end)
  service:off "stopped"
end

T["in the child of a fork the spinner is the parent's, which goes on"] = function()
  local result = s.script([[
    local Spinner, posix = require "brood.spinner", require "brood.posix"
    local spinner = Spinner.new { port = false }
    spinner:start { name = "x", command = { "sleep", "60" } }
    local pid = spinner:get("x").pid
    local child = posix.fork()
    if child == 0 then
      local ok, err = pcall(spinner.stop, spinner, "x")
      print(ok, tostring(err):match "belongs to the process")
      os.exit(0)
    end
    posix.waitpid(child)
    print(spinner:get("x").pid == pid, spinner:stop "x")
  ]]):finish()
  lu.assertEquals({ result.stdout, result.stderr }, { "false\tbelongs to the process\ntrue\ttrue\n", "" })
end

return T
