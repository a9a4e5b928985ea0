--- What the child of a fork has of its parent's objects: what they supervise is the parent's, which goes on, and a
--- method raises there at once; what has not begun is the child's own to begin.
local lu = require "luaunit"
local s = require "spec.support"

local HEAD = [[
  local brood, posix = require "brood", require "brood.posix"
  local ME = posix.getpid()
  local function say(...) io.write(table.concat({ ... }, " "), "\n") io.flush() end
  local function refused(object, ...)
    for _, name in ipairs { ... } do
      local began = require("brood.clock").now()
      local ok, err = pcall(function() local _ = object[name](object, name == "scale" and 2 or print); return _ end)
      local mine = tostring(err):match "^[^:]+:%d+: %w+:[%w_]+: .* belongs to the process that this one was forked from"
      if ok or not mine or require("brood.clock").now() - began > 1 then say("not refused:", name, tostring(err)) end
    end
  end
  local function in_child(fn)
    local pid = posix.fork()
    if pid == 0 then
      fn()
      say "child done"
      os.exit(0)
    end
    local gone, how, status
    repeat brood.sleep(0.005); gone, how, status = posix.waitpid(pid, { nohang = true }) until gone ~= 0
    say("child", tostring(how), tostring(status))
  end
]]

local function story(text, ...)
  local result = s.script(HEAD .. text, { ... }):finish(20 * s.slow)
  return { result.stdout, result.stderr, result.code }
end

local CHILD = "child done\nchild exited 0\n"

return {
  ["a cluster is refused in the child, whatever is called, and serves on in the parent"] = function()
    local app = s.write_file("app.lua", "return function(req, res) res:finish 'x' end")
    lu.assertEquals(story([[
      local cluster = require("brood.cluster").new(..., { listen = "127.0.0.1:0", count = 1 })
      local idle = require("brood.cluster").new(..., { listen = "127.0.0.1:0", count = 1 })
      assert(cluster:start())
      local pid = cluster.workers[1].pid
      in_child(function()
        refused(cluster, "start", "stop", "restart", "scale", "each", "send", "kill", "terminate")
        refused(idle, "start", "stop", "restart", "scale")
        assert(cluster:address())
      end)
      say(tostring(cluster.workers[1].pid == pid), require("brood.http").get("http://" .. cluster:address()).body)
      cluster:stop()
    ]], app), { CHILD .. "true x\n", "", 0 })
  end,

  ["processes, children and services that run are refused in the child; one that does not run can be started there"] =
    function()
      local script = s.write_file("child.lua", 'require("brood.child").main "x"')
      lu.assertEquals(story([[
        local Process = require "brood.process"
        local process, idle = Process.new { command = { "sleep", "60" } }, Process.new { command = { "sleep", "60" } }
        local child = require("brood.child").new(...)
        local spinner = require("brood.spinner").new { port = false }
        assert(process:start())
        assert(child:start())
        assert(spinner:start { name = "x", command = { "sleep", "60" } })
        local service = spinner:get "x"
        in_child(function()
          refused(process, "start", "stop", "restart", "wait", "signal", "send", "write", "close_stdin")
          refused(child, "start", "stop", "kill", "send")
          refused(service, "start", "stop", "restart", "touch", "signal", "send", "write", "close_stdin")
          say(tostring(idle:start()), tostring(idle:stop()))
        end)
        say(process.state, child.state, service.state)
        process:stop() child:stop() spinner:stop_all()
      ]], script), { "true true\n" .. CHILD .. "ready ready ready\n", "", 0 })
    end,

  ["a lifecycle that was ready is so in both; one whose start was under way is refused in the child"] = function()
    lu.assertEquals(story [[
      local Lifecycle = require "brood.lifecycle"
      local life, slow, go = Lifecycle.new(), Lifecycle.new(), nil
      life:add("a", function() end, function() say("stop", posix.getpid() == ME and "parent" or "child") end)
      slow:add("b", function(done) go = done end)
      assert(life:start())
      local starting = brood.async(slow.start, slow)
      brood.sleep(0.001)
      in_child(function()
        refused(slow, "start", "stop")
        say(tostring(life:stop()))
      end)
      go()
      say(tostring(starting:wait()), tostring(life:stop()))
    ]], { "stop child\ntrue\n" .. CHILD .. "stop parent\ntrue true\n", "", 0 })
  end,

  ["a method that is called with a dot says so, at its caller's line"] = function()
    local app = s.write_file("app.lua", "return function(req, res) res:finish 'x' end")
    lu.assertEquals(story([[
      local cluster = require("brood.cluster").new(..., { listen = "127.0.0.1:0" })
      local spinner = require("brood.spinner").new()
      local function dotted(noun, object, ...)
        for _, name in ipairs { ... } do
          local ok, err = pcall(function() local _ = object[name] "x"; return _ end)
          local what = noun .. ":" .. name .. ": call it with a colon"
          if ok or not err:find(what, 1, true) or not err:find "^[^:]+:%d+: " then say(name, tostring(err)) end
        end
      end
      dotted("cluster", cluster, "start", "stop", "terminate", "restart", "scale", "each", "send", "kill", "address",
        "status")
      local net = require "brood.net"
      local server = net.server(function() end)
      assert(server:listen "127.0.0.1:0")
      dotted("conn", assert(net.connect(server:address())), "read", "write", "close", "shutdown", "chunks")
      dotted("server", server, "listen", "address", "close", "linger", "destroy")
      server:close()
      dotted("spinner", spinner, "start", "stop", "restart", "touch", "stop_all", "get", "list")
      say((select(2, pcall(cluster.scale, cluster, "3"))))
    ]], app), { 'cluster:scale: a whole number of workers is needed, got "3"\n', "", 0 })
  end,
}
