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

  ["every number comes back, whole ones are written as such, and short ones stay short"] = function()
    for value, text in pairs {
      [1234567890123456] = "1234567890123456", [2 ^ 53 - 1] = "9007199254740991", [-1e15] = "-1000000000000000",
      [1e14] = "100000000000000", [0.1] = "0.1", [19.99] = "19.99", [1 / 3] = "0.3333333333333333", [1e300] = "1e+300",
      [5] = "5", [1720000000.123456] = "1720000000.123456",
    } do
      lu.assertEquals(json.encode(value), text)
      lu.assertEquals(json.encode { value }, "[" .. text .. "]")
      lu.assertEquals(json.encode { a = { { 0.1, value } } }, '{"a":[[0.1,' .. text .. "]]}")
      lu.assertEquals(json.encode { [value] = "/", x = 1 }:gsub(',?"x":1,?', ""), '{"' .. text .. '":"/"}')
    end
    for _ = 1, 1000 do
      local value = (math.random() - 0.5) * 10 ^ math.random(-300, 300)
      lu.assertEquals(json.decode(json.encode { value })[1], value)
    end
  end,

  ["beside a number of many digits all is written as without it"] = function()
    local long = 1234567890123456
    local function both(value, with)
      local text = json.encode { with, value }
      return text and text:gsub("^%[%d+,", "[")
    end
    for _, value in ipairs {
      {}, { 1, nil, 3 }, { [1] = 1, [12] = 2 }, { [11] = 1, [20] = 2 }, { [0] = 1 }, { "a/b", x = true }, { [1.5] = 2 },
      json.null, false, "a\"b/c\n", { { {} } }, { a = json.null }, { [100] = 1 }, { [10] = 1 },
    } do
      lu.assertEquals(both(value, long), both(value, 1))
      if type(value) == "table" then -- and the table itself is one that has it
        value.z = long
        local list = {}
        for key, item in pairs(json.decode(json.encode(value))) do list[key] = item end
        lu.assertEquals(list.z, long)
      end
    end
    lu.assertEquals(json.encode { [2] = long, [4] = 1 }, "[null,1234567890123456,null,1]")
    lu.assertEquals(json.encode { [2] = long, [40] = 1 }:len(), #'{"2":1234567890123456,"40":1}')
    local cycle = { long }
    cycle[2], cycle[3] = cycle, cycle
    for _, wrong in ipairs { cycle, { long, 0 / 0 }, { long, print }, { long, { [print] = 1 } }, 1 / 0 } do
      lu.assertEquals(select(2, json.encode(wrong)).code, "json")
    end
  end,

  ["what cannot be written or read is nil and an error"] = function()
    for _, fn in ipairs { function() return json.encode(print) end, function() return json.decode "{" end } do
      local value, err = fn()
      lu.assertNil(value)
      lu.assertEquals(err.code, "json")
    end
  end,
}
