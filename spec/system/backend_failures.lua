--- Programs that die, print, never listen or take somebody else's place, and the end of the process that runs them.
-- time limit: 180 s
local lu = require "luaunit"
local b = require "spec.support.backend"
local brood = require "brood"
local p = require "spec.support.process"
local posix = require "brood.posix"
local fails = require "spec.support.fails"
local s = require "spec.support"
local uv = require "luv"

-- A script that has a backend, whose program serves; it prints the program's pid and the folder.
local SCRIPT = [[
local brood, Backend, posix = require "brood", require "brood.backend", require "brood.posix"
local backend = Backend.new { command = { %q, "exec", %q }, name = "app" }
assert(backend:spawn())
print(backend.pid, backend:status().programs[1].address:match "^unix:(.*)/")
io.stdout:flush()
%s
]]

local function script(text)
  local app = s.write_file("app.lua", [[
    require("brood.http").server(function(_, res) res:finish "yes" end):listen("unix:" .. os.getenv "SOCKET")
  ]])
  local program = s.script(SCRIPT:format(s.binary, app, text or ""))
  local pid, folder = program:expect "(%d+)\t(%S+)\n"
  return program, tonumber(pid), folder
end

return {
  teardown = function()
    p.cleanup()
    b.cleanup()
  end,

  ["one that dies while it starts: the error is what it printed"] = function()
    local lines = {}
    local backend = b.sh("echo one; echo two >&2; exit 3", {
      stdout = function(line) table.insert(lines, line) end, stderr = function(line) table.insert(lines, line) end,
    })
    local err = fails(backend:connect())
    lu.assertEquals({ err.message, tostring(err), err.code, err.exit_code }, { "one\ntwo", "one\ntwo", "exit", 3 })
    lu.assertEquals(err.reason, "app ended with status 3 before it was ready")
    lu.assertEquals({ lines, backend.state }, { { "one", "two" }, "stopped" })
  end,

  ["one that dies without a word: the error says how"] = function()
    local err = fails(b.sh("kill -9 $$"):spawn())
    lu.assertEquals({ tostring(err), err.code, err.exit_signal }, {
      "app was killed by KILL before it was ready", "exit", "KILL",
    })
    err = fails(b.new({ command = { "/no/such/program" } }):connect())
    lu.assertEquals(err.code, "ENOENT")
    lu.assertStrContains(tostring(err), "No such file")
    err = fails(b.sh("true", { cwd = "/no/such/folder" }):connect())
    lu.assertStrContains(tostring(err), "/no/such/folder")
  end,

  ["what it printed is bounded, and its last part is what counts"] = function()
    local backend = b.sh("seq 1 200000; echo the reason >&2; sleep 0.05; exit 1", { stdout = false, stderr = false })
    local err = fails(backend:connect())
    lu.assertTrue(#tostring(err) <= 8200, #tostring(err))
    lu.assertStrMatches(tostring(err), "%.%.%.\n%d+\n.*")
    lu.assertStrContains(tostring(err), "the reason")
  end,

  ["what it prints goes where ours goes"] = function()
    local program = s.script [[
      local backend = require("brood.backend").new { command = { "sh", "-c", "echo out; echo err >&2; exit 1" } }
      print(select(2, backend:connect()).code)
    ]]
    local result = program:finish()
    lu.assertEquals({ result.stdout, result.stderr }, { "out\nexit\n", "err\n" })
  end,

  ["an output that nobody reads keeps neither the program nor us waiting for ever"] = function()
    local r, w = posix.pipe()
    local lines = p.lines()
    local program = p.script([[
      local backend = require("brood.backend").new { command = { "sh", "-c", "yes | head -c 10000000; exit 4" } }
      local ok, err = backend:connect()
      io.stderr:write("ended with ", err.exit_code, "\n")
      os.exit(0)
    ]], { stdout = w, stderr = lines.add })
    program:start()
    s.wait(function() return lines[1] end, 20)
    lu.assertEquals(lines[1], "ended with 4")
    program:stop()
    posix.close(r)
    posix.close(w)
  end,

  ["all who wait for a program that does not start are told, and nobody who comes later is told of old"] = function()
    local dir = s.temp_dir()
    local backend = b.sh(("echo start >>%s/starts; echo broken; exit 1"):format(dir), { stdout = false })
    local heard = {}
    backend:on("error", function(err) table.insert(heard, tostring(err)) end)
    local calls = {}
    for i = 1, 10 do
      calls[i] = p.call(backend, "connect")
    end
    p.answered(unpack(calls))
    for i = 1, 10 do
      lu.assertEquals(tostring(calls[i].err), "broken")
    end
    lu.assertEquals({ s.read_file(dir .. "/starts"), heard }, { "start\n", { "broken" } })
  end,

  ["one that keeps dying is not started again at once: it is faulted, and says why"] = function()
    local dir = s.temp_dir()
    local backend = b.sh(([[
      echo start >>%s/starts
      [ -e %s/good ] || { echo broken; exit 1; }
      exec "$0" exec "$1"
    ]]):format(dir, dir), { stdout = false })
    backend.options.command[4] = s.binary
    backend.options.command[5] = s.write_file("app.lua", [[
      require("brood.http").server(function(_, res) res:finish "good" end):listen("unix:" .. os.getenv "SOCKET")
    ]])
    local function starts()
      return select(2, s.read_file(dir .. "/starts"):gsub("\n", ""))
    end
    local began = brood.now()
    while brood.now() - began < 1.2 do
      lu.assertEquals(tostring(fails(backend:connect())), "broken")
      brood.sleep(0.01)
    end
    lu.assertTrue(starts() >= 2 and starts() <= 4, starts())
    lu.assertEquals({ backend.state, tostring(backend:status().error) }, { "faulted", "broken" })
    s.write_file(dir .. "/good", "")
    lu.assertEquals(s.wait(function() return (b.get(backend)) end), "good")
    lu.assertNil(backend:status().error)
  end,

  ["faulted: a spawn tries at once"] = function()
    local backend, dir = b.lua 'if not exists(arg[1] .. "/good") then print "broken" os.exit(1) end serve()'
    for _ = 1, 4 do
      backend:spawn()
    end
    lu.assertEquals(backend.state, "faulted")
    s.write_file(dir .. "/good", "")
    lu.assertTrue(backend:spawn())
    lu.assertEquals(backend.state, "ready")
  end,

  ["killed while it starts: those who wait get the next one"] = function()
    local backend, dir = b.lua 'note "start" wait_for(arg[1] .. "/go") serve()'
    local calls = { p.call(backend, "connect"), p.call(backend, "connect") }
    for i = 1, 2 do
      s.wait(function() return #b.notes(dir) == i end)
      posix.kill(backend.pid, 9)
    end
    s.wait(function() return #b.notes(dir) == 3 end)
    s.write_file(dir .. "/go", "")
    p.answered(calls[1])
    calls[1].values[1]:close()
    p.answered(calls[2])
    calls[2].values[1]:close()
  end,

  ["killed while it starts, again and again: those who wait are told"] = function()
    local backend = b.sh("kill -9 $$")
    local err = fails(backend:connect())
    lu.assertEquals({ tostring(err), backend.state }, { "app was killed by KILL before it was ready", "faulted" })
  end,

  ["one that listens and dies at once is no endless loop"] = function()
    local backend, dir = b.lua('note "start" serve() os.exit(7)', { stderr = false })
    local err
    for _ = 1, 10 do
      local body -- it may just have taken the connection
      body, err = b.get(backend)
      lu.assertNil(body)
    end
    lu.assertEquals({ err.code, err.exit_code }, { "exit", 7 })
    lu.assertTrue(#b.notes(dir) <= 10)
  end,

  ["one that never listens: the error says what it lacks, what it printed, and it is ended"] = function()
    local backend = b.sh("trap '' TERM QUIT; echo here I am; sleep 100 & wait; wait", {
      start_timeout = 0.2, terminate_timeout = 0.1, stdout = false,
    })
    local err = fails(backend:connect())
    lu.assertEquals(err.code, "timeout")
    lu.assertStrMatches(tostring(err), "app was not ready within 0.2 s: it does not listen on the path in SOCKET\n"
      .. "here I am")
    lu.assertEquals(backend.state, "stopped")
  end,

  ["one that listens elsewhere: the error says where"] = function()
    local port = s.free_port()
    local backend = b.lua(('require("brood.http").server(print):listen "127.0.0.1:%d"'):format(port), {
      port = true, start_timeout = 2, name = "web",
    })
    local err = fails(backend:connect())
    lu.assertStrMatches(tostring(err), ("web was not ready within %%d+ s: it does not listen on the port %%d+, which "
      .. "is in PORT, but on 127.0.0.1:%d"):format(port))
  end,

  ["one whose connections fail while it lives is replaced"] = function()
    local backend = b.lua [[
      local net = require "brood.net"
      local server
      server = net.server(function(conn) os.remove(SOCKET) conn:write "x" server:close(function() end) end)
      server:listen("unix:" .. SOCKET)
      uv.new_timer():start(100000, 0, function() end)
    ]]
    local conn = assert(backend:connect())
    local first = backend.pid
    lu.assertEquals(conn:read(), "x")
    conn:close()
    local again = assert(backend:connect())
    lu.assertNotEquals(backend.pid, first)
    lu.assertEquals(again:read(), "x")
    again:close()
  end,

  ["a socket or a folder of sockets that somebody has removed: others take the place of the programs, nobody is lost"]
      = function()
    local backend = b.lua([[
      require("brood.net").server(function(conn) conn:write(tostring(posix.getpid())) end):listen("unix:" .. SOCKET)
    ]], { size = 4 })
    assert(backend:spawn())
    local function address()
      return (backend:status().programs[1].address:match "^unix:(.*)")
    end
    local function all_answer()
      local conns = {}
      for i = 1, 4 do
        conns[i] = assert(backend:connect())
        lu.assertStrMatches(assert(conns[i]:read()), "%d+")
      end
      for i = 1, 4 do
        conns[i]:close()
      end
      return address():match "^(.*)/"
    end
    local folder = all_answer()
    assert(os.remove(address()))
    lu.assertEquals(all_answer(), folder)
    for _, entry in ipairs(require("brood.folder").entries(folder)) do
      assert(os.remove(folder .. "/" .. entry.name))
    end
    assert(os.remove(folder))
    local another = all_answer()
    lu.assertNotEquals(another, folder)
    backend:terminate()
    lu.assertFalse(s.exists(another))
  end,

  ["an error that nobody waits for, nor listens to, is in the log"] = function()
    local result = s.script([[
      local brood, posix = require "brood", require "brood.posix"
      local backend = require("brood.backend").new {
        command = { arg[1], "exec", arg[2] }, name = "app",
      }
      local conn = assert(backend:connect())
      posix.kill(backend.pid, 9)
      conn:read()
      while backend.state ~= "stopped" do brood.sleep(0.005) end
      conn:close()
    ]], { s.binary, s.write_file("app.lua", [[
      require("brood.http").server(function(_, res) res:finish "yes" end):listen("unix:" .. os.getenv "SOCKET")
    ]]) }):finish()
    lu.assertEquals(result.code, 0)
    lu.assertStrContains(result.stderr, "app: app was killed by KILL in the middle of a request\n")
  end,

  ["a script that ends, by whatever, leaves neither program nor folder"] = function()
    local me = "posix.getpid()"
    for _, text in ipairs {
      "os.exit(0)", 'error "x"', ("posix.kill(%s, 15)"):format(me), ("posix.kill(%s, 2)"):format(me),
    } do
      local program, pid, folder = script(text)
      program:wait()
      s.gone({ pid }, 5)
      lu.assertFalse(s.exists(folder), text)
    end
  end,

  ["a script that is killed leaves no program, and the next one clears its folder away"] = function()
    local program, pid, folder = script()
    local other, _, living = script()
    program:kill "KILL"
    program:wait()
    s.gone({ pid }, 5)
    lu.assertTrue(s.exists(folder))
    local third, _, newest = script()
    lu.assertEquals({ s.exists(folder), s.exists(living), s.exists(newest) }, { false, true, true })
    for _, each in ipairs { other, third } do
      each:kill "TERM"
      each:wait()
    end
    lu.assertEquals({ s.exists(living), s.exists(newest) }, { false, false })
  end,

  ["in a forked child no program runs: it starts one of its own, and the parent's is left alone"] = function()
    local result = s.script([[
      local Backend, Worker = require "brood.backend", require "brood.worker"
      local backend = Backend.new { command = { arg[1], "exec", arg[2] } }
      local function get()
        local conn = assert(backend:connect())
        conn:write "GET / HTTP/1.0\r\n\r\n"
        local text = conn:read()
        conn:close()
        return text:match "[^\n]*$"
      end
      local mine = get()
      local w = Worker.fork()
      if w:is_child() then
        w:send { backend.state, get() }
        backend:quit()
        w:exit(0)
        return
      end
      w:on("message", function(seen) print(seen[1], seen[2] ~= mine) end)
      w:on("exit", function(code)
        print(code, get() == mine)
        backend:quit()
      end)
    ]], { s.binary, s.write_file("app.lua", [[
      local posix = require "brood.posix"
      require("brood.http").server(function(_, res) res:finish(posix.getpid()) end):listen("unix:" .. os.getenv "SOCKET")
    ]]) }):finish()
    lu.assertEquals({ result.stdout, result.stderr, result.code }, { "stopped\ttrue\n0\ttrue\n", "", 0 })
  end,

  ["a folder's path that is too long is not used"] = function()
    local long = s.temp_dir() .. "/" .. ("x"):rep(90)
    uv.fs_mkdir(long, 448)
    local result = s.script([[
      local backend = require("brood.backend").new { command = { "sh", "-c", "echo $SOCKET; exit 1" }, stdout = false }
      print(select(2, backend:connect()).message)
    ]], {}, { env = { TMPDIR = long, XDG_RUNTIME_DIR = long } }):finish()
    lu.assertStrMatches(result.stdout, "/tmp/brood%-%w+/1.sock\n")
  end,

  ["user: the program runs as somebody else, in a folder of theirs"] = function()
    lu.skipIf(posix.getuid() ~= 0, "only root may")
    local dir = s.open_temp_dir()
    s.run { "/bin/sh", "-c", ("cp %s %s/brood; chmod 755 %s/brood"):format(s.binary, dir, dir) }
    s.write_file(dir .. "/app.lua", [[
      local posix = require "brood.posix"
      require("brood.http").server(function(_, res) res:finish(posix.getuid()) end):listen("unix:" .. os.getenv "SOCKET")
    ]], 420)
    local result = s.script([[
      local uv = require "luv"
      local backend = require("brood.backend").new {
        command = { arg[1] .. "/brood", "exec", arg[1] .. "/app.lua" }, user = "nobody", cwd = "/",
      }
      local conn = assert(backend:connect())
      conn:write "GET / HTTP/1.0\r\n\r\n"
      print(conn:read():match "%d+$")
      conn:close()
      local folder = backend:status().programs[1].address:match "^unix:(.*)/"
      print(("%o %d %o"):format(uv.fs_stat(folder).mode % 512, uv.fs_stat(folder).uid,
        uv.fs_stat(folder:match "^(.*)/").mode % 512))
      backend:quit()
      print(uv.fs_stat(folder:match "^(.*)/"))
    ]], { dir }, { env = { TMPDIR = "/tmp", BROOD_LUA = false } }):finish()
    local nobody = posix.getpwnam("nobody").uid
    lu.assertEquals({ result.stderr, (result.stdout:gsub("nil\t.*", "nil\n")) }, {
      "", ("%d\n700 %d 711\nnil\n"):format(nobody, nobody),
    })
  end,
}
