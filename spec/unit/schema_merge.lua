--- Where the values of a config come from (brood.rules.schema_merge), and what is said of it afterwards.
local lu = require "luaunit"
local merge = require "brood.rules.schema_merge"

local T = {}

T["what does not come from the config is told by its origin, what does is not"] = function()
  local cli = { app = "a.lua", workers = 2, port = "1", pidfile = "p", control = "unix:c" }
  local _, origins = merge(cli, {}, {}, 4, "/d")
  lu.assertEquals(origins, { app = "-s", workers = "-w", listen = "-p", pidfile = "-P", control = "--control" })
  _, origins = merge({ listen = { ":1" }, port = "2" }, {}, {}, 4, "/d")
  lu.assertEquals(origins, { listen = "-l", workers = "the number of cpus" })
  _, origins = merge({}, { app = "a", workers = 1 }, { PORT = "80", WEB_CONCURRENCY = "3" }, 4, "/d")
  lu.assertEquals(origins, { listen = "PORT in the environment" })
  _, origins = merge({}, { app = "a" }, { WEB_CONCURRENCY = "3" }, 4, "/d")
  lu.assertEquals(origins, { workers = "WEB_CONCURRENCY in the environment" })
end

T["what the command line puts aside is kept, with its origin"] = function()
  local _, _, beaten = merge({ workers = 2, port = "1", pidfile = "p" }, { app = "a", workers = 7, listen = 80 }, {}, 4)
  lu.assertEquals(beaten, { workers = { value = 7 }, listen = { value = 80 } })
  _, _, beaten = merge({ workers = 2 }, { app = "a" }, { WEB_CONCURRENCY = "3" }, 4)
  lu.assertEquals(beaten, { workers = { value = 3, origin = "WEB_CONCURRENCY in the environment" } })
  _, _, beaten = merge({}, { app = "a", workers = 7 }, {}, 4)
  lu.assertEquals(beaten, {})
end

T["PORT counts where something can answer there, and is a port or the path of a socket"] = function()
  local environ = { PORT = "80" }
  lu.assertNil(merge({}, {}, environ).listen)
  lu.assertEquals(merge({}, { command = { "x" } }, environ).listen, ":80")
  lu.assertEquals(merge({ app = "a" }, {}, environ, 1, "/d").listen, ":80")
  for given, listen in pairs { ["/run/s"] = "unix:/run/s", ["65536"] = "65536", ["http"] = "http" } do
    lu.assertEquals(merge({}, { app = "a" }, { PORT = given }).listen, listen)
  end
end

T["WEB_CONCURRENCY that is no number stays as it is, to be complained about"] = function()
  lu.assertEquals(merge({}, {}, { WEB_CONCURRENCY = "12" }).workers, 12)
  lu.assertEquals(merge({}, {}, { WEB_CONCURRENCY = "1.5" }).workers, "1.5")
end

T["-s takes the place of a command, and paths are seen from where they were typed"] = function()
  local cli = { app = "x/a.lua", pidfile = "m.pid", control = "unix:c", listen = { "unix:s", ":80" } }
  local merged = merge(cli, { command = { "x" } }, {}, 1, "/d")
  lu.assertNil(merged.command)
  lu.assertEquals({ merged.app, merged.pidfile, merged.control, merged.listen },
    { "/d/x/a.lua", "/d/m.pid", "unix:/d/c", { "unix:/d/s", ":80" } })
  lu.assertEquals(merge({ listen = { ":1" }, port = "2" }, {}).listen, { ":1", ":2" })
end

T["false on the command line is a value, and nothing there changes nothing"] = function()
  lu.assertEquals(merge({ control = false }, { control = "unix:/c" }).control, false)
  local config = { app = "a", workers = 3, listen = { 80 }, unknown = 1 }
  lu.assertEquals(merge(nil, config, nil, 8), config)
  lu.assertEquals((merge({ workers = 1 }, "no table")), "no table")
end

return T
