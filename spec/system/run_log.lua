--- What a master writes to its log, and how the options of `brood run` change that.
local lu = require "luaunit"
local brood = require "brood"
local masters = require "spec.support.master"
local s = require "spec.support"
local uv = require "luv"

-- A start, a crash, a raising handler and a stop, so that there is something to say.
local function life(args)
  local master = masters.start {
    args = args, workers = 1,
    config = "worker_ready = function(m, w) if w.id == 1 then error('hook\\nbreaks') end end",
    app = [[return function(req, res)
      if req.path == "/raise" then error("handler\nbreaks") end
      res:finish(tostring(require("brood.posix").getpid())) end]],
  }
  master:up()
  s.wait(function() return (select(2, master:ask "/health")).status == "ok" end)
  local _, status = master:ask "/status"
  local address = status.clusters.web.listen[1]
  lu.assertEquals(s.get(address, "/raise").status, 500)
  local first = status.clusters.web.processes[1].pid
  uv.kill(first, "sigkill")
  s.wait(function()
    _, status = master:ask "/status"
    return status.clusters.web.ready == 1 and status.clusters.web.processes[1].pid ~= first
  end)
  master.program:kill "QUIT"
  lu.assertEquals(master.program:wait(), 0)
  lu.assertEquals(master.program:stdout(), "")
  return master:log()
end

return {
  ["lines have a time, a level and a pid; what has several lines is indented"] = function()
    local log = life {}
    for line in log:gmatch("[^\n]+") do
      local first = line:find("^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ %l+ +%[%d+%] ")
      lu.assertTrue(first ~= nil or line:find("^ +") ~= nil, line)
    end
    for _, part in ipairs {
      "web: worker 1 (pid ", ") is ready", "web: 1 of 1 workers serve 127.0.0.1:", "ended: killed by KILL\n",
      "handler of GET /raise: ", "worker_ready: ", "stopping gracefully", "web: worker 2 (pid ",
      "ended: status 0 (stop)",
    } do
      lu.assertStrContains(log, part)
    end
  end,

  ["--log-format json is one valid JSON object a line, tracebacks included"] = function()
    local levels, joined = {}, ""
    for line in life({ "--log-format", "json" }):gmatch("[^\n]+") do
      local record = assert(brood.json.decode(line), line)
      lu.assertIsString(record.time)
      lu.assertIsNumber(record.pid)
      levels[record.level] = true
      joined = joined .. record.message .. "\n"
    end
    lu.assertEquals(levels, { info = true, warn = true, error = true })
    lu.assertStrContains(joined, "handler\nbreaks")
    lu.assertStrContains(joined, "traceback")
  end,

  ["-q leaves warnings and errors, in workers too; -v adds detail; --log-level says exactly"] = function()
    local quiet = life { "-q" }
    lu.assertNotStrContains(quiet, " info ")
    lu.assertStrContains(quiet, " warn ")
    lu.assertStrContains(quiet, "handler of GET /raise")
    local verbose = life { "-v" }
    lu.assertStrContains(verbose, " debug ")
    lu.assertStrContains(verbose, "web: listening on 127.0.0.1:")
    local errors = life { "--log-level", "error" }
    lu.assertNotStrContains(errors, " warn ")
    lu.assertStrContains(errors, " error ")
  end,

  ["mistakes of a config are one record of a JSON log"] = function()
    local config = s.write_file("b.lua", "return { worker = 1, app = 2 }")
    local result = s.brood({ "run", "--log-format", "json", config }):finish()
    lu.assertEquals(result.code, 1)
    local record = brood.json.decode((result.stderr:gsub("\n$", "")))
    lu.assertStrContains(record.message, "2 mistakes")
  end,
}
