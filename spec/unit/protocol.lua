--- rules/protocol: whose frames are taken, and what is said of the others.
local lu = require "luaunit"
local protocol = require "brood.rules.protocol"

local ROLES = { "parent", "child" }

return {
  ["a frame is taken from who may send it, in its room, and from nobody else"] = function()
    for name, entry in pairs(protocol.types) do
      for _, role in ipairs(ROLES) do
        local found, why = protocol.check(entry.number, entry.room, role)
        if entry.sender == "both" or entry.sender == role then
          lu.assertIs(found, entry, name)
        else
          lu.assertNil(found, name)
          lu.assertEquals(why, ("a '%s' frame from a %s"):format(name, role))
        end
      end
      local found, why = protocol.check(entry.number, entry.room + 1, "parent")
      lu.assertNil(found)
      lu.assertEquals(why, ("a '%s' frame for room %d"):format(name, entry.room + 1))
    end
  end,

  ["a number that no type has is told of"] = function()
    lu.assertEquals({ protocol.check(0, 0, "parent") }, { nil, "a frame of the unknown type 0" })
    lu.assertEquals({ protocol.check(255, 3, "child") }, { nil, "a frame of the unknown type 255" })
  end,

  ["what users send is bulk, and nothing of brood's own is: that gets through while the other side holds"] = function()
    for name, entry in pairs(protocol.types) do
      lu.assertEquals(entry.number >= protocol.BULK, entry.room == protocol.rooms.user, name)
      lu.assertTrue(entry.number > 0 and entry.number < 256, name)
    end
  end,

  ["a type is found by its name, and a name that is none is a mistake of who asks"] = function()
    lu.assertIs(protocol.by_name "ready", protocol.types.ready)
    lu.assertErrorMsgContains("no frame has the type 'redy'", protocol.by_name, "redy")
    lu.assertErrorMsgContains("no frame has the type 'nil'", protocol.by_name, nil)
  end,
}
