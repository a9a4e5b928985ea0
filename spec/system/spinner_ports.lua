--- Ports for services under races: between services, spinners, processes, and with strangers.
local lu = require "luaunit"
local p = require "spec.support.process"
local s = require "spec.support"
local sp = require "spec.support.spinner"
local uv = require "luv"

local function listen_on(port)
  local tcp = uv.new_tcp()
  assert(tcp:bind("127.0.0.1", port))
  assert(tcp:listen(8, function()
    local conn = uv.new_tcp()
    tcp:accept(conn)
    conn:close()
  end))
  return tcp
end

-- It notes its port in that file first.
local function noting(path, text)
  return sp.server(([[
    local file = io.open(%q, "a")
    file:write(where, "\n")
    file:close()
  ]]):format(path) .. text)
end

return {
  teardown = sp.cleanup,

  ["services started at once get a port each, of one spinner and of two"] = function()
    local one, two = sp.new(), sp.new()
    local calls, seen = {}, {}
    for i = 1, 4 do
      calls[#calls + 1] = p.call(one, "start", { name = "a" .. i, command = sp.server() })
      calls[#calls + 1] = p.call(two, "start", { name = "b" .. i, command = sp.server() })
    end
    p.answered(unpack(calls))
    for _, call in ipairs(calls) do
      lu.assertNil(call.err)
      lu.assertNil(seen[call.values[1]])
      seen[call.values[1]] = true
    end
  end,

  ["ports that others have are passed over, whatever address they listen on"] = function()
    local range = sp.ports(0, 3)
    local held = { listen_on(range[1]), uv.new_tcp() }
    assert(held[2]:bind("::", range[1] + 1))
    assert(held[2]:listen(1, function() end))
    local spinner = sp.new { ports = range }
    lu.assertEquals(spinner:start { name = "x", command = sp.server() }, range[2])
    for _, handle in ipairs(held) do
      handle:close()
    end
  end,

  ["a port that another brood on this machine has in mind is passed over"] = function()
    local range = sp.ports(0, 2)
    local fd = assert(require("brood.core").fd.reserve("brood-port-" .. range[1]))
    local spinner = sp.new { ports = range }
    lu.assertEquals(spinner:start { name = "x", command = sp.server() }, range[2])
    require("brood.core").fd.close(fd)
    local result = s.script(([[
      local spinner = require("brood.spinner").new { ports = { %d, %d } }
      print(spinner:start { name = "y", command = { ... } })
      spinner:stop_all()
    ]]):format(range[1], range[2]), sp.server()):finish(10)
    lu.assertEquals(result.stdout, range[1] .. "\n")
  end,

  ["two processes that start many at once collide nowhere"] = function()
    local range = sp.ports(0, 40)
    local text = ([[
      local brood = require "brood"
      local spinner = require("brood.spinner").new { ports = { %d, %d }, timeout = 20 }
      local tasks = {}
      for i = 1, 10 do
        tasks[i] = brood.async(spinner.start, spinner, { name = "n" .. i, command = { unpack(arg) } })
      end
      for _, task in ipairs(tasks) do print((task:wait())) end
      spinner:stop_all()
    ]]):format(range[1], range[2])
    local server = sp.server()
    local one, two = s.script(text, server), s.script(text, server)
    local text_of = one:finish(40).stdout .. two:finish(40).stdout
    local n = 0
    for port in text_of:gmatch "%d+" do
      n = n + 1
      lu.assertTrue(tonumber(port) >= range[1] and tonumber(port) <= range[2])
    end
    lu.assertEquals(n, 20)
  end,

  ["a port that a stranger takes while the program starts is not handed out: the next one is"] = function()
    local range = sp.ports(0, 3)
    local spinner = sp.new { ports = range }
    local path, lines = sp.journal()
    -- It tells its port, and tries to bind it once it was told to; a program that cannot goes on all the same.
    local command = noting(path, ([[
      while not io.open(%q) do brood.sleep(0.005) end
      if not pcall(listen) then brood.sleep(60) end
    ]]):format(path .. ".go"))
    local call = p.call(spinner, "start", { name = "x", command = command })
    s.wait(function() return lines()[1] end)
    local stranger = listen_on(tonumber(lines()[1]))
    s.write_file(path .. ".go", "")
    p.answered(call)
    lu.assertEquals(lines(), { tostring(range[1]), tostring(range[1] + 1) })
    lu.assertEquals(call.values[1], range[1] + 1)
    stranger:close()
  end,

  ["a fixed port that another has is an error that names who"] = function()
    local port = s.free_port()
    local other = listen_on(port)
    local spinner = sp.new()
    local _, err = spinner:start { name = "x", command = sp.server(), port = port, attempts = 1 }
    lu.assertEquals(err.code, "EADDRINUSE")
    local pattern = ".*: port %d is .* %%(pid %d%%)'s: stop that, or give it another port"
    lu.assertStrMatches(err.message, pattern:format(port, uv.os_getpid()))
    other:close()
  end,

  ["a range without a free port is an error that names it and who has its ports"] = function()
    local range = sp.ports(0, 2)
    local other = listen_on(range[1])
    local spinner = sp.new { ports = range }
    lu.assertEquals(spinner:start { name = "one", command = sp.server() }, range[2])
    local _, err = spinner:start { name = "two", command = sp.server(), attempts = 1 }
    lu.assertEquals(err.code, "EADDRINUSE")
    lu.assertStrContains(err.message, ("no port of {%d, %d} is free: this spinner's own services have %d by one; other "
      .. "programs have %d by "):format(range[1], range[2], range[2], range[1]))
    lu.assertStrContains(err.message, (", pid %d: give `ports` a wider range"):format(uv.os_getpid()))
    other:close()
  end,

  ["where all ports are taken a start fails at once, and the next one tries again"] = function()
    local range = sp.ports(80, 1)
    local spinner = sp.new { ports = range }
    spinner:start { name = "one", command = sp.server() }
    local attempts = 0
    local took = require("brood.spinner.ports").take
    require("brood.spinner.ports").take = function(...) attempts = attempts + 1 return took(...) end
    local _, err = spinner:start { name = "two", command = sp.server() }
    require("brood.spinner.ports").take = took
    lu.assertEquals({ attempts, err.code, spinner:get("two").state }, { 1, "EADDRINUSE", "stopped" })
    lu.assertStrContains(err.message, ("two: no port of {%d, %d} is free: this spinner's own services have %d by one: "
      .. "stop one of them, or give `ports` a wider range"):format(range[1], range[1], range[1]))
    local _, other = sp.new({ ports = range }):start { name = "three", command = sp.server() }
    lu.assertStrContains(other.message, ("others in this process have %d by one: give `ports`"):format(range[1]))
    spinner:stop "one"
    lu.assertEquals(spinner:start "two", range[1])
  end,

  ["a port is free again when its service is stopped, and the one that it had is taken again at a restart"] = function()
    local spinner = sp.new { ports = sp.ports(0, 2) }
    local first = spinner:start { name = "a", command = sp.server() }
    local second = spinner:start { name = "b", command = sp.server() }
    spinner:stop "a"
    lu.assertEquals(spinner:restart "b", second)
    lu.assertEquals(spinner:start { name = "c", command = sp.server() }, first)
  end,

  ["where a program listens on IPv6 alone, its address says so"] = function()
    local spinner = sp.new()
    local port = spinner:start { name = "x", command = sp.server [[
      local tcp = uv.new_tcp()
      assert(tcp:bind("::1", tonumber(where)))
      tcp:listen(8, function() end)
      brood.sleep(60)
    ]] }
    lu.assertEquals(spinner:get("x").listening, "[::1]:" .. port)
  end,

  ["an attempt that did not listen in time is followed by one on another port"] = function()
    local range = sp.ports(0, 3)
    local spinner = sp.new { ports = range }
    lu.assertEquals(spinner:start { name = "x", timeout = 0.5 * s.slow, command = sp.server(([[
      if tonumber(where) == %d then brood.sleep(60) end
      listen()
    ]]):format(range[1])) }, range[1] + 1)
  end,

  ["a program that ends with an error keeps its port, so that it is where it was once it is mended"] = function()
    local range = sp.ports(60, 3) -- nobody has had them before: nothing is left on them
    local spinner = sp.new { ports = range }
    local path, lines = sp.journal()
    local command = noting(path, ([[
      if not io.open(%q) then os.exit(1) end
      listen()
    ]]):format(path .. ".mended"))
    local _, err = spinner:start { name = "x", command = command, attempts = 2 }
    lu.assertEquals(err.code, "exit")
    s.write_file(path .. ".mended", "")
    lu.assertEquals(spinner:restart "x", range[1])
    local first = tostring(range[1])
    lu.assertEquals(lines(), { first, first, first })
  end,

  ["an attempt that ended with an error while its port was in use is followed by one on another port"] = function()
    local range = sp.ports(70, 3)
    local spinner = sp.new { ports = range }
    -- As by a program without SO_REUSEADDR: the side that closes first keeps the port for a minute.
    local server, accepted = uv.new_tcp(), false
    assert(server:bind("127.0.0.1", range[1]))
    assert(server:listen(1, function()
      local conn = uv.new_tcp()
      server:accept(conn)
      conn:read_start(function(_, data)
        if not data then conn:close() end
      end)
      conn:shutdown(function() accepted = true end)
    end))
    local client = uv.new_tcp()
    client:connect("127.0.0.1", range[1], function()
      client:read_start(function(_, data)
        if not data and not client:is_closing() then client:close() end
      end)
    end)
    s.wait(function() return accepted and client:is_closing() end)
    local closed = false
    server:close(function() closed = true end)
    s.wait(function() return closed end)
    lu.assertEquals(spinner:start { name = "x", command = sp.server(([[
      if tonumber(where) == %d then os.exit(1) end
      listen()
    ]]):format(range[1])) }, range[1] + 1)
  end,

  ["a service whose listener is a grandchild has its port"] = function()
    local spinner = sp.new()
    local server = sp.server()
    local port = spinner:start { name = "x",
      command = { "sh", "-c", ("(%s exec %s) & wait"):format(server[1], server[3]) } }
    lu.assertIsNumber(port)
    local stray = spinner:start { name = "y",
      command = { "sh", "-c", ("setsid %s exec %s & wait"):format(server[1], server[3]) } }
    lu.assertIsNumber(stray)
    uv.kill(tonumber(sp.ask(stray)), "sigkill")
  end,
}
