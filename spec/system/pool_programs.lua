--- Pool workers that are foreign programs: lines of JSON both ways, and the life of such a worker.
local lu = require "luaunit"
local json = require "brood.json"
local Pool = require "brood.pool"
local p = require "spec.support.pool_program"
local s = require "spec.support"

return {
  teardown = p.cleanup,

  ["jobs go in and come back as lines, values whole"] = function()
    local pool = p.program(p.ECHO)
    for _, value in ipairs {
      1, 0.1 + 0.2, 2 ^ 53 - 1, 1234567890123456, true, false, "", "ä\n\0\"€😀", { 1, 2, { 3 } }, { a = { b = "c" } },
      ("x"):rep(300000),
    } do
      local result, err = pool:run(value)
      lu.assertNil(err)
      lu.assertEquals(result, value)
    end
    lu.assertNil((pool:run(nil)))
    lu.assertNil((select(2, pool:run(nil))))
    lu.assertEquals(pool:run({ json.null, 1 }), { json.null, 1 })
    lu.assertEquals(pool:run({}), {})
    lu.assertEquals(pool:stats().failed, 0)
  end,

  ["a program is told the job's id and attempt, and the pool's options in its environment"] = function()
    local pool = p.program([[
for job in jobs():
    if job["attempt"] < 3: say(failure="not yet")
    else: say(job=job["job"], success=[job["job"], job["attempt"], json.loads(os.environ["BROOD_POOL_OPTIONS"])])
]], { options = { width = 320, names = { "ä" } }, retries = 2 })
    local job = pool:enqueue("x", { id = 'my "id"' })
    lu.assertEquals(job:wait(), { 'my "id"', 3, { width = 320, names = { "ä" } } })
    local other = pool:enqueue "y"
    local result = other:wait()
    lu.assertEquals(result[1], other.id)
  end,

  ["the environment and the folder are the worker's own, and without options there is none for them"] = function()
    local dir = s.temp_dir()
    local pool = p.program("for job in jobs(): say(success=[os.getcwd(), os.environ.get('X'), os.environ.get('Y'), "
      .. "os.environ.get('BROOD_POOL_OPTIONS')])\n", { cwd = dir, env = { X = "1", HOME = false } })
    lu.assertEquals(pool:run(1), { dir, "1", json.null, json.null })
  end,

  ["progress arrives before the end, in order"] = function()
    local pool = p.program [[
for job in jobs():
    for i in range(3): say(progress={"at": i})
    say(success=3)
]]
    local seen = {}
    local job = pool:enqueue(1)
    job:on("progress", function(value) table.insert(seen, value.at) end)
    job:on("success", function(value) table.insert(seen, value) end)
    lu.assertEquals(job:wait(), 3)
    s.wait(function() return #seen == 4 end)
    lu.assertEquals(seen, { 0, 1, 2, 3 })
    lu.assertEquals(job.last_progress, { at = 2 })
  end,

  ["a failure keeps its fields, and one that says so is not tried again"] = function()
    local pool = p.program([[
for job in jobs():
    if job["data"] == "plain": say(failure="out of luck")
    else: say(failure={"message": "no such file", "code": "ENOENT", "path": "/x", "retry": False})
]], { retries = 1 })
    p.fails(pool, "plain", "error", "out of luck")
    local job = pool:enqueue "whole"
    local _, err = job:wait()
    lu.assertEquals({ err.message, err.code, err.path }, { "no such file", "ENOENT", "/x" })
    lu.assertEquals(job.attempt, 1)
    lu.assertEquals(pool:stats().retried, 1)
  end,

  ["one job at a time, and prefetched ones wait in the pool"] = function()
    local pool = p.program([[
import select
for job in jobs():
    time.sleep(0.02)
    more = select.select([0], [], [], 0)[0]
    say(success=bool(more))
]], { prefetch = 16 })
    local all = {}
    for i = 1, 10 do
      all[i] = pool:enqueue(i)
    end
    for i = 1, 10 do
      lu.assertEquals(all[i]:wait(), false)
    end
  end,

  ["with ready = line it gets no job before it says so, within timeout_initializing"] = function()
    local pool = p.program("time.sleep(0.5)\nsay(ready=True)\n" .. p.ECHO,
      { ready = "line", timeout_working = 0.4 * s.slow })
    lu.assertTrue(pool:spawn_workers())
    lu.assertEquals(pool:run(1), 1)
    p.logged(function()
      local late = p.program("time.sleep(5)\n", { ready = "line", timeout_initializing = 0.1 })
      local phases = {}
      late:on("timeout", function(_, phase) table.insert(phases, phase) end)
      late:on("error", function() end)
      local ok, err = late:spawn_workers()
      lu.assertNil(ok)
      lu.assertEquals(err.code, "timeout")
      lu.assertEquals(phases[1], "initializing")
    end)
  end,

  ["no program has more than max_jobs_per_process, and each ends with its input"] = function()
    local dir = s.temp_dir()
    local pool = p.program(([[
n = 0
for job in jobs():
    n += 1
    say(success=[os.getpid(), n])
open("%s/%%d" %% os.getpid(), "w").close()
]]):format(dir), { max_jobs_per_process = 3, max_processes = 2 })
    local all, most, pids = {}, 0, {}
    for i = 1, 20 do
      all[i] = pool:enqueue(i)
    end
    for i = 1, 20 do
      local result = all[i]:wait()
      most = math.max(most, result[2])
      pids[result[1]] = true
    end
    lu.assertEquals(most, 3)
    pool:exit()
    local ended = 0
    for pid in pairs(pids) do
      ended = ended + (s.exists(dir .. "/" .. pid) and 1 or 0)
    end
    lu.assertTrue(ended >= 6, ended .. " reached the end of their input")
  end,

  ["what it writes to stderr is ours"] = function()
    local text = [[
local Pool = require "brood.pool"
local pool = Pool.new { worker = { command = { "sh", "-c",
  'while read line; do echo "seen: $line" >&2; echo "{\\"success\\": 1}"; done' } }, max_processes = 1 }
print(pool:run("hello", { id = "a" }))
pool:exit()
]]
    local result = s.script(text):finish(20)
    lu.assertEquals(result.stdout, "1\n")
    lu.assertStrContains(result.stderr, 'seen: {"job":"a","attempt":1,"data":"hello"}\n')
    lu.assertEquals(result.code, 0)
  end,

  ["a program in node speaks the same lines"] = function()
    local node = s.path_of "node"
    if not node then
      lu.skip "node is not installed"
    end
    local path = s.write_file("worker.js", [[
require('readline').createInterface({ input: process.stdin }).on('line', line => {
  const { job, data } = JSON.parse(line)
  console.log(JSON.stringify({ job, success: data.map(x => x * 2) }))
})
]])
    local pool = Pool.new { worker = { command = { node, path } }, max_processes = 1 }
    p.keep(pool)
    lu.assertEquals(pool:run { 1, 2, 3 }, { 2, 4, 6 })
  end,

  ["real work: a few hundred files hashed by a program per worker are those hashed one after the other"] = function()
    local dir, chance = s.temp_dir(), require("spec.support.chaos").chance(42)
    local names = {}
    for i = 1, 300 do
      names[i] = ("%s/file %d"):format(dir, i)
      s.write_file(names[i], ("%d "):format(i):rep(chance(20000)))
    end
    local list = s.write_file("list", table.concat(names, "\n") .. "\n")
    local expected = {}
    for sum, name in s.run({ "sh", "-c", "tr '\\n' '\\0' < '" .. list .. "' | xargs -0 sha256sum" }).stdout
      :gmatch "(%x+)  ([^\n]+)\n" do
      expected[name] = sum
    end
    local pool = p.program([[
import hashlib
for job in jobs():
    with open(job["data"], "rb") as file: say(job=job["job"], success=hashlib.sha256(file.read()).hexdigest())
]], { max_processes = 3, max_jobs_per_process = 40, prefetch = 4 })
    local all, found = {}, {}
    for i, name in ipairs(names) do
      all[i] = pool:enqueue(name)
    end
    for i, name in ipairs(names) do
      found[name] = all[i]:wait()
    end
    lu.assertEquals(found, expected)
    lu.assertEquals(pool:stats().jobs, 300)
  end,
}
