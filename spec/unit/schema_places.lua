--- The places that a config names (brood.rules.schema_places): absolute paths, defaults that depend on where it is,
--- and addresses that only one may have.
local lu = require "luaunit"
local places = require "brood.rules.schema_places"

local T = {}

local function fill(config, context)
  local reports = {}
  places.fill_in(config, context or { directory = "/d", cpus = 4 }, function(mistake)
    reports[#reports + 1] = ("%s %s"):format(mistake.key, mistake.problem or mistake.expected)
  end)
  return config, reports
end

local function at(...)
  local list = {}
  for i, address in ipairs { ... } do
    list[i] = { address = address }
  end
  return list
end

T["an address is one as seen from a directory; only a Unix socket's changes"] = function()
  lu.assertEquals(places.place("unix:run/s", "/d", "listen"), "unix:/d/run/s")
  lu.assertEquals(places.place("unix:/s", "/d", "listen"), "unix:/s")
  lu.assertEquals(places.place(":80", "/d", "listen"), ":80")
  lu.assertEquals(places.place("nonsense", "/d", "listen"), "nonsense")
end

T["a socket's path may have 107 bytes once it is absolute"] = function()
  local told
  local function report(mistake)
    told = mistake
  end
  places.place("unix:" .. ("x"):rep(104), "/d", "listen[2]", report)
  lu.assertNil(told)
  places.place("unix:" .. ("x"):rep(105), "/d", "listen[2]", report)
  lu.assertEquals({ told.key, told.got }, { "listen[2]", "108: /d/" .. ("x"):rep(105) })
end

T["paths become absolute, at the top and in each cluster, but for the dash"] = function()
  local config = fill {
    app = "a.lua", listen = at ":1", pidfile = "/p", access_log = "-", stdout_path = "./out",
    clusters = { b = { app = "b/a.lua", working_directory = "w" } },
  }
  lu.assertEquals({ config.app, config.pidfile, config.access_log, config.stdout_path },
    { "/d/a.lua", "/p", "-", "/d/out" })
  lu.assertEquals(config.clusters.b, { app = "/d/b/a.lua", working_directory = "/d/w" })
end

T["the directory and the workers are filled in where they lack; without an app there is nothing to listen for"] =
  function()
    lu.assertEquals(fill {}, { working_directory = "/d", workers = 4 })
    local config = fill { app = "a", workers = 1, working_directory = "w", listen = at ":1" }
    lu.assertEquals({ config.working_directory, config.workers, #config.listen }, { "/d/w", 1, 1 })
  end

T["an address that is taken is reported at the later place, wherever the two are"] = function()
  local function told(config)
    local _, reports = fill(config)
    return reports
  end
  lu.assertEquals(told { app = "a", listen = at(":80", ":81", ":80") },
    { "listen[3] is the same address as 'listen[1]'" })
  lu.assertEquals(told { app = "a", listen = at "unix:s", clusters = { b = { listen = at "unix:/d/s" } } },
    { "clusters.b.listen is the same address as 'listen'" })
  lu.assertEquals(told { app = "a", listen = at "unix:s", control = { address = "unix:s" } },
    { "control is the same address as 'listen'" })
  lu.assertEquals(told { clusters = { b = { listen = at ":80" }, a = { listen = at "127.0.0.1:80" } } },
    { "clusters.b.listen leaves 'clusters.a.listen' no room: one of them is all interfaces of that port" })
  lu.assertEquals(told { app = "a", listen = at("[::]:80", "127.0.0.1:80") },
    { "listen[2] leaves 'listen[1]' no room: one of them is all interfaces of that port" })
  lu.assertEquals(told { app = "a", listen = at("127.0.0.1:0", "127.0.0.1:0", ":80", "127.0.0.1:81") }, {})
end

return T
