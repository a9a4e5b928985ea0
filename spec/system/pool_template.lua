--- Workers that are forked by a pool's template: whose children they are, and what becomes of pool and jobs when the
--- template, the worker or the master is killed, stopped or cannot fork.
-- time limit: 120 s
local lu = require "luaunit"
local p = require "spec.support.pool"
local posix = require "brood.posix"
local s = require "spec.support"
local task = require "brood.task"

local function template_of(pool)
  local template = pool.crew.generation.template
  return template and template.process and template.process.pid
end

local function parent_of()
  return { require("brood.posix").getppid(), require("brood.posix").getpid() }
end

-- So many jobs, the workers of which are replaced all the time; `each(n)` at every end.
local function run(pool, count, each)
  local ended, wrong = 0, {}
  task.run(nil, "jobs", function(done)
    for i = 1, count do
      pool:enqueue(i, function(err, result)
        ended = ended + 1
        if err or result ~= i then
          wrong[#wrong + 1] = err and err.message or tostring(result)
        end
        if each then
          each(ended)
        end
        if ended == count then
          done()
        end
      end)
    end
  end)
  lu.assertEquals(wrong, {})
end

local function same(job)
  return job.data
end

local T = { teardown = p.cleanup }

T["a worker is the master's own child, whoever has forked it"] = function()
  local pool = p.new(parent_of, { max_jobs_per_process = 1 })
  local seen = {}
  for _ = 1, 6 do
    local parent, pid = unpack(pool:run())
    lu.assertEquals(parent, posix.getpid())
    lu.assertNil(seen[pid])
    seen[pid] = true
  end
  lu.assertTrue(s.alive(template_of(pool)))
  lu.assertNil(seen[template_of(pool)])
  lu.assertEquals(#pool.crew:workers() <= 2, true)
end

T["all workers see what a pool was made with, as it was when its first one was started"] = function()
  local value = "first"
  local pool = p.new(function() return value end, { max_jobs_per_process = 1 })
  lu.assertEquals(pool:run(), "first")
  value = "second"
  lu.assertEquals(pool:run(), "first")
  lu.assertEquals(pool:run(), "first")
end

T["a template that is killed at any moment costs no job"] = function()
  local pool = p.new(same, { max_processes = 2, max_jobs_per_process = 2, retries = 0 })
  local kills = 0
  run(pool, 300, function(ended)
    pool.crew.generation.template.again_at = 0 -- there is another one at once
    local pid = ended % 7 == 0 and template_of(pool)
    if pid then
      kills = kills + 1
      posix.kill(pid, 9)
    end
  end)
  lu.assertTrue(kills > 10, kills)
end

T["one that is stopped is killed, and what it was asked for is done without it"] = function()
  local pool = p.new(same, { max_jobs_per_process = 1, retries = 0 })
  lu.assertEquals(pool:run(1), 1)
  local pid = template_of(pool)
  local log, said = require "brood.log", {}
  local warn = log.warn
  log.warn = function(text) table.insert(said, text) end
  posix.kill(pid, 19)
  run(pool, 4)
  log.warn = warn
  lu.assertFalse(s.alive(pid))
  lu.assertStrContains(table.concat(said, "\n"),
    ("%s template (pid %d) has not answered for 1 s: KILL"):format(pool.crew.name, pid))
end

T["five hundred lives leave no descriptor in the master, nor in the template"] = function()
  local pool = p.new(same, { max_processes = 2, max_jobs_per_process = 1, retries = 0 })
  run(pool, 20)
  local pid = template_of(pool)
  local function settled()
    return #pool.crew:workers() <= 2 and pool.crew.group:ready_count() == 2
  end
  s.wait(settled, 10, "two workers")
  local ours, its = s.fd_count(), s.fd_count(pid)
  run(pool, 500)
  s.wait(settled, 10, "two workers")
  lu.assertEquals(template_of(pool), pid)
  s.wait(function() return s.fd_count(pid) <= its end, 10, "the template's descriptors")
  s.wait(function() return s.fd_count() <= ours end, 10, "our descriptors")
end

T["nothing is left of it when the pool has ended, not even amid a fork"] = function()
  local before = s.children()
  local pool = p.new(same, { max_processes = 4, max_jobs_per_process = 1 })
  lu.assertEquals(pool:run(1), 1)
  for i = 1, 20 do
    pool:enqueue(i, function() end)
  end
  pool:exit()
  lu.assertEquals(s.children(), before)
  lu.assertEquals(pool:run(2), 2)
  pool:exit()
  lu.assertEquals(s.children(), before)
end

T["a worker that is killed at any moment of its start is replaced"] = function()
  local pool = p.new(same, { max_processes = 2, max_jobs_per_process = 1, retries = 50, retry_delay = 0 })
  local before, kills = s.children(), 0
  run(pool, 200, function(ended)
    if ended % 5 == 0 then
      for pid in pairs(s.children()) do
        if pid ~= template_of(pool) and not before[pid] then
          kills = kills + 1
          posix.kill(pid, 9)
          break
        end
      end
    end
  end)
  lu.assertTrue(kills > 10)
  pool:exit()
  lu.assertEquals(s.children(), before)
end

local SCRIPT = [[
io.stdout:setvbuf "line"
local pool = require "brood.pool".new {
  worker = function() return require("brood.posix").getpid() end, max_processes = 2, max_jobs_per_process = 3,
}
for _ = 1, 7 do print(pool:run()) end
print(pool.crew.generation.template.process.pid)
print "up"
local function go() pool:enqueue(1, function() go() end) end
for _ = 1, 4 do go() end
]]

for _, signal in ipairs { "KILL", "TERM" } do
  T[("a master that gets %s leaves neither template nor worker"):format(signal)] = function()
    local script = s.script(SCRIPT)
    script:expect "up\n"
    local list = s.child_pids(script.pid)
    for _, pid in ipairs(list) do
      lu.assertTrue(pid > 1)
    end
    for pid in script:stdout():gmatch "(%d+)\n" do
      list[#list + 1] = tonumber(pid)
    end
    script:kill(signal)
    script:wait(10)
    s.gone(list, 10)
  end
end

return T
