--- brood.lazy: rooms that are loaded when they are first used.
local lu = require "luaunit"
local lazy = require "brood.lazy"

-- A module of that name, and how often it was loaded.
local function module(name)
  local loads = { n = 0 }
  package.loaded[name] = nil
  package.preload[name] = function()
    loads.n = loads.n + 1
    return setmetatable({ answer = 42 }, { __call = function(_, a, b) return a + b end })
  end
  return loads
end

return {
  ["a room is loaded at its first use, once, and is read and called as itself"] = function()
    local loads = module "spec.lazy_room"
    local room = lazy.room "spec.lazy_room"
    lu.assertEquals(loads.n, 0)
    lu.assertEquals(room.answer, 42)
    lu.assertEquals(room(1, 2), 3)
    lu.assertEquals(loads.n, 1)
  end,

  ["a passing one goes when all are forgotten, and comes back; a lasting one stays"] = function()
    local stays, goes = module "spec.lazy_stays", module "spec.lazy_goes"
    local lasting, passing = lazy.room "spec.lazy_stays", lazy.passing "spec.lazy_goes"
    lu.assertEquals(lasting.answer + passing.answer, 84)
    lazy.forget()
    lu.assertNil(package.loaded["spec.lazy_goes"])
    lu.assertEquals(lasting.answer + passing.answer, 84)
    lu.assertEquals({ stays.n, goes.n }, { 1, 2 })
  end,
}
