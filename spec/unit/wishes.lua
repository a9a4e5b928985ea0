--- What becomes of a wish while another one is under way.
local lu = require "luaunit"
local wishes = require "brood.rules.wishes"

local function wish(kind, ...)
  return { kind = kind, waiters = { ... } }
end

local function kinds(queue)
  local list = {}
  for i, each in ipairs(queue) do
    list[i] = each.kind
  end
  return table.concat(list, " ")
end

return {
  ["every pair of wishes: the later one wins, and no two are decided at once"] = function()
    local idle, starting = {}, { starting = true }
    local reloading, rolling, upgrading = { current = "reload" }, { rolling = true }, { current = "upgrade" }
    local both = { current = "reload", rolling = true }
    local expected = {
      reload = { idle = "now", starting = "wait", reloading = "replace", rolling = "now", upgrading = "wait",
        both = "replace" },
      upgrade = { idle = "now", starting = "wait", reloading = "wait", rolling = "wait", upgrading = "join",
        both = "wait" },
      scale = { idle = "now", starting = "now", reloading = "now", rolling = "now", upgrading = "now", both = "now" },
      drain = { idle = "now", starting = "now", reloading = "now", rolling = "now", upgrading = "wait", both = "now" },
    }
    local states = {
      idle = idle, starting = starting, reloading = reloading, rolling = rolling, upgrading = upgrading, both = both,
    }
    for kind, row in pairs(expected) do
      for name, verdict in pairs(row) do
        lu.assertEquals(wishes.decide(states[name], kind), verdict, kind .. " while " .. name)
      end
    end
  end,

  ["one that waits is given up for a newer one of its kind, and its waiters wait for that one"] = function()
    local queue = wishes.enqueue({}, wish("reload", 1))
    queue = wishes.enqueue(queue, wish("upgrade", 2))
    queue = wishes.enqueue(queue, wish("reload", 3))
    lu.assertEquals(kinds(queue), "upgrade reload")
    lu.assertEquals(queue[2].waiters, { 1, 3 })
    lu.assertEquals(queue[1].waiters, { 2 })
  end,

  ["enqueue leaves the queue that it was given as it was"] = function()
    local queue = wishes.enqueue({}, wish("reload", 1))
    wishes.enqueue(queue, wish("drain", 2))
    lu.assertEquals(kinds(queue), "reload")
  end,

  ["next takes the first that can be granted, and leaves the order of the others"] = function()
    local queue = { wish "upgrade", wish "reload", wish "drain" }
    local found, rest = wishes.next({ rolling = true }, queue)
    lu.assertEquals(found.kind, "reload")
    lu.assertEquals(kinds(rest), "upgrade drain")
    found, rest = wishes.next({ current = "upgrade" }, { wish "upgrade", wish "reload" })
    lu.assertNil(found)
    lu.assertEquals(kinds(rest), "upgrade reload")
    lu.assertNil((wishes.next({}, {})))
  end,

  ["signals are acted on by weight, and those without one after all others, by name"] = function()
    local all = { "TERM", "INT", "QUIT", "USR2", "HUP", "WINCH", "TTOU", "TTIN", "USR1" }
    local noted = { PWR = true, CONT = true }
    for _, name in ipairs(all) do
      noted[name] = true
    end
    lu.assertEquals(table.concat(wishes.in_order(noted), " "), table.concat(all, " ") .. " CONT PWR")
    lu.assertEquals(wishes.in_order { USR1 = true, HUP = true }, { "HUP", "USR1" })
    lu.assertEquals(wishes.in_order {}, {})
  end,
}
