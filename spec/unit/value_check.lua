--- The walk over encoded values: what LuaJIT's decoder would take at a known cost passes, everything else does not.
local buffer = require "string.buffer"
local ffi = require "ffi"
local lu = require "luaunit"
local value = require("brood.core").value

local T = {}

local function refused(bytes, code, depth)
  local ok, err = value.check(bytes, depth)
  lu.assertNil(ok)
  lu.assertEquals(err.code, code)
end

local function nested(depth)
  local t = {}
  for _ = 2, depth do
    t = { t }
  end
  return t
end

T["every kind of value that can be encoded passes"] = function()
  for _, size in ipairs { 0, 1, 191, 192, 223, 224, 8127, 8128, 8159, 8160, 100000 } do
    lu.assertTrue(value.check(buffer.encode(("x"):rep(size))))
  end
  for _, v in ipairs { 1, 1.5, -0.0, 0 / 0, 2 ^ 53, true, false, {}, { 1, 2, 3 }, { [0] = 0, 1 }, { 1, nil, 3 },
    { a = 1, [1.5] = { b = { {} } } }, { [{}] = {} },
    ffi.new("int64_t", -1), ffi.new("uint64_t", 1), ffi.new("complex", 1, 2) } do
    lu.assertTrue(value.check(buffer.encode(v)))
  end
  lu.assertTrue(value.check(buffer.encode(nil)))
end

T["every shorter piece of a sound value is refused"] = function()
  local bytes = buffer.encode { "text", { a = 1, b = { true } }, ("x"):rep(300), ffi.new("int64_t", 1) }
  for n = 0, #bytes - 1 do
    refused(bytes:sub(1, n), "invalid")
  end
end

T["bytes behind the value are refused"] = function()
  refused(buffer.encode({ 1 }) .. "\0", "invalid")
end

T["a few bytes that promise billions of slots are refused"] = function()
  refused("\10\255\255\255\255\127", "invalid")
  refused("\9\255\255\255\255\127", "invalid")
  refused("\11\255\255\255\255\255\255\255\255\255\255", "invalid")
  refused("\255\255\255\255\255", "invalid")
end

T["nil and NaN are refused as keys, and taken as values"] = function()
  refused("\9\1\0\1", "invalid")
  refused("\9\1\7\0\0\0\0\0\0\248\127\1", "invalid")
  lu.assertTrue(value.check("\9\1\33a\0"))
end

T["userdata, dictionary entries and unknown tags are refused"] = function()
  for tag = 0, 31 do
    local bytes = string.char(tag) .. ("\0"):rep(16)
    if tag == 4 or tag == 5 or tag == 14 or tag == 15 or tag > 18 then
      refused(bytes, "invalid")
    end
  end
end

T["ninety tables in tables pass, one more does not"] = function()
  lu.assertTrue(value.check(buffer.encode(nested(90))))
  refused(buffer.encode(nested(91)), "too_deep")
  lu.assertTrue(value.check(buffer.encode(nested(91)), 91))
  refused(buffer.encode {}, "too_deep", 0)
end

T["a value that would fill a gigabyte once decoded is refused"] = function()
  local count = 20 * 1024 * 1024
  refused("\10\255" .. ffi.string(ffi.new("uint32_t[1]", count), 4) .. ("\8"):rep(count), "too_large")
end

T["what passes can be decoded, whatever was done to its bytes"] = function()
  math.randomseed(7)
  local bytes = buffer.encode { 1, "text", { a = { true, false, {} }, [2.5] = ("y"):rep(240) }, nil, { b = 1 } }
  for _ = 1, 20000 do
    local at = math.random(#bytes)
    local changed = bytes:sub(1, at - 1) .. string.char(math.random(0, 255)) .. bytes:sub(at + 1)
    if value.check(changed) then
      local ok, err = pcall(buffer.decode, changed)
      lu.assertTrue(ok or tostring(err):find("duplicate") ~= nil, err)
    end
  end
end

return T
