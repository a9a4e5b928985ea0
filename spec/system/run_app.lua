--- `brood -s APP`: serving without a config, and where it listens.
local lu = require "luaunit"
local s = require "spec.support"

local function app()
  return s.write_file("app.lua", [[
    local worker = require("brood").worker
    return function(req, res) res:finish("hello " .. worker.cluster .. "\n") end]])
end

local function serve(args, options)
  local program = s.brood(args, options)
  local n, at = program:expect("(%d+) workers serve ([^\n]+)\n")
  local list = {}
  for one in at:gmatch("[^, ]+") do
    list[#list + 1] = one
  end
  return list, program, tonumber(n)
end

local function curl(...)
  return s.run({ "/usr/bin/curl", "-sS", "--max-time", "10", ... }).stdout
end

return {
  ["several -l are all served, TCP and Unix, by as many workers as -w says"] = function()
    local dir = s.temp_dir()
    local list, program, n = serve(
      { "-s", app(), "-l", "127.0.0.1:0", "-l", "[::1]:0", "-l", "unix:web.sock", "-w", 3 }, { cwd = dir })
    lu.assertEquals(n, 3)
    lu.assertEquals(#list, 3)
    for _, at in ipairs { list[1], list[2] } do
      lu.assertEquals(curl("http://" .. at .. "/"), "hello web\n")
    end
    lu.assertEquals(curl("--unix-socket", dir .. "/web.sock", "http://x/"), "hello web\n")
    lu.assertEquals({ program:stop() }, { 0 })
    lu.assertFalse(s.exists(dir .. "/web.sock"))
  end,

  ["a bare port, -p and PORT listen on all interfaces, v4 and v6"] = function()
    local file = app()
    for _, how in ipairs { "-l", "-p", "PORT" } do
      local port = s.free_port()
      local args = { "-s", file, "-w", 1 }
      if how ~= "PORT" then
        args[#args + 1], args[#args + 2] = how, port
      end
      local _, program = serve(args, { env = { PORT = how == "PORT" and port or nil } })
      lu.assertEquals(curl(("http://127.0.0.1:%d/"):format(port)), "hello web\n", how)
      lu.assertEquals(curl(("http://[::1]:%d/"):format(port)), "hello web\n", how)
      program:stop()
    end
  end,

  ["an address of -l is used as it is, beside a -p"] = function()
    local port = s.free_port()
    local list, program = serve { "-s", app(), "-l", "127.0.0.1:0", "-p", port, "-w", 1 }
    lu.assertEquals(#list, 2)
    lu.assertStrContains(list[1], "127.0.0.1:")
    lu.assertStrContains(list[2], ":" .. port)
    program:stop()
  end,

  ["without -w there is one worker for each cpu, or WEB_CONCURRENCY of them"] = function()
    local _, program, n = serve { "-s", app(), "-l", "127.0.0.1:0" }
    lu.assertEquals(n, require("brood.core").cpus())
    program:stop()
    _, program, n = serve({ "-s", app(), "-l", "127.0.0.1:0" }, { env = { WEB_CONCURRENCY = 3 } })
    lu.assertEquals(n, 3)
    program:stop()
    _, program, n = serve({ "-s", app(), "-l", "127.0.0.1:0", "-w", 1 }, { env = { WEB_CONCURRENCY = 3 } })
    lu.assertEquals(n, 1)
    program:stop()
  end,

  ["a ./brood.lua is not read, and paths are relative to the working directory"] = function()
    local dir = s.temp_dir()
    s.write_file(dir .. "/brood.lua", "error 'read'")
    s.write_file(dir .. "/sub/app.lua", 'return function(req, res) res:finish(require("luv").cwd()) end')
    local list, program = serve(
      { "-s", "sub/app.lua", "-l", "127.0.0.1:0", "-w", 1, "--control", "unix:c.sock" }, { cwd = dir })
    lu.assertEquals(s.get(list[1]).body, dir)
    lu.assertEquals(s.get(dir .. "/c.sock", "/health").status, 200)
    program:stop()
  end,

  ["with a config -s beats its app, and the rest of it holds"] = function()
    local file = s.write_file("brood.lua", [[
      return { app = "none.lua", listen = "127.0.0.1:0", workers = 1, env = { A = "of config" } }]])
    local mine = s.write_file("mine.lua", 'return function(req, res) res:finish(os.getenv("A")) end')
    local list, program = serve { "-c", file, "-s", mine }
    lu.assertEquals(s.get(list[1]).body, "of config")
    program:stop()
  end,

  ["the title in ps says who is who"] = function()
    local list, program = serve { "-s", app(), "-l", "127.0.0.1:0", "-w", 1 }
    lu.assertEquals(s.get(list[1]).status, 200)
    lu.assertStrContains(s.cmdline(program.pid)[1], "brood: master ")
    lu.assertStrContains(s.cmdline(s.child_pids(program.pid)[1])[1], "brood: web worker 1")
    program:stop()
  end,
}
