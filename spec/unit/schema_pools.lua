--- `pools` in a config: what an entry may say, what it is in the end, and how its mistakes read.
local lu = require "luaunit"
local mistakes_of = require "brood.rules.mistakes"
local pool_options = require "brood.rules.pool_options"
local schema = require "brood.rules.schema"

local T = {}

local function validate(pools, more)
  local config = { pools = pools }
  for key, value in pairs(more or {}) do
    config[key] = value
  end
  return schema.validate(config, { cpus = 4, directory = "/srv" })
end

local function complaints(pools, more)
  local effective, mistakes = validate(pools, more)
  lu.assertNil(effective)
  local list = {}
  for i, mistake in ipairs(mistakes) do
    list[i] = mistakes_of.sentence(mistake)
  end
  return list
end

function T.test_an_entry_has_every_option_of_a_pool_with_its_default()
  local pool = validate({ work = { worker = "sub/w.lua" } }).pools.work
  lu.assertEquals(pool, {
    worker = "/srv/sub/w.lua", max_processes = 5, max_jobs_per_process = 64, prefetch = 1, retries = 0, retry_delay = 0,
    timeout_initializing = 5, timeout_working = 10, timeout_recovering = 5, respawn_delay = 0.1, result_ttl = 60,
    max_results = 1000,
  })
end

function T.test_what_can_be_switched_off_is_and_durations_are_seconds()
  local given = {
    worker = print, max_jobs_per_process = false, max_backlog = false, retry_delay = false, timeout_working = "2m",
    timeout_initializing = false, timeout_recovering = false, result_ttl = false, max_results = false,
    respawn_delay = "250ms", options = { f = print },
  }
  local pool = validate({ work = given }).pools.work
  for name, value in pairs(given) do
    local wanted = name == "timeout_working" and 120 or name == "respawn_delay" and 0.25 or value
    lu.assertEquals(pool[name], wanted, name)
  end
end

function T.test_a_program_is_a_worker_as_well()
  local worker = { command = { "python3", "w.py" }, cwd = "sub", env = { A = 1 } }
  local pool = validate({ py = { worker = worker } }).pools.py
  lu.assertEquals(pool.worker, {
    command = { "python3", "w.py" }, cwd = "/srv/sub", env = { A = "1" }, ready = "spawn",
  })
end

function T.test_pools_alone_are_a_config_and_none_are_no_purpose()
  lu.assertIsTable(validate { work = { worker = "w.lua" } })
  lu.assertStrContains(complaints({})[1], "'app' is missing: there is nothing to run")
end

function T.test_mistakes_name_the_option_and_what_it_may_be()
  lu.assertEquals(complaints { work = {} },
    { "'pools.work.worker' is missing: it must be a Lua file, a function, or a table with command =" })
  lu.assertEquals(complaints { work = 5 }, { "pools.work: expected a table with worker =, got 5" })
  lu.assertStrContains(complaints({ { worker = "w.lua" } })[1], "each needs a name, and number 1 has none")
  lu.assertEquals(#complaints { [""] = { worker = "w.lua" } }, 1)
  lu.assertTrue(#complaints({ [("x"):rep(5000)] = { worker = "w.lua" } })[1] < 300)
  local hidden = setmetatable({}, { __index = function() error "not for us" end })
  lu.assertStrContains(complaints(hidden, { app = "app.lua" })[1], "nothing but what its metatable gives")
  lu.assertStrContains(complaints({ ["a b"] = { worker = "w.lua" } })[1], "has a name that cannot be used")
  for name, value in pairs {
    max_processes = 0, max_jobs_per_process = 0, prefetch = 0, max_backlog = -1, retries = -1, retry_delay = "soon",
    timeout_initializing = -1, timeout_working = {}, timeout_recovering = "x", respawn_delay = false, result_ttl = "x",
    max_results = -1, worker = 5,
  } do
    local list = complaints { work = { worker = name ~= "worker" and "w.lua" or value, [name] = value } }
    lu.assertEquals(#list, 1, name)
    lu.assertStrMatches(list[1], ("pools%%.work%%.%s: expected .*, got .*"):format(name))
  end
end

function T.test_what_was_meant_is_suggested()
  local function says(name, what)
    lu.assertStrContains(complaints({ work = { worker = "w.lua", [name] = 1 } })[1], what)
  end
  says("max_proceses", "(did you mean 'max_processes'?)")
  says("workers", "(did you mean 'max_processes'?)")
  says("timeout", "(did you mean 'timeout_working'?)")
  says("script", "(did you mean 'worker'?)")
  says("user", "'pools.work.user' is the top level's, and holds for the workers of pools as well")
  says("before_fork", "is the top level's")
  lu.assertStrContains(complaints({ work = { worker = "w.lua" } }, { pool = {} })[1], "(did you mean 'pools'?)")
end

function T.test_a_name_is_not_used_twice()
  local config = { app = "a.lua", clusters = { x = { app = "x.lua", listen = 9000 } } }
  lu.assertStrContains(complaints({ x = { worker = "w.lua" } }, config)[1], "has the name of 'clusters.x'")
  lu.assertStrContains(complaints({ web = { worker = "w.lua" } }, config)[1], "has the name of the cluster")
end

function T.test_every_option_is_documented_in_order()
  lu.assertEquals(#pool_options.keys, #pool_options.order)
  for _, key in ipairs(pool_options.keys) do
    lu.assertIsString(key.doc, key.name)
    lu.assertNotNil(loadstring("return " .. key.example), key.name)
    lu.assertEquals(pool_options.fields[key.name], key)
  end
end

function T.test_a_pool_has_workers_for_all_cpus_and_some_more()
  lu.assertEquals({ pool_options.max_processes(1), pool_options.max_processes(2), pool_options.max_processes(8) },
    { 2, 3, 10 })
end

return T
