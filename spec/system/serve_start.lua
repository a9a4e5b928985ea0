--- Starts that fail, and addresses in use: the reason, status 1, and nothing left.
local lu = require "luaunit"
local masters = require "spec.support.master"
local s = require "spec.support"

local function fails(options)
  local master = masters.start(options)
  lu.assertEquals(master.program:wait(30), 1, master:log())
  lu.assertFalse(s.exists(master.control))
  return master:log(), master
end

return {
  ["an after_fork that raises fails the start with its message, in a few tries"] = function()
    local log = fails { workers = 1, config = "after_fork = function() error('no tenant') end" }
    lu.assertStrContains(log, "cannot start: web: after_fork: ")
    lu.assertStrContains(log, "no tenant")
    local _, tries = log:gsub("error %[%d+%] web: worker", "")
    lu.assertEquals(tries, 3)
  end,

  ["a before_fork that raises fails the start with its message, and nothing is forked"] = function()
    local log, master = fails { workers = 2, config = [[
      before_fork = function() error('no licence') end,
      after_fork = function() note "forked" end, worker_exit = function() note "exit" end]] }
    lu.assertStrContains(log, "cannot start: web: before_fork: ")
    lu.assertStrContains(log, "no licence")
    lu.assertEquals(master:notes(), "")
  end,

  ["many workers that all fail take hardly longer than one"] = function()
    local seconds = s.timed(fails, { workers = 12, app = "error 'no'" })
    lu.assertTrue(seconds < 4 * s.slow, seconds)
  end,

  ["one worker that cannot start does not keep the others from serving, and is tried again"] = function()
    local master = masters.start { workers = 2, app = [[
      local brood = require "brood"
      if brood.worker.slot == 2 and not io.open("now") then error "not yet" end
      return function(req, res) res:finish("slot " .. brood.worker.slot) end]] }
    lu.assertEquals(master:get().body, "slot 1")
    lu.assertStrContains(master:log(), "1 of 2 workers serve")
    s.write_file(master.dir .. "/now", "")
    master:ready(2)
    lu.assertEquals(master:stop "QUIT", 0)
  end,

  ["on_start runs before the first fork, and what it raises fails the start"] = function()
    local log, master = fails { config = [[
      on_start = function(master, why) note("start", why, #master.workers, master.config.workers) error('no schema') end,
      before_fork = function() note "fork" end, on_stop = function() note "stop" end]] }
    lu.assertStrContains(log, "cannot start: on_start: ")
    lu.assertStrContains(log, "no schema")
    lu.assertEquals(master:notes(), "start start 0 2\n")
  end,

  ["an address in use is tried for a second; then it is the reason"] = function()
    local first = masters.start()
    local at = first:address()
    local seconds, log = s.timed(fails, { config = ("listen = %q"):format(at) })
    lu.assertStrContains(log, "cannot listen on " .. at)
    lu.assertStrContains(log, "in use")
    lu.assertTrue(seconds >= 0.9 and seconds < 4 * s.slow, seconds)
    lu.assertEquals(first:get().status, 200)
  end,

  ["an address that becomes free within that second is taken"] = function()
    local first = masters.start()
    local at = first:address()
    local second = masters.start { config = ("listen = %q"):format(at) }
    second.program:expect "trying again"
    lu.assertEquals(first:stop "TERM", 0)
    lu.assertEquals(second:get().status, 200)
  end,

  ["a stop while it waits for an address ends at once with status 0"] = function()
    local first = masters.start()
    local second = masters.start { config = ("listen = { 'unix:web.sock', %q }"):format(first:address()) }
    second.program:expect "trying again"
    second.program:kill "QUIT"
    lu.assertEquals({ second.program:wait() }, { 0 })
    lu.assertFalse(s.exists(second.dir .. "/web.sock"))
    lu.assertNotStrContains(second:log(), "cannot start")
  end,

  ["an address that can never be had is the reason at once"] = function()
    lu.assertStrContains(fails { config = 'listen = "192.0.2.1:8080"' }, "cannot listen on 192.0.2.1:8080")
    lu.assertStrContains(fails { config = 'listen = "unix:missing/web.sock"' }, "missing/web.sock")
    lu.assertStrContains(fails { config = 'listen = { "unix:web.sock", "unix:missing/web.sock" }' }, "missing/web.sock")
  end,

  ["a stop while workers start ends with status 0"] = function()
    for _, signal in ipairs { "QUIT", "TERM", "INT" } do
      local master = masters.start { app = "print 'loading' io.stdout:flush() require('brood').sleep(20)" }
      master.program:expect "loading"
      master.program:kill(signal)
      local seconds = s.timed(master.program.wait, master.program)
      lu.assertEquals(master.program.code, 0)
      lu.assertTrue(seconds < 2 * s.slow)
      lu.assertNotStrContains(master:log(), "cannot start")
    end
  end,

  ["a stale Unix socket file is replaced, and removed at the end"] = function()
    local first = masters.start { workers = 1, config = 'listen = "unix:web.sock"' }
    first:address()
    first.program:kill "KILL"
    first.program:wait()
    lu.assertTrue(s.exists(first.dir .. "/web.sock"))
    local second = s.brood { first.dir .. "/brood.lua" }
    second:expect "workers serve"
    lu.assertEquals(s.get(first.dir .. "/web.sock").status, 200)
    lu.assertEquals(second:stop(), 0)
    lu.assertFalse(s.exists(first.dir .. "/web.sock"))
    lu.assertFalse(s.exists(first.control))
  end,

  ["a live Unix socket is refused, and what is no socket is left alone"] = function()
    local first = masters.start { workers = 1, config = 'listen = { { address = "unix:web.sock", mode = "0660" } }' }
    first:address()
    lu.assertEquals(require("bit").band(require("luv").fs_stat(first.dir .. "/web.sock").mode, 511), 432)
    local path = first.dir .. "/web.sock"
    lu.assertStrContains(fails { config = ("listen = 'unix:%s'"):format(path) }, "cannot listen on unix:" .. path)
    lu.assertEquals(s.get(path).status, 200)
    local seconds, log, other = s.timed(fails, { config = "listen = 'unix:file'", files = { file = "precious" } })
    lu.assertStrContains(log, "/file: it exists and is no socket")
    lu.assertTrue(seconds < 0.8 * s.slow, seconds) -- nobody is going to take it away
    lu.assertEquals(s.read_file(other.dir .. "/file"), "precious")
  end,
}
