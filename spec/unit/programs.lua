--- Clusters whose workers are programs: what a config may say of them, and what it may not.
local clusters = require "brood.rules.clusters"
local configs = require "spec.support.configs"
local lu = require "luaunit"
local programs = require "brood.rules.programs"

local T = {}

local context = configs.context "/srv"

local function complaints(config)
  return (configs.complaints(config, context))
end

local function effective(config)
  return configs.effective(config, context)
end

local function list(config)
  return clusters.list(effective(config), nil)
end

T["a command stands in place of an app, and has what it needs and no more"] = function()
  local web = list {
    command = { "node", "server.js", 5 }, ready = "notify", watchdog = "10s", stop_signal = "SIGINT",
  }[1]
  lu.assertEquals(web.name, "web")
  lu.assertEquals(web.command, { "node", "server.js", "5" })
  lu.assertEquals({ web.ready, web.watchdog, web.stop_signal }, { "notify", 10, "INT" })
  lu.assertEquals(web.listen[1].address, "127.0.0.1:8080")
  lu.assertEquals({ web.timeout, web.preload, web.max_requests }, {})
  lu.assertNil(effective({ command = { "x" } }).timeout)
end

T["an app and a command exclude each other, at the top and in a cluster"] = function()
  lu.assertEquals(complaints { app = "a", command = { "b" } }, { "'command' and 'app' exclude each other" })
  lu.assertEquals(complaints { app = "a", clusters = { b = { app = "b", command = { "c" }, listen = 1 } } },
    { "'clusters.b.command' and 'app' exclude each other" })
end

T["what only an app can have is refused, with the reason"] = function()
  local found = complaints {
    command = { "x" }, timeout = 30, preload = true, access_log = "-", max_requests = 5, max_requests_jitter = 1,
  }
  lu.assertEquals(#found, 5)
  for i, name in ipairs { "timeout", "preload", "access_log", "max_requests", "max_requests_jitter" } do
    lu.assertStrContains(found[i], ("'%s' cannot be used with a 'command': "):format(name))
  end
  lu.assertStrContains(found[1], "`watchdog`")
  lu.assertStrContains(found[4], "`max_lifetime` and `max_memory` work")
  lu.assertEquals(complaints { command = { "x" }, timeout = false, preload = false, access_log = false }, {})
end

T["the top level may say it where an app of a cluster takes it"] = function()
  local config = { command = { "x" }, timeout = 30, clusters = { b = { app = "b", listen = 1 } } }
  lu.assertEquals(complaints(config), {})
  local all = list(config)
  lu.assertEquals({ all[1].timeout or false, all[2].timeout }, { false, 30 })
  config.clusters.b.timeout = 5
  lu.assertStrContains(complaints(config)[1], "'timeout' cannot be used with a 'command'")
  config = { app = "a", max_requests = 5, clusters = { b = { command = { "x" }, listen = 1 } } }
  lu.assertEquals(complaints(config), {})
  lu.assertNil(list(config)[2].max_requests)
  config.clusters.b.max_requests = 7
  lu.assertStrContains(complaints(config)[1], "'clusters.b.max_requests' cannot be used with a 'command'")
end

T["what only a command has needs one"] = function()
  lu.assertEquals(complaints { app = "a", ready = "notify" }, { "'ready' is for a 'command', and there is none" })
  lu.assertEquals(complaints { app = "a", clusters = { b = { app = "b", listen = 1, stop_signal = "INT" } } },
    { "'clusters.b.stop_signal' is for a 'command', and there is none" })
  local config = { app = "a", ready = "notify", clusters = { b = { command = { "x" }, listen = 1 } } }
  lu.assertEquals(complaints(config), {})
  local all = list(config)
  lu.assertEquals({ all[1].ready or false, all[2].ready }, { false, "notify" })
end

T["how it becomes ready is checked"] = function()
  for _, ready in ipairs {
    "spawn", "notify", "line", "channel", { port = 80 }, { socket = "x.sock" }, { http = "http://localhost:1/x" },
    { http = "/x", port = 80 },
  } do
    lu.assertEquals(complaints { command = { "x" }, ready = ready }, {})
  end
  lu.assertEquals(effective({ command = { "x" }, ready = { socket = "x.sock" } }).ready, { socket = "/srv/x.sock" })
  lu.assertStrContains(complaints({ command = { "x" }, ready = "soon" })[1],
    'ready: expected "spawn", "notify", "line"')
  lu.assertStrContains(complaints({ command = { "x" }, ready = { http = "/x" } })[1], "`port` or `socket` is needed")
  lu.assertStrContains(complaints({ command = { "x" }, ready = {} })[1], "'ready' cannot be used: ")
  lu.assertStrContains(complaints({ command = { "x" }, ready = { http = "ftp://x" } })[1], "neither a path nor http://")
end

T["a watchdog needs READY=1"] = function()
  local needs = "'watchdog' needs ready = \"notify\""
  lu.assertStrContains(complaints({ command = { "x" }, watchdog = 5 })[1], needs)
  lu.assertEquals(complaints { command = { "x" }, watchdog = 5, ready = "notify" }, {})
  lu.assertEquals(complaints { command = { "x" }, watchdog = false }, {})
end

T["a socket of each worker's own is for apps alone"] = function()
  local reuseport = { address = ":80", reuseport = true }
  lu.assertStrContains(complaints({ command = { "x" }, listen = reuseport })[1],
    "'listen' can have reuseport only with an 'app'")
  lu.assertStrContains(complaints({ command = { "x" }, listen = { 81, reuseport } })[1],
    "'listen[2]' can have reuseport")
  lu.assertStrContains(complaints({ app = "a", clusters = { b = { command = { "x" }, listen = { reuseport } } } })[1],
    "'clusters.b.listen[1]' can have reuseport")
end

local function hook() end

local function advice(config)
  local texts = {}
  for i, one in ipairs(programs.advice(list(config)[1], config.after_fork)) do
    texts[i] = one.text
  end
  return table.concat(texts, "\n")
end

T["after_fork with a command is worth a word, above all where nobody says which user"] = function()
  lu.assertStrContains(advice { command = { "x" }, after_fork = hook }, "stay the user that brood is: set `user` (and "
    .. "`group`) here or at the top level")
  lu.assertStrContains(advice { command = { "x" }, after_fork = hook, user = "nobody" },
    "after_fork does not run for programs")
  lu.assertEquals(advice { command = { "x" }, before_fork = hook }, "")
end

T["a look at an address that all workers share is worth a word"] = function()
  lu.assertStrContains(advice { command = { "x" }, listen = 80, ready = { port = 80 } }, "an old one may answer")
  lu.assertStrContains(advice {
    command = { "x" }, listen = "unix:a.sock", ready = { http = "/", socket = "/srv/a.sock" },
  }, "an old one may answer")
  lu.assertEquals(advice { command = { "x" }, listen = 80, ready = { port = 81 } }, "")
end

return T
