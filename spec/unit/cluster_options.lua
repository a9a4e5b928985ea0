--- rules/cluster_options: what Cluster.new takes beside, and in place of, the keys of a config's clusters.
local cluster_options = require "brood.rules.cluster_options"
local keys = require "brood.rules.schema_keys"
local kinds = require "brood.rules.kinds"
local lu = require "luaunit"
require "brood.rules.schema" -- of which are the kinds that only a config has

local function check(given)
  local ok, options = kinds.record(cluster_options.fields, given, "", lu.fail)
  lu.assertTrue(ok)
  return options
end

local function refuses(given, key)
  local first
  kinds.record(cluster_options.fields, given, "", function(mistake)
    first = first or mistake.key
  end)
  lu.assertEquals(first, key)
end

return {
  ["every key of a config's clusters is an option, but those for which a script has events"] = function()
    for name, key in pairs(keys.cluster_fields) do
      local event = cluster_options.events[name]
      lu.assertEquals(cluster_options.fields[name] == nil, event ~= nil, name)
      lu.assertEquals((cluster_options.fields[name] or {}).type, not event and key.type or nil, name)
    end
    lu.assertEquals(cluster_options.events, { worker_ready = "online", worker_exit = "exit" })
  end,

  ["a name of a config's stands for its option, and has no default that would hide that one's"] = function()
    for former, name in pairs(cluster_options.renamed) do
      lu.assertIsTable(cluster_options.fields[name], name)
      lu.assertEquals(cluster_options.fields[former].type, cluster_options.fields[name].type, former)
    end
    local options = check { app = "a.lua", workers = 2, graceful_timeout = "1m" }
    lu.assertEquals({ options.workers, options.graceful_timeout }, { 2, 60 })
    options = check { app = "a.lua" }
    lu.assertNil(options.workers)
    lu.assertNil(options.graceful_timeout)
    lu.assertEquals(options.stop_timeout, keys.cluster_fields.graceful_timeout.default)
  end,

  ["the keys of a config stay as they are"] = function()
    lu.assertEquals({ keys.cluster_fields.workers.name, keys.cluster_fields.graceful_timeout.name },
      { "workers", "graceful_timeout" })
    lu.assertNil(keys.cluster_fields.count)
    lu.assertNotNil(keys.cluster_fields.graceful_timeout.default)
  end,

  ["without a word a worker that has ended is followed at once, and there is no end to it"] = function()
    local options = check { app = "a.lua", backoff = {} }
    lu.assertEquals({ options.respawn, options.respawn_delay, options.recycle_timeout, options.args },
      { true, 0, 5, {} })
    lu.assertEquals(options.backoff,
      { delay = 0.1, max_delay = 30, factor = 2, jitter = 0.2, max_exits = false, window = 60 })
  end,

  ["what cannot be is named"] = function()
    refuses({ app = "a.lua", count = -1 }, "count")
    refuses({ app = "a.lua", respawn_delay = false }, "respawn_delay")
    refuses({ app = "a.lua", max_memory_gain = 0.5 }, "max_memory_gain")
    refuses({ app = "a.lua", args = { {} } }, "args[1]")
    refuses({ app = "a.lua", backoff = { jitter = 2 } }, "backoff.jitter")
    refuses({ app = "a.lua", worker_exit = print }, "worker_exit")
  end,

  ["what is for apps or for programs alone is an option, and so is what a wrong name may mean"] = function()
    for _, list in ipairs { cluster_options.of_apps, cluster_options.of_commands } do
      for _, name in ipairs(list) do
        lu.assertIsTable(cluster_options.fields[name], name)
      end
    end
    for wrong, name in pairs(cluster_options.called_elsewhere) do
      lu.assertNil(cluster_options.fields[wrong], wrong)
      lu.assertIsTable(cluster_options.fields[name], wrong)
    end
  end,
}
