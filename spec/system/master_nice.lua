--- How nice a master is, and that nothing it starts is so too (brood.master.niceness).
local lu = require "luaunit"
local masters = require "spec.support.master"
local posix = require "brood.posix"
local s = require "spec.support"
local uv = require "luv"

local T = {}

local USUAL = -10

-- All of them, down to what a worker has started.
local function descendants(pid)
  local all = {}
  for _, child in ipairs(s.child_pids(pid)) do
    all[#all + 1] = child
    for _, one in ipairs(descendants(child)) do
      all[#all + 1] = one
    end
  end
  return all
end

local function niceness_of(pids)
  local all = {}
  for i, pid in ipairs(pids) do
    all[i] = uv.os_getpriority(pid)
  end
  return all
end

-- Root in a container may lack the right to.
local function needs_root()
  lu.skipIf(posix.getuid() ~= 0 or not uv.os_setpriority(0, -1), "only root with CAP_SYS_NICE may")
  uv.os_setpriority(0, 0)
end

-- Another niceness than that of the spec's process, for what is started now.
local function start_as(niceness, options)
  uv.os_setpriority(0, niceness)
  local ok, master = pcall(masters.start, options)
  uv.os_setpriority(0, 0)
  assert(ok, master)
  return master
end

T["it is quick, and what it starts is as quick as ever: workers, pools, services, and what hooks start"] = function()
  needs_root()
  local master = masters.start {
    workers = 2,
    config = [[
      on_start = function()
        local out = io.popen "nice"
        note("a program has " .. out:read "*l")
        out:close()
        local pid = posix.fork()
        if pid == 0 then
          note("a fork has " .. require("luv").os_getpriority(0))
          os.exit(0)
        end
      end,
      services = { sleeper = { command = { "sh", "-c", "sleep 300 & sleep 300" } } },
      pools = { jobs = { worker = "job.lua", max_processes = 1, max_jobs_per_process = 5 } },
    ]],
    files = { ["job.lua"] = "return function() end" },
  }
  master:noted "a program has 0\n"
  master:noted "a fork has 0\n"
  lu.assertEquals(uv.os_getpriority(master.program.pid), USUAL)
  s.wait(function() return #descendants(master.program.pid) >= 5 end)
  for _, niceness in ipairs(niceness_of(descendants(master.program.pid))) do
    lu.assertEquals(niceness, 0)
  end
  lu.assertEquals(master:stop "QUIT", 0)
end

T["a reload changes it, workers that come then have none of it, and an upgrade's master has its own"] = function()
  needs_root()
  local master = masters.start { workers = 1, config = "master_nice = -5," }
  master:ready(1)
  lu.assertEquals(uv.os_getpriority(master.program.pid), -5)
  assert(master:hup { workers = 1, config = "master_nice = 0," })
  lu.assertEquals(uv.os_getpriority(master.program.pid), 0)
  assert(master:hup { workers = 1 })
  lu.assertEquals(uv.os_getpriority(master.program.pid), USUAL)
  s.wait(function() return #s.child_pids(master.program.pid) == 1 end)
  lu.assertEquals(niceness_of(s.child_pids(master.program.pid)), { 0 })
  master.program:kill "USR2"
  local successor
  s.wait(function()
    for _, pid in ipairs(s.child_pids(master.program.pid)) do
      successor = #s.child_pids(pid) == 1 and pid or successor
    end
    return successor
  end)
  s.wait(function() return uv.os_getpriority(successor) == USUAL end)
  s.wait(function() return s.child_pids(successor)[1] end)
  lu.assertEquals(niceness_of(s.child_pids(successor)), { 0 })
  master:ready(1)
  uv.kill(successor, "sigquit")
  s.gone({ successor }, 10)
  lu.assertEquals(master:stop "QUIT", 0)
end

T["one that was started with another niceness keeps it, with a word where the config asks for one"] = function()
  needs_root()
  for _, given in ipairs { 5, -3 } do
    local master = start_as(given, { workers = 1 })
    master:ready(1)
    lu.assertEquals(niceness_of { master.program.pid, s.child_pids(master.program.pid)[1] }, { given, given })
    lu.assertNotStrContains(master:log(), "master_nice")
    lu.assertEquals(master:stop "QUIT", 0)
  end
  local master = start_as(5, { workers = 1, config = "master_nice = -8," })
  master:ready(1)
  lu.assertEquals(uv.os_getpriority(master.program.pid), 5)
  lu.assertStrContains(master:log(), "master_nice = -8: it stays as nice as whoever started it wished")
  lu.assertEquals(master:stop "QUIT", 0)
end

T["who may not be so is as ever, with a word where the config asks for it"] = function()
  needs_root()
  for config, said in pairs { [""] = false, ["master_nice = -5,"] = true } do
    local dir = s.open_temp_dir()
    s.write_file(dir .. "/app.lua", 'return function(_, res) res:finish "x" end')
    s.write_file(dir .. "/brood.lua",
      ('return { app = "app.lua", listen = "127.0.0.1:0", control = false, workers = 1, %s }'):format(config))
    s.run { "/bin/sh", "-c", ('cp %s %s/brood; cd %s; chmod 755 brood; chmod 644 *.lua'):format(s.binary, dir, dir) }
    local program = s.start({ "/usr/bin/setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups",
      dir .. "/brood", "run", dir .. "/brood.lua" }, { env = { BROOD_LUA = false } })
    program:expect "serve "
    lu.assertEquals(uv.os_getpriority(program.pid), 0)
    lu.assertEquals(program:stderr():find("master_nice = -5: only root, CAP_SYS_NICE or RLIMIT_NICE allow it", 1, true)
      ~= nil, said, program:stderr())
    lu.assertEquals(program:stop(), 0)
  end
end

T["what is no such number is refused"] = function()
  local dir = s.temp_dir()
  s.write_file(dir .. "/brood.lua", 'return { app = "app.lua", master_nice = 5 }')
  s.write_file(dir .. "/app.lua", "return function() end")
  local result = s.brood({ "check", dir .. "/brood.lua" }):finish()
  lu.assertEquals(result.code, 1)
  lu.assertStrContains(result.stdout .. result.stderr, "master_nice")
end

return T
