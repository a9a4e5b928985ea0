---What fn(...) gave is nil and an error: the error.
---@param ok any
---@param err any
---@return any err
return function(ok, err)
  local lu = require "luaunit"
  lu.assertNil(ok)
  lu.assertNotNil(err)
  return err
end
