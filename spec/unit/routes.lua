--- Routes: what may stand there, whom a request is led to, and that no way of writing a path leads around one.
local configs = require "spec.support.configs"
local lu = require "luaunit"
local routes = require "brood.rules.routes"

local T = {}

local function router(...)
  local list = {}
  for i, text in ipairs { ... } do
    list[i] = assert(routes.parse(text))
    list[i].target = text
  end
  local found = routes.new(list)
  return function(host, path)
    local route, bad = found:find(host, path)
    return route and route.target or bad and "bad" or nil
  end
end

function T.test_a_route_is_a_host_a_suffix_a_path_or_a_host_with_a_path()
  lu.assertEquals(routes.parse "Api.Localhost", { text = "api.localhost", host = "api.localhost", path = "" })
  lu.assertEquals(routes.parse "*.Example.com",
    { text = "*.example.com", host = "example.com", suffix = true, path = "" })
  lu.assertEquals(routes.parse "/static/", { text = "/static", path = "/static" })
  lu.assertEquals(routes.parse "/", { text = "/", path = "" })
  lu.assertEquals(routes.parse "h/a/b", { text = "h/a/b", host = "h", path = "/a/b" })
  lu.assertEquals(routes.parse "[::1]/a", { text = "[::1]/a", host = "[::1]", path = "/a" })
end

function T.test_what_is_no_route_is_told_why()
  for text, why in pairs {
    [""] = "empty", ["http://h"] = "URL", ["h:80"] = "port", ["[::1]:80"] = "port", ["*"] = '"/"', ["*.*.x"] = '"*"',
    ["a*b"] = '"*"', ["a b"] = "not a host", ["a..b"] = "not a host", ["/a?b"] = "query", ["/a%20b"] = "escapes",
    ["/a/../b"] = "dots", ["/a//b"] = "empty segment", ["/a\nb"] = "control", ["*.x:80"] = "port",
    [("a"):rep(256)] = "not a host", ["-"] = false,
  } do
    local route, said = routes.parse(text)
    if why then
      lu.assertNil(route, text)
      lu.assertStrContains(said, why)
    else
      lu.assertIsTable(route, text)
    end
  end
end

function T.test_a_host_is_compared_without_case_port_and_the_dot_of_the_root()
  local find = router("api.localhost", "[::1]")
  for _, host in ipairs {
    "api.localhost", "API.LocalHost", "api.localhost:8080", "api.localhost.", "api.localhost.:80",
  } do
    lu.assertEquals(find(host, "/"), "api.localhost", host)
  end
  lu.assertEquals(find("[::1]:80", "/x"), "[::1]")
  for _, host in ipairs { "", "localhost", "x.api.localhost", "api.localhost.x", "api", ":80", ("a."):rep(9000) } do
    lu.assertNil(find(host, "/"), host)
  end
  lu.assertNil(find(nil, "/"))
end

function T.test_hosts_come_before_paths_and_exact_ones_before_suffixes_and_the_longest_wins()
  local find = router("h", "*.example.com", "*.eu.example.com", "a.eu.example.com/deep", "/", "/static", "/static/a/b",
    "h/static")
  lu.assertEquals(find("h", "/x"), "h")
  lu.assertEquals(find("h", "/static/x"), "h/static")
  lu.assertEquals(find("h", "/staticx"), "h")
  lu.assertEquals(find("x.example.com", "/static"), "*.example.com")
  lu.assertEquals(find("x.y.z.eu.example.com", "/"), "*.eu.example.com")
  lu.assertEquals(find("a.eu.example.com", "/deep/er"), "a.eu.example.com/deep")
  lu.assertEquals(find("a.eu.example.com", "/else"), "*.eu.example.com")
  lu.assertEquals(find("example.com", "/"), "/")
  lu.assertEquals(find("notexample.com", "/"), "/")
  lu.assertEquals(find("other", "/static"), "/static")
  lu.assertEquals(find("other", "/static/a/c"), "/static")
  lu.assertEquals(find("other", "/static/a/b/c/d/e"), "/static/a/b")
  lu.assertEquals(find(nil, "/static/a/b"), "/static/a/b")
end

function T.test_a_path_is_led_by_whole_segments()
  local find = router("/api", "/a b")
  for _, path in ipairs { "/api", "/api/", "/api/x", "/api/x/y" } do
    lu.assertEquals(find("h", path), "/api", path)
  end
  for _, path in ipairs { "/", "/ap", "/apis", "/api.json", "/x/api", "*", "/API", "/api;x" } do
    lu.assertNil(find("h", path), path)
  end
  lu.assertEquals(find("h", "/a%20b/c"), "/a b")
end

function T.test_no_way_of_writing_a_path_leads_around_a_route()
  local find = router("/", "/admin")
  for _, path in ipairs {
    "/admin", "//admin", "/./admin", "/x/../admin", "/%61dmin", "/x/%2e%2e/admin", "/x/.%2E/admin", "/x%2f..%2fadmin",
    "/.%2fadmin/x", "/%2fadmin", "///.//admin///", "/x/y/../../admin/z", "/adm%69n?", "/x/..%2Fadmin",
  } do
    lu.assertEquals(find("h", (path:gsub("%?$", ""))), "/admin", path)
  end
  for _, path in ipairs {
    "/admin/..", "/admin/../x", "/admin/%2e%2e", "/%2561dmin", "/admin%2f..", "/x/admin", "/...", "/..admin",
    "/admin..",
  } do
    lu.assertEquals(find("h", path), "/", path)
  end
end

function T.test_a_path_that_means_nothing_leads_nowhere()
  local find = router("/", "h")
  for _, path in ipairs {
    "/..", "/../admin", "/a/../../b", "/%2e%2e/a", "/%", "/%4", "/%zz", "/a%00b", "/%c", "/x%2f..%2f..%2f", "/a%%41",
  } do
    lu.assertEquals(find("h", path), "bad", path)
    lu.assertEquals(find("x", path), "bad", path)
  end
end

function T.test_a_long_path_and_a_long_host_cost_little()
  local find = router("/a/b", "*.example.com")
  local path, host = ("/x"):rep(8000), ("x."):rep(120) .. "example.com"
  local began = os.clock()
  for _ = 1, 200 do
    find(host, path)
    find("h", path)
    find("h", "/a/b" .. path)
  end
  lu.assertTrue(os.clock() - began < 1, "it takes too long")
end

function T.test_a_target_is_a_name_or_an_address()
  local known = { api = "service", files = "backend", web = "cluster" }
  lu.assertEquals(routes.target("api", known), { kind = "service", name = "api" })
  lu.assertEquals(routes.target("files", known), { kind = "backend", name = "files" })
  lu.assertEquals(routes.target("web", known), { kind = "cluster", name = "web" })
  for given, address in pairs {
    ["127.0.0.1:80"] = "127.0.0.1:80", ["unix:/x.sock"] = "unix:/x.sock", ["/x.sock"] = "unix:/x.sock",
    [":3000"] = "127.0.0.1:3000", ["0.0.0.0:1"] = "127.0.0.1:1", ["[::]:1"] = "[::1]:1", [3000] = "127.0.0.1:3000",
    ["example.com:80"] = "example.com:80",
  } do
    lu.assertEquals(routes.target(given, known), { kind = "address", address = address }, given)
  end
  for given, why in pairs { nobody = "unknown", ["h:0"] = "port 0", ["fd:x"] = "passed", ["h:99999"] = "not a port" } do
    local target, said = routes.target(given, known)
    lu.assertNil(target)
    lu.assertStrContains(said, why)
  end
end

-- ---- in a config ----------------------------------------------------------------------------------------------------

local context = configs.context "/srv"

local function complaints(proxy, more)
  local config = { app = "app.lua", proxy = proxy }
  for key, value in pairs(more or {}) do
    config[key] = value
  end
  return (configs.complaints(config, context))
end

function T.test_a_config_is_told_of_targets_that_do_not_exist_with_the_nearest_name()
  local messages = complaints({ listen = 81, routes = { ["/a"] = "fils", ["/b"] = "nobody", ["/c"] = "files" } },
    { backends = { files = { command = { "x" } } } })
  lu.assertEquals(messages, {
    "'proxy.routes[\"/a\"]' leads to 'fils', and there is no service, backend or cluster of that name "
      .. "(did you mean 'files'?)",
    "'proxy.routes[\"/b\"]' leads to 'nobody', and there is no service, backend or cluster of that name: the names are "
      .. "files, web",
  })
end

function T.test_a_config_is_told_of_routes_that_are_none_or_the_same()
  local messages = complaints { listen = 81, routes = { ["/a"] = "web", ["/a/"] = "web", ["h:80"] = "web" } }
  lu.assertEquals(messages, {
    "'proxy.routes[\"/a/\"]' is the same route as 'proxy.routes[\"/a\"]'",
    "'proxy.routes[\"h:80\"]' is no route: the port of a request is not looked at; leave it out",
  })
end

function T.test_a_proxy_does_not_lead_to_itself()
  for listen, target in pairs {
    [81] = "proxy", ["127.0.0.1:82"] = "localhost:82", ["0.0.0.0:83"] = "127.0.0.1:83",
    ["unix:p.sock"] = "unix:/srv/p.sock", ["[::1]:84"] = "[::1]:84",
  } do
    local messages = complaints { listen = listen, routes = { ["/"] = target } }
    lu.assertEquals(#messages, 1)
    lu.assertStrContains(messages[1], "leads to the proxy itself")
  end
  lu.assertEquals(complaints { listen = "127.0.0.1:85", routes = { ["/"] = "127.0.0.2:85" } }, {})
end

function T.test_a_cluster_or_a_pool_named_proxy_beside_a_proxy_is_a_mistake()
  local proxy = { listen = 81, routes = {} }
  for kind, entry in pairs {
    clusters = { app = "a.lua", listen = 82 }, pools = { worker = "w.lua" }, backends = { command = { "x" } },
  } do
    lu.assertEquals(complaints(proxy, { [kind] = { proxy = entry } }),
      { ("'%s.proxy' has the name of the cluster that 'proxy' makes"):format(kind) })
    lu.assertEquals(complaints(nil, { [kind] = { proxy = entry } }), {})
  end
end

function T.test_a_name_stands_for_one_thing_only()
  lu.assertEquals(complaints(nil, {
    pools = { x = { worker = "w.lua" } }, backends = { x = { command = { "x" } }, web = { command = { "x" } } },
  }), {
    "'backends.web' has the name of the cluster that the top level makes", "'backends.x' has the name of 'pools.x'",
  })
end

function T.test_a_proxy_alone_is_enough_to_run()
  local config = configs.effective({ proxy = { listen = 81, routes = { ["/"] = 3000 } } }, context)
  local list = require("brood.rules.clusters").list(config)
  lu.assertEquals(#list, 1)
  lu.assertEquals({ list[1].name, list[1].workers, list[1].app }, { "proxy", 3 })
  lu.assertEquals(list[1].proxy.routes[1].target, { kind = "address", address = "127.0.0.1:3000" })
  lu.assertEquals({ config.proxy.timeout, config.proxy.connect_timeout, config.proxy.max_waiting }, { 60, 5, 1000 })
end

function T.test_the_proxy_takes_its_keys_from_the_top_level_but_no_app()
  local config = configs.effective({
    app = "app.lua", workers = 4, user = "www-data", preload = true, graceful_timeout = 7, access_log = "-",
    proxy = { listen = "unix:p.sock", routes = { ["/"] = "web", ["/x"] = "unix:x.sock" }, workers = 2 },
  }, context)
  local proxy = require("brood.rules.clusters").list(config)[2]
  lu.assertEquals({ proxy.name, proxy.workers, proxy.user, proxy.graceful_timeout, proxy.access_log, proxy.preload },
    { "proxy", 2, "www-data", 7, "-", false })
  lu.assertEquals(proxy.listen[1].address, "unix:/srv/p.sock")
  lu.assertEquals(proxy.proxy.routes[2].target, { kind = "address", address = "unix:/srv/x.sock" })
  lu.assertNil(proxy.app)
end

function T.test_what_is_wrong_with_the_keys_of_a_proxy_is_told()
  lu.assertEquals(complaints { listen = 81, routes = { ["/"] = "web" }, timeout = "soon" },
    { 'proxy.timeout: expected a duration (a number of seconds or a string like "5s"), or false, got "soon"' })
  lu.assertStrContains(complaints({ listen = 81, route = {} })[1], "did you mean 'routes'?")
  lu.assertStrContains(table.concat(complaints({ listen = 8080, routes = {} }), "\n"), "leaves 'listen' no room")
  local two_of_a_port = { backends = { b = { command = { "x" }, size = 2, port = 5 } } }
  lu.assertEquals(complaints({ listen = 81, routes = {} }, two_of_a_port),
    { "'backends.b.port' must be true where `size` is more than 1: each program needs a port of its own" })
end

return T
