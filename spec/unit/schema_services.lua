--- `services` in a config: what an entry comes to, and what is wrong with one or with all of them together.
local configs = require "spec.support.configs"
local lu = require "luaunit"
local named = require "brood.spinner.named"
local services_reload = require "brood.master.services_reload"

local T = {}

local context = configs.context "/srv"

local function of(services, more)
  local config = more or {}
  config.services = services
  return configs.effective(config, context).services
end

local function complaints(services, more)
  local config = more or {}
  config.services = services
  return configs.complaints(config, context)
end

T["an entry has the defaults of a config"] = function()
  local api = of { api = { command = { "api" } } }.api
  lu.assertEquals({ api.port, api.idle, api.timeout, api.restart }, { false, false, 30, "always" })
  lu.assertEquals({ api.autostart, api.essential, api.attempts, api.fault_timeout }, { true, false, 3, 60 })
end

T["one that is not started by itself has a port, and ends when nobody uses it"] = function()
  local api = of { api = { command = { "api" }, autostart = false } }.api
  lu.assertEquals({ api.port, api.idle }, { true, 1800 })
  api = of { api = { command = { "api" }, autostart = false, port = false, idle = "5m" } }.api
  lu.assertEquals({ api.port, api.idle }, { false, 300 })
end

T["one that a route leads to has a port"] = function()
  local list = of({ api = { command = { "api" } }, db = { command = { "db" } } }, {
    proxy = { listen = 8080, routes = { ["/"] = "api" } },
  })
  lu.assertEquals({ list.api.port, list.api.idle, list.db.port }, { true, false, false })
end

T["its paths are the config's, and what it runs is not a path"] = function()
  local job = of { job = {
    script = "job.lua", cwd = "below", stdout = "log/out", stderr = "/err", stdin = "pipe", ready = { socket = "s" },
  } }.job
  lu.assertEquals({ job.script, job.cwd, job.stdout, job.stderr, job.stdin, job.ready.socket, job.monitor },
    { "/srv/job.lua", "/srv/below", "/srv/log/out", "/err", "pipe", "/srv/s", { "/srv/job.lua" } })
  job = of { job = { command = { "./job" }, monitor = { "src", "/etc/job" } } }.job
  lu.assertEquals({ job.command, job.monitor }, { { "./job" }, { "/srv/src", "/etc/job" } })
  lu.assertEquals(of({ job = { script = "job.lua", monitor = false } }).job.monitor, false)
end

T["mistakes are named, all of them"] = function()
  lu.assertEquals(complaints { a = {} }, { "'services.a.command' is missing: there is no program to run" })
  lu.assertEquals(complaints { a = { command = { "x" }, script = "y" } },
    { "'services.a.script' and 'command' exclude each other" })
  lu.assertEquals(complaints { a = { cmd = { "x" }, command = { "y" } } },
    { "unknown key 'services.a.cmd' (did you mean 'command'?)" })
  lu.assertEquals(complaints { a = { command = { "x" }, depends_on = "b" }, b = { command = { "x" } } },
    { "unknown key 'services.a.depends_on' (did you mean 'after'?)" })
  lu.assertEquals(complaints { a = { command = { "x" }, name = "b" } }[1]:match "^unknown key 'services.a.name'",
    "unknown key 'services.a.name'")
  lu.assertEquals(complaints { a = { command = { "x" }, tandem = true, port = 7000 } }, {
    "'services.a.tandem' cannot be as it is: option 'tandem' needs a port that can change: port = true or \"socket\", "
      .. "not 7000",
  })
end

T["an order that cannot be kept is refused by name"] = function()
  local one = { command = { "x" } }
  lu.assertEquals(complaints { a = { command = { "x" }, after = { "b", "z" } }, b = one }, {
    "'services.a.after[2]' cannot be kept: service 'a' is to come after 'z', which is no service; the others are: b",
  })
  lu.assertEquals(complaints {
    a = { command = { "x" }, after = "c" }, b = { command = { "x" }, after = "a" },
    c = { command = { "x" }, after = "b" },
  }, {
    "'services.a.after' cannot be kept: services come after each other in a circle: a after c after b after a",
  })
end

T["a port is given once"] = function()
  lu.assertEquals(complaints { a = { command = { "x" }, port = 7000 }, b = { command = { "x" }, port = 7000 } },
    { "'services.b.port' is the same port as 'services.a.port'" })
  lu.assertEquals(complaints({ a = { command = { "x" }, port = 8080 } }, { app = "app.lua", listen = 8080 }),
    { "'services.a.port' is the same port as 'listen'" })
end

T["a name is one thing's"] = function()
  lu.assertEquals(complaints({ a = { command = { "x" } } }, { pools = { a = { worker = "a.lua" } } }),
    { "'services.a' has the name of 'pools.a'" })
end

T["two readings of a config differ where their values do"] = function()
  local function make(n)
    return of { a = { command = { "x", "y" }, env = { A = "1" }, stdout = loadstring("return " .. n) } }.a
  end
  lu.assertFalse(services_reload.differs(make(1), make(1)))
  lu.assertTrue(services_reload.differs(make(1), make(2)))
  local one, other = make(1), make(1)
  other.env.A = "2"
  lu.assertTrue(services_reload.differs(one, other))
  other = make(1)
  other.env.B = "1"
  lu.assertTrue(services_reload.differs(one, other))
  lu.assertTrue(services_reload.differs(other, one))
  other = make(1)
  other.after, other.essential, other.autostart = { "b" }, true, false
  lu.assertFalse(services_reload.differs(one, other))
end

T["state, port and pid are one number, and come out of it as they went in"] = function()
  local function round(view, path)
    return { named.unpack(named.pack(view), path) }
  end
  for _, state in ipairs { "stopped", "starting", "ready", "busy", "stopping", "faulted" } do
    lu.assertEquals(round { state = state }, { state })
    lu.assertEquals(round { state = state, port = 65535, pid = 4194304 }, { state, 65535, 4194304 })
    lu.assertEquals(round({ state = state, port = "/run/x", pid = 1 }, "/run/x"), { state, "/run/x", 1 })
  end
end

return T
