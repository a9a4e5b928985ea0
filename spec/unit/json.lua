--- brood.json: what is written, and what cannot be.
local json = require "brood.json"
local lu = require "luaunit"

return {
  ["a slash is written as it is, beside backslashes and quotes as well"] = function()
    for _, value in ipairs { "/", "a/b//c", "\\/", "\\\\/", '"/"\\', "\\", "/\n/" } do
      local text = json.encode { value }
      lu.assertNotStrContains(text:gsub("\\\\", ""), "\\/")
      lu.assertEquals(json.decode(text), { value })
    end
    lu.assertEquals(json.encode "http://a/b\\/", [["http://a/b\\/"]])
  end,

  ["what cannot be written or read is nil and an error"] = function()
    for _, fn in ipairs { function() return json.encode(print) end, function() return json.decode "{" end } do
      local value, err = fn()
      lu.assertNil(value)
      lu.assertEquals(err.code, "json")
    end
  end,
}
