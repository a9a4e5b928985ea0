--- rules/schema_belongs: where a key is sent that stands in the wrong table of a config.
local belongs = require "brood.rules.schema_belongs"
local lu = require "luaunit"

local function each_is(phrases)
  for path, phrase in pairs(phrases) do
    lu.assertEquals(belongs.find(path), phrase, path)
  end
end

return {
  ["a key of the top level that stands in a table belongs to the top level"] = function()
    each_is {
      ["proxy.pidfile"] = "it belongs to the top level", ["rollout.workers"] = "it belongs to the top level",
      ["clusters.admin.pidfile"] = "it belongs to the top level", ["listen[2].workers"] = "it belongs to the top level",
    }
  end,

  ["what the proxy takes from the top level holds for it, but not what makes a cluster of programs"] = function()
    each_is {
      ["proxy.user"] = "that of the top level holds for the proxy as well",
      ["proxy.app"] = "it belongs to the top level", ["proxy.command"] = "it belongs to the top level",
      ["proxy.preload"] = "it belongs to the top level", ["proxy.watchdog"] = "it belongs to the top level",
    }
  end,

  ["a key of one table that stands at the top level is sent into that table"] = function()
    each_is {
      routes = "it belongs into 'proxy'", surge = "it belongs into 'rollout'", nofile = "it belongs into 'limits'",
      token = "it belongs into 'control'", backlog = "it belongs into a table in 'listen'",
      max_body = "it belongs into 'proxy', or is an option of http.server, in the app",
      idle_timeout = "it is an option of http.server, in the app",
    }
  end,

  ["a key of entries is sent into an entry, of each kind that knows it"] = function()
    each_is {
      retries = "it belongs into an entry of 'pools'",
      idle = "it belongs into an entry of 'services' or 'backends'",
      cwd = "it belongs into an entry of 'services' or 'backends'",
    }
  end,

  ["an entry's key that a cluster has would mean something else there, and is sent nowhere"] = function()
    for _, path in ipairs { "services.a.workers", "backends.a.workers", "pools.a.listen" } do
      lu.assertNil(belongs.find(path), path)
    end
  end,

  ["nobody knows what is no key anywhere, and a key stays where it stands"] = function()
    for _, path in ipairs { "nothing", "proxy.nothing", "clusters.a.nothing", "pools.a.retries", "x[1]", "" } do
      lu.assertNil(belongs.find(path), path)
    end
  end,
}
