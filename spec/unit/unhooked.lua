--- rules/unhooked: when a config's after_fork leaves programs with the user that brood is.
local lu = require "luaunit"
local unhooked = require "brood.rules.unhooked"

local function hook() end

return {
  ["after_fork without a user leaves a pool's programs as they are, and that is told"] = function()
    lu.assertStrContains(unhooked({ command = { "python3" } }, hook, nil), "after_fork does not run for programs")
  end,

  ["it is not told where a user is set, where there is no hook, and of workers in Lua"] = function()
    lu.assertNil(unhooked({ command = { "python3" } }, hook, "nobody"))
    lu.assertNil(unhooked({ command = { "python3" } }, nil, nil))
    lu.assertNil(unhooked("worker.lua", hook, nil))
    lu.assertNil(unhooked(hook, hook, nil))
  end,
}
