--- `clusters = {...}`: what may stand there, and what each cluster takes from the top level.
local clusters = require "brood.rules.clusters"
local configs = require "spec.support.configs"
local lu = require "luaunit"
local schema = require "brood.rules.schema"

local T = {}

local context = configs.context "/srv"

local function complaints(config)
  return (configs.complaints(config, context))
end

local function list(config, workers)
  return clusters.list(configs.effective(config, context), workers)
end

function T.test_the_top_level_is_the_cluster_web()
  local hook = function() end
  local all = list { app = "app.lua", before_fork = hook, on_start = hook, pidfile = "x", env = { A = "1" } }
  lu.assertEquals(#all, 1)
  lu.assertEquals(all[1].name, "web")
  lu.assertEquals(all[1].app, "/srv/app.lua")
  lu.assertEquals(all[1].workers, 3)
  lu.assertEquals(all[1].listen[1].address, "127.0.0.1:8080")
  lu.assertEquals(all[1].env, { A = "1" })
  lu.assertEquals(all[1].hooks, { before_fork = hook })
  lu.assertNil(all[1].pidfile)
  lu.assertNil(all[1].on_start)
end

function T.test_without_an_app_there_is_no_web_cluster()
  local all = list { clusters = { web = { app = "w.lua", listen = 80 } } }
  lu.assertEquals(#all, 1)
  lu.assertEquals(all[1].name, "web")
  lu.assertEquals(all[1].listen[1].address, ":80")
end

function T.test_clusters_come_by_name_behind_web()
  local names = {}
  for i, cluster in ipairs(list { app = "a", clusters = {
    b = { app = "b", listen = 1 }, a = { app = "a", listen = 2 },
  } }) do
    names[i] = cluster.name
  end
  lu.assertEquals(names, { "web", "a", "b" })
end

function T.test_what_a_cluster_lacks_it_takes_from_the_top_level()
  local top, own = function() end, function() end
  local admin = list {
    app = "app.lua", listen = 80, workers = 4, timeout = "5s", env = { A = "1" }, user = "www", graceful_timeout = 7,
    before_fork = top, worker_exit = top,
    clusters = { admin = { app = "admin.lua", listen = "unix:a.sock", worker_exit = own, timeout = false, env = {} } },
  }[2]
  lu.assertEquals(admin.app, "/srv/admin.lua")
  lu.assertEquals(admin.listen[1].address, "unix:/srv/a.sock")
  lu.assertEquals(admin.workers, 4)
  lu.assertEquals(admin.user, "www")
  lu.assertEquals(admin.graceful_timeout, 7)
  lu.assertEquals(admin.start_timeout, 30)
  lu.assertEquals(admin.timeout, false)
  lu.assertEquals(admin.env, {})
  lu.assertEquals(admin.working_directory, "/srv")
  lu.assertEquals(admin.hooks, { before_fork = top, worker_exit = own })
end

function T.test_the_number_on_the_command_line_is_webs_alone()
  local config = { app = "a", workers = 4, clusters = { b = { app = "b", listen = 1 } } }
  local function numbers(cli, environ)
    local merged, origins, beaten = schema.merge(cli, config, environ, 3, "/srv")
    local sound = schema.validate(merged, { cpus = 3, directory = "/srv", origins = origins, beaten = beaten })
    local all = clusters.list(sound, beaten.workers and beaten.workers.value)
    return { all[1].workers, all[2].workers }
  end
  lu.assertEquals(numbers({ workers = 9 }), { 9, 4 })
  lu.assertEquals(numbers({}), { 4, 4 })
  config.workers = nil
  lu.assertEquals(numbers({ workers = 9 }), { 9, 3 })
  lu.assertEquals(numbers({ workers = 9 }, { WEB_CONCURRENCY = "5" }), { 9, 5 })
  lu.assertEquals(numbers({}, { WEB_CONCURRENCY = "5" }), { 5, 5 })
end

function T.test_each_cluster_needs_an_app_and_an_address_of_its_own()
  lu.assertEquals(complaints { app = "a", clusters = { b = {} } }, {
    "'clusters.b.app' is missing: each cluster serves an app, or has a command, of its own",
    "'clusters.b.listen' is missing: only the top level has a default address",
  })
end

function T.test_names_are_checked()
  local function complain(names, top)
    local config = { app = top, clusters = {} }
    for i, name in ipairs(names) do
      config.clusters[name] = { app = "x", listen = 1000 + i }
    end
    return table.concat(complaints(config), "\n")
  end
  lu.assertStrContains(complain({ "web" }, "app.lua"), "'clusters.web' has the name of the cluster that the top level")
  lu.assertEquals(complain({ "web", "a_b-c.d1" }), "")
  for _, name in ipairs { "two words", "1st", "a=b", "-x", ("x"):rep(65), "a/b" } do
    lu.assertStrContains(complain({ name }), "has a name that cannot be used")
  end
  lu.assertStrContains(complaints({ app = "a", clusters = { "a" } })[1], "each needs a name, and number 1 has none")
end

function T.test_a_name_stands_for_one_thing()
  local messages = table.concat(complaints {
    app = "a", clusters = { x = { app = "x", listen = 1 } }, pools = { x = {} },
  }, "\n")
  lu.assertStrContains(messages, "'pools.x' has the name of 'clusters.x'")
end

function T.test_an_address_belongs_to_one_cluster()
  local function complain(listen, other, more)
    local config = { app = "a", listen = listen, clusters = { b = { app = "b", listen = other } } }
    for key, value in pairs(more or {}) do
      config[key] = value
    end
    return table.concat(complaints(config), "\n")
  end
  lu.assertEquals(complain(80, ":80"), "'clusters.b.listen' is the same address as 'listen'")
  lu.assertEquals(complain({ 79, 80 }, { 81, 80 }), "'clusters.b.listen[2]' is the same address as 'listen[2]'")
  lu.assertEquals(complain("unix:x", "unix:/srv/x"), "'clusters.b.listen' is the same address as 'listen'")
  lu.assertStrContains(complain(80, "127.0.0.1:80"), "'clusters.b.listen' leaves 'listen' no room")
  lu.assertStrContains(complain("127.0.0.1:80", 80), "'clusters.b.listen' leaves 'listen' no room")
  lu.assertEquals(complain("127.0.0.1:0", "127.0.0.1:0"), "")
  lu.assertEquals(complain("127.0.0.1:80", "127.0.0.2:80"), "")
  lu.assertEquals(complain(nil, "127.0.0.1:8080"), "'clusters.b.listen' is the same address as 'listen'")
  lu.assertEquals(complain("unix:c", 80, { control = "unix:c" }), "'control' is the same address as 'listen'")
end

function T.test_mistakes_inside_a_cluster_have_their_path()
  local messages = complaints { app = "a", clusters = {
    b = { ap = "x", workers = 0, pidfile = "p", listen = { { addres = 1 } } }, c = 5,
  } }
  lu.assertEquals(messages[1], "unknown key 'clusters.b.ap' (did you mean 'app'?)")
  lu.assertEquals(messages[2], "'clusters.b.pidfile' is the master's own: only the top level takes it")
  lu.assertEquals(messages[3], "unknown key 'clusters.b.listen[1].addres' (did you mean 'address'?)")
  lu.assertEquals(messages[4], "'clusters.b.listen[1].address' is missing: it must be an address (a port, "
    .. '"host:port", "[v6]:port" or "unix:/path")')
  lu.assertEquals(messages[5], "clusters.b.workers: expected a whole number from 1 to 65535, got 0")
  lu.assertEquals(messages[6], "clusters.c: expected a table like the config itself, got 5")
end

return T
