--- The config schema: what it knows, how it merges, and how it complains.
local configs = require "spec.support.configs"
local keys = require "brood.rules.schema_keys"
local kinds = require "brood.rules.kinds"
local lu = require "luaunit"
local mistakes_of = require "brood.rules.mistakes"
local schema = require "brood.rules.schema"

local T = {}

local context = configs.context "/srv/app"

local function effective(config)
  return configs.effective(config, context)
end

local function complaints(config)
  lu.assertNil((schema.validate(config, context)))
  return configs.complaints(config, context)
end

local function complaint(config)
  local messages = complaints(config)
  lu.assertEquals(#messages, 1, table.concat(messages, "\n"))
  return messages[1]
end

-- The value of an example, which is Lua source.
local function value_of(source)
  return assert(loadstring("return " .. source))()
end

function T.test_every_key_is_known()
  local names = [[app command ready stop_signal watchdog listen workers timeout preload daemonize working_directory pidfile stdout_path stderr_path
    access_log user group umask limits env graceful_timeout start_timeout max_requests max_requests_jitter max_memory
    max_lifetime rollout master_nice control signals on_start before_exec before_fork after_fork worker_ready worker_exit on_stop
    clusters pools services backends proxy]]
  local count = 0
  for name in names:gmatch("%S+") do
    lu.assertNotNil(schema.fields[name], name)
    count = count + 1
  end
  lu.assertEquals(#schema.keys, count)
end

function T.test_every_key_has_a_kind_documentation_and_an_example_that_it_accepts()
  for _, key in ipairs(schema.keys) do
    lu.assertTrue(key.any_of ~= nil or kinds.kinds[key.type] ~= nil, key.name)
    lu.assertIsString(key.doc, key.name)
    lu.assertIsString(kinds.expected(key), key.name)
    lu.assertIsString(key.example, key.name)
    -- What an example contains may come later than its key, but must be known.
    kinds.check(key, value_of(key.example), key.name, function(mistake)
      lu.assertEquals(mistake.kind, "unavailable", key.name .. ": " .. tostring(mistake.problem))
    end)
  end
end

function T.test_every_default_is_in_normal_form()
  for _, key in ipairs(schema.keys) do
    if key.default ~= nil then
      local ok, normal = kinds.check(key, key.default, key.name, function() end)
      lu.assertTrue(ok, key.name)
      lu.assertEquals(normal, key.default, key.name)
    end
  end
end

function T.test_a_cluster_takes_no_key_of_the_master()
  for name in ("pidfile control daemonize signals stdout_path stderr_path clusters proxy"):gmatch("%S+") do
    lu.assertNil(schema.cluster_fields[name], name)
  end
  for _, name in ipairs { "app", "command", "listen", "workers", "rollout", "before_fork", "worker_exit", "env" } do
    lu.assertNotNil(schema.cluster_fields[name], name)
  end
end

function T.test_a_key_that_is_not_available_yet_is_refused_by_name_and_has_no_default()
  for _, key in ipairs(schema.keys) do
    if key.available == false then
      local messages = complaints { app = "app.lua", [key.name] = value_of(key.example) }
      lu.assertEquals(messages, { ("'%s' is not available yet"):format(key.name) })
      lu.assertNil(effective({ app = "app.lua" })[key.name])
    end
  end
end

function T.test_an_editor_knows_exactly_the_keys_that_are_available()
  local root = debug.getinfo(1, "S").source:match("^@(.*)spec/unit/schema.lua$")
  local text = io.open(root .. "lua/brood/types.lua"):read("*a")
  local class = text:match("%-%-%-@class brood.ConfigFile\n(.-)\n\n") .. "\n"
  local annotated = {}
  for name in class:gmatch("%-%-%-@field ([%a_]+)%?? ") do
    annotated[name] = true
  end
  for _, key in ipairs(schema.keys) do
    lu.assertEquals(annotated[key.name] == true, key.available ~= false, key.name)
  end
end

function T.test_all_mistakes_are_listed()
  local messages = complaints {
    worker = 4, listen = { "nowhere", { address = ":80", backlog = "many" } }, graceful_timeout = "abc",
    before_fork = 1,
  }
  lu.assertEquals(messages, {
    "unknown key 'worker' (did you mean 'workers'?)",
    'listen[1]: expected an address (a port, "host:port", "[v6]:port" or "unix:/path") or a table with address =, '
      .. 'got "nowhere": the port is missing',
    'listen[2].backlog: expected a whole number from 1 to 65535, got "many"',
    'graceful_timeout: expected a duration (a number of seconds or a string like "5s"), or false, got "abc"',
    "before_fork: expected a function, got 1",
    "'app' is missing: there is nothing to run (e.g. app = \"app.lua\")",
  })
end

function T.test_a_mistake_has_its_parts_for_programs()
  local _, mistakes = complaints { app = "app.lua", worker = 1, start_timeout = "x" }
  lu.assertEquals(mistakes[1].kind, "unknown")
  lu.assertEquals(mistakes[1].suggestion, "workers")
  lu.assertEquals(mistakes[2].key, "start_timeout")
  lu.assertStrContains(mistakes[2].expected, "a duration")
end

function T.test_one_mistake_is_a_line_and_several_are_counted_and_in_the_order_of_the_file()
  local _, mistakes = complaints { app = "app.lua", worker = 1 }
  lu.assertEquals(schema.format(mistakes, "brood.lua"), "brood.lua: unknown key 'worker' (did you mean 'workers'?)")
  _, mistakes = complaints { worker = 1, timeout = "x", env = { A = {} } }
  local lines = { worker = 9, timeout = 7, env = 4 }
  local text = schema.format(mistakes, "brood.lua", function(key)
    return lines[key]
  end)
  lu.assertEquals(text, [[
brood.lua has 4 mistakes:
  brood.lua:4: env.A: expected a string, or false, got an empty table
  brood.lua:7: timeout: expected a duration (a number of seconds or a string like "5s"), or false, got "x"
  brood.lua:9: unknown key 'worker' (did you mean 'workers'?)
  brood.lua: 'app' is missing: there is nothing to run (e.g. app = "app.lua")]])
  lu.assertStrContains(schema.format(mistakes), "the config has 4 mistakes:\n")
end

function T.test_a_line_that_is_not_certain_is_left_out()
  local _, mistakes = complaints { app = "a", env = { A = {} } }
  local text = schema.format(mistakes, "x.lua", function(key)
    return ({ env = 3, ["env.A"] = false })[key]
  end)
  lu.assertStrMatches(text, "x.lua: env.A: .*")
end

function T.test_a_key_that_comes_later_is_refused_whatever_it_says_and_has_its_kind_already()
  local wrong = {
    command = 5, daemonize = "yes", max_requests = "many", max_requests_jitter = -1, max_memory = "big",
    max_lifetime = "old", rollout = { surge = 0 }, signals = { TERM = "explode" }, before_exec = 1, pools = { a = 1 },
    services = "x", backends = { 1 }, proxy = { listen = "x" },
  }
  for name, value in pairs(wrong) do
    if schema.fields[name].available == false then
      lu.assertEquals(complaint { app = "a", [name] = value }, ("'%s' is not available yet"):format(name))
      local mistake
      lu.assertFalse((kinds.check(schema.fields[name], value, name, function(found)
        mistake = mistake or found
      end)))
      lu.assertStrContains(mistakes_of.sentence(mistake), "expected")
    end
  end
end

function T.test_what_other_servers_call_it_is_understood()
  lu.assertEquals(complaint { app = "a.lua", bind = ":80" }, "unknown key 'bind' (did you mean 'listen'?)")
  lu.assertEquals(complaint { app = "a.lua", cwd = "/" }, "unknown key 'cwd' (did you mean 'working_directory'?)")
end

function T.test_a_key_in_the_wrong_table_is_told_where_it_belongs()
  local routes = { ["/"] = "web" }
  for text, config in pairs {
    ["unknown key 'routes' (it belongs into 'proxy')"] = { routes = routes },
    ["unknown key 'max_body' (it belongs into 'proxy', or is an option of http.server, in the app)"] = { max_body = 1 },
    ["unknown key 'header_timeout' (it is an option of http.server, in the app)"] = { header_timeout = 1 },
    ["unknown key 'backlog' (it belongs into a table in 'listen')"] = { backlog = 1 },
    ["unknown key 'nofile' (it belongs into 'limits')"] = { nofile = 1 },
    ["unknown key 'surge' (it belongs into 'rollout')"] = { surge = 1 },
    ["unknown key 'max_processes' (it belongs into an entry of 'pools')"] = { max_processes = 1 },
    ["unknown key 'idle' (it belongs into an entry of 'services' or 'backends')"] = { idle = 1 },
    ["unknown key 'proxy.pidfile' (it belongs to the top level)"] = {
      proxy = { listen = 1, routes = routes, pidfile = "x" },
    },
    ["unknown key 'proxy.user' (that of the top level holds for the proxy as well)"] = {
      proxy = { listen = 1, routes = routes, user = "x" },
    },
    ["unknown key 'clusters.a.reuseport' (it belongs into a table in 'listen')"] = {
      clusters = { a = { app = "a.lua", listen = 1, reuseport = true } },
    },
    ["unknown key 'services.a.pidfile' (it belongs to the top level)"] = {
      services = { a = { command = { "x" }, pidfile = "x" } },
    },
    ["unknown key 'services.a.workers'"] = { services = { a = { command = { "x" }, workers = 1 } } },
    ["unknown key 'clusters.a.listen.port' (did you mean 'address'?)"] = {
      clusters = { a = { app = "a.lua", listen = { address = 1, port = 1 } } },
    },
  } do
    config.app = "a.lua"
    lu.assertEquals(complaint(config), text)
  end
end

function T.test_a_config_that_is_no_table_is_refused()
  lu.assertEquals(complaint(5), "the config must be a table, or a function that returns one; got 5")
  lu.assertEquals(complaint(nil), "the config must be a table, or a function that returns one; got nil")
  lu.assertStrContains(complaints({ "app.lua" })[1], "unknown key '1'")
end

function T.test_defaults_are_filled_in()
  local config = effective { app = "app.lua" }
  lu.assertEquals(config.workers, 3)
  lu.assertEquals(config.graceful_timeout, 30)
  lu.assertEquals(config.start_timeout, 30)
  lu.assertEquals(config.working_directory, "/srv/app")
  lu.assertEquals(config.listen, { {
    address = "127.0.0.1:8080", backlog = 1024, ipv6only = false, reuseport = false,
  } })
  lu.assertNil(config.control)
end

function T.test_paths_are_relative_to_the_config()
  local config = effective { app = "./app.lua", listen = "unix:run/a.sock", control = "unix:c.sock" }
  lu.assertEquals(config.app, "/srv/app/app.lua")
  lu.assertEquals(config.listen[1].address, "unix:/srv/app/run/a.sock")
  lu.assertEquals(config.control, { address = "unix:/srv/app/c.sock" })
end

function T.test_listen_is_one_address_or_a_list_or_tables()
  local function addresses(listen)
    local list = {}
    for i, entry in ipairs(effective({ app = "app.lua", listen = listen }).listen) do
      list[i] = entry.address
    end
    return list
  end
  lu.assertEquals(addresses(8080), { ":8080" })
  lu.assertEquals(addresses "8080", { ":8080" })
  lu.assertEquals(addresses { 80, "[::1]:81", "unix:/x" }, { ":80", "[::1]:81", "unix:/x" })
  lu.assertEquals(addresses { address = 8080 }, { ":8080" })
  lu.assertEquals(addresses { "127.0.0.1:0", "127.0.0.1:0" }, { "127.0.0.1:0", "127.0.0.1:0" })
  local entry = { address = "/x", mode = "0666", owner = "root", backlog = 5 }
  lu.assertEquals(effective({ app = "a", listen = { entry } }).listen, { {
    address = "unix:/x", mode = "0666", owner = "root", backlog = 5,
  } })
end

function T.test_a_unix_socket_has_a_mode_and_nothing_of_tcp()
  lu.assertEquals(effective({ app = "a", listen = "/x" }).listen, {
    { address = "unix:/x", backlog = 1024, mode = "0666" },
  })
  lu.assertEquals(effective({ app = "a", listen = 80 }).listen, {
    { address = ":80", backlog = 1024, ipv6only = false, reuseport = false },
  })
  for _, name in ipairs { "reuseport", "ipv6only" } do
    lu.assertEquals(complaint { app = "a", listen = { { address = "/x", [name] = true } } },
      ("'listen[1]' can have %s only with a TCP address, and unix:/x is a Unix socket"):format(name))
  end
end

function T.test_addresses_that_leave_each_other_no_room_are_told()
  local function told(...)
    local _, mistakes = schema.validate({ app = "a", listen = { ... } }, context)
    return mistakes and mistakes_of.sentence(mistakes[1])
  end
  local only_v6 = { address = "[::]:80", ipv6only = true }
  local function shared(address)
    return { address = address, reuseport = true }
  end
  for _, pair in ipairs {
    { "127.0.0.1:80", "0.0.0.0:80" }, { "0.0.0.0:80", "127.0.0.1:80" }, { "[::]:80", "127.0.0.1:80" },
    { "[::1]:80", "[::]:80" }, { "0.0.0.0:80", "[::]:80" }, { 80, "0.0.0.0:80" }, { "localhost:80", "0.0.0.0:80" },
    { "a.name:80", 80 }, { shared "0.0.0.0:80", "127.0.0.1:80" }, { only_v6, "[::1]:80" },
  } do
    lu.assertEquals(told(unpack(pair)),
      "'listen[2]' leaves 'listen[1]' no room: one of them is all interfaces of that port")
  end
  for _, pair in ipairs {
    { "127.0.0.1:80", "127.0.0.2:80" }, { "0.0.0.0:80", "[::1]:80" }, { only_v6, "127.0.0.1:80" },
    { only_v6, "0.0.0.0:80" }, { "0.0.0.0:80", "0.0.0.0:81" }, { "0.0.0.0:80", "a.name:80" },
    { shared "0.0.0.0:80", shared "127.0.0.1:80" }, { "0.0.0.0:0", "127.0.0.1:0" },
  } do
    lu.assertNil(told(unpack(pair)))
  end
end

function T.test_a_time_that_can_never_do_is_told_with_the_way_out()
  for _, case in ipairs {
    { "timeout", 0, "it must be above 0 (false switches it off)" },
    { "timeout", -1, "it must be above 0 (false switches it off)" },
    { "timeout", "50ms", "it must be at least 100ms" },
    { "start_timeout", 0, "it must be above 0 (false switches it off)" },
    { "max_lifetime", 0, "it must be above 0 (false switches it off)" },
    { "graceful_timeout", "1 h", "no blank belongs between number and unit" },
    { "graceful_timeout", "-1s", "it cannot be negative" },
    { "graceful_timeout", "5", "the unit is missing (ms, s, m or h)" },
    { "graceful_timeout", "5x", "not a number followed by ms, s, m or h" },
  } do
    local said = complaint { app = "a", [case[1]] = case[2] }
    lu.assertStrContains(said, ("got %s: %s"):format(kinds.show(case[2]), case[3]))
  end
  lu.assertEquals(effective({ app = "a", graceful_timeout = 0 }).graceful_timeout, 0)
end

function T.test_what_listen_cannot_do_is_said()
  lu.assertStrContains(complaint { app = "a", listen = {} }, "listen: expected")
  lu.assertEquals(complaint { app = "a", listen = { 80, "*:80" } }, "'listen[2]' is the same address as 'listen[1]'")
  lu.assertStrContains(complaint { app = "a", listen = { { address = 80, mode = "0666" } } }, "only with a Unix socket")
  lu.assertStrContains(complaint { app = "a", listen = { { backlog = 1 } } }, "'listen[1].address' is missing")
  lu.assertStrContains(complaint { app = "a", listen = { { address = "/x", mode = 666 } } }, "whether it is octal")
  lu.assertStrContains(complaint { app = "a", listen = "unix:/" .. ("x"):rep(107) }, "at most 107 bytes, got 108")
  lu.assertStrContains(complaint { listen = 80, app = nil, clusters = nil }, "'app' is missing")
  if not keys.fd_available then
    lu.assertEquals(complaint { app = "a", listen = "fd:web" }, '\'listen\' with "fd:web" is not available yet')
  end
end

function T.test_control_is_an_address_a_table_or_false()
  lu.assertEquals(effective({ app = "a", control = false }).control, false)
  lu.assertEquals(effective({ app = "a", control = "/run/c.sock" }).control, { address = "unix:/run/c.sock" })
  lu.assertEquals(effective({ app = "a", control = { address = "unix:/c" } }).control, { address = "unix:/c" })
  lu.assertStrContains(complaint { app = "a", control = "127.0.0.1:80" }, "'control' over TCP")
  lu.assertStrContains(complaint { app = "a", control = true }, "control: expected")
end

function T.test_validating_twice_is_validating_once()
  local once = effective {
    app = "a", listen = { 80, "unix:x" }, control = "unix:c", env = { A = 1 }, start_timeout = "5s",
  }
  lu.assertEquals(effective(once), once)
end

function T.test_the_command_line_beats_the_config_beats_the_environment_beats_the_default()
  local environ = { PORT = "5000", WEB_CONCURRENCY = "5" }
  local function merge(cli, config)
    local merged = schema.merge(cli, config, environ, 8, "/cwd")
    return { merged.listen, merged.workers }
  end
  lu.assertEquals(merge({ port = "1", workers = 1 }, { app = "a", listen = 2, workers = 2 }), { { ":1" }, 1 })
  lu.assertEquals(merge({}, { app = "a", listen = 2, workers = 2 }), { 2, 2 })
  lu.assertEquals(merge({}, { app = "a" }), { ":5000", 5 })
  environ = { PORT = "", WEB_CONCURRENCY = "" }
  lu.assertEquals(schema.merge({}, { app = "a" }, environ, 8).workers, 8)
  lu.assertNil(schema.merge({}, { app = "a" }, environ, 8).listen)
end

function T.test_paths_on_the_command_line_are_relative_to_where_it_was_typed()
  local cli = { app = "x/app.lua", listen = { "unix:a.sock", ":80" }, control = "unix:c" }
  local merged = schema.merge(cli, {}, {}, 1, "/cwd")
  lu.assertEquals(merged.app, "/cwd/x/app.lua")
  lu.assertEquals(merged.listen, { "unix:/cwd/a.sock", ":80" })
  lu.assertEquals(merged.control, "unix:/cwd/c")
  lu.assertEquals(effective(merged).app, "/cwd/x/app.lua")
end

function T.test_addresses_and_a_port_on_the_command_line_add_up()
  local cli = { app = "a", listen = { "127.0.0.1:1" }, port = "2" }
  lu.assertEquals(schema.merge(cli, nil, {}, 1).listen, { "127.0.0.1:1", ":2" })
end

function T.test_control_can_be_switched_off_on_the_command_line()
  lu.assertEquals(schema.merge({ control = false }, { app = "a", control = "unix:/x" }, {}, 1).control, false)
end

function T.test_a_port_that_is_a_path_is_a_unix_socket()
  lu.assertEquals(schema.merge({}, { app = "a" }, { PORT = "/run/x.sock" }, 1).listen, "unix:/run/x.sock")
end

-- All mistakes of a config with a command line and an environment, as text.
local function told(cli, config, environ)
  local merged, origins, beaten = schema.merge(cli, config, environ, 1, "/")
  local _, mistakes = schema.validate(merged, { directory = "/", origins = origins, beaten = beaten })
  return mistakes and schema.format(mistakes, "x.lua")
end

function T.test_a_wrong_environment_variable_is_named()
  local text = told({}, { app = "a" }, { PORT = "http", WEB_CONCURRENCY = "many" })
  lu.assertStrContains(text, '\n  PORT in the environment must be a port (or the path of a Unix socket), got "http"\n')
  lu.assertStrContains(text, "\n  WEB_CONCURRENCY in the environment: workers: expected a whole number")
end

function T.test_a_wrong_option_is_named()
  lu.assertEquals(told({ workers = 0 }, { app = "a" }), "-w: workers: expected a whole number from 1 to 65535, got 0")
  local long = "unix:/" .. ("x"):rep(108)
  lu.assertStrContains(told({ listen = { long } }, { app = "a" }), "-l: listen: expected the path")
  lu.assertEquals(told({ port = "80" }, { clusters = { b = { app = "b", listen = 1 } } }),
    "-p: 'listen' needs an 'app' or a 'command' that answers there")
  local text = told({ workers = 2 }, { clusters = { b = { app = "b", listen = 1 } } })
  lu.assertStrContains(text, "-w: 'workers' of the cluster web cannot be set")
end

function T.test_what_the_command_line_puts_aside_is_checked_all_the_same()
  lu.assertEquals(told({ workers = 2, port = "80" }, { app = "a", workers = "four", listen = 80 }),
    'x.lua: workers: expected a whole number from 1 to 65535, got "four"')
end

function T.test_merging_leaves_the_config_as_it_was()
  local config = { app = "a" }
  schema.merge({ app = "b", port = "1" }, config, {}, 1)
  lu.assertEquals(config, { app = "a" })
  lu.assertEquals(schema.merge({}, 5, {}, 1), 5)
end

return T
