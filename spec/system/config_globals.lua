--- Globals and modules that a config takes away or replaces, by mistake or to load its own anew: brood itself goes on.
local lu = require "luaunit"
local masters = require "spec.support.master"

local function goes_on(before)
  local master = masters.start { before = before }
  lu.assertEquals(master:get().body, "hello\n")
  lu.assertTrue(master:hup { before = before })
  lu.assertTrue(master:hup {})
  lu.assertEquals(master:get().body, "hello\n")
  lu.assertEquals(master:stop "TERM", 0)
end

return {
  ["a forgotten `local` hides a function from nobody but the config"] = function()
    for _, name in ipairs { "type", "next", "tostring", "select", "error", "setmetatable", "require" } do
      goes_on(("local real = %s; %s = 'mine'; local %s = real"):format(name, name, name))
    end
  end,

  ["a config that empties package.loaded leaves brood's own modules alone"] = function()
    goes_on "for name in pairs(package.loaded) do package.loaded[name] = nil end"
  end,
}
