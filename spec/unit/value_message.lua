--- Encoding and decoding of messages: everything that may travel does, and what may not is named by its path.
local ffi = require "ffi"
local lu = require "luaunit"
local message = require "brood.message"

local T = {}

local function copy(value)
  local payload, err = message.encode(value)
  lu.assertNil(err)
  local ok, result = message.decode(payload)
  lu.assertTrue(ok)
  return result
end

local function refused(value, code, text)
  local payload, err = message.encode(value)
  lu.assertNil(payload)
  lu.assertEquals(err.code, code)
  lu.assertStrContains(tostring(err), text)
end

local function nested(depth, inner)
  local t = { inner }
  for _ = 2, depth do
    t = { t }
  end
  return t
end

T["values come back equal"] = function()
  local value = { 1, 2.5, "text\0with zero", true, { a = { b = false } }, [100] = "sparse", [2.5] = 1, [true] = "yes" }
  lu.assertEquals(copy(value), value)
  lu.assertEquals(copy("plain"), "plain")
  lu.assertEquals(copy(false), false)
  lu.assertNil(copy(nil))
  lu.assertEquals(copy(ffi.new("int64_t", 5)), ffi.new("int64_t", 5))
end

T["a table that is there twice arrives as two"] = function()
  local shared = { 1 }
  local result = copy { shared, shared }
  lu.assertEquals(result, { { 1 }, { 1 } })
  lu.assertFalse(rawequal(result[1], result[2]))
end

T["json's null can be sent"] = function()
  local null = require("brood.json").null
  lu.assertEquals(copy({ null })[1], null)
end

T["a function is named by its path"] = function()
  refused({ jobs = { 1, 2, { fn = print } } }, "type", "message.jobs[3].fn is a function")
  refused(print, "type", "message is a function")
  refused({ ["odd key"] = { print } }, "type", 'message["odd key"][1] is a function')
end

T["userdata, coroutines and other cdata are named too"] = function()
  refused({ file = io.stdout }, "type", "message.file is a userdata")
  refused({ { co = coroutine.create(print) } }, "type", "message[1].co is a thread")
  refused({ c = ffi.new("struct { int x; }") }, "type", "message.c is a cdata")
end

T["a function as a key is named by its table"] = function()
  refused({ map = { [print] = 1 } }, "type", "message.map has a function as a key")
end

T["a cycle is an error that says where"] = function()
  local t = { list = { {} } }
  t.list[1].back = t
  refused(t, "cycle", "message.list[1].back is a cycle")
end

T["ninety tables in tables travel, one more is too deep"] = function()
  lu.assertEquals(copy(nested(90, "end")), nested(90, "end"))
  refused(nested(91), "too_deep", "90 tables in tables")
  refused(nested(98), "too_deep", "90 tables in tables")
  refused(nested(500), "too_deep", "90 tables in tables")
end

T["64 MB of text travel, what is larger does not"] = function()
  local text = ("x"):rep(64 * 1024 * 1024)
  lu.assertEquals(#copy(text), #text)
  refused({ text, text }, "too_large", "the limit is 64 MB")
end

T["bytes that are no value are an error, not a crash"] = function()
  for _, bytes in ipairs { "", "\1\1", "\10\255\255\255\255\127", "\9\2\33a\1\33a\1" } do
    local ok, err = message.decode(bytes)
    lu.assertFalse(ok)
    lu.assertEquals(err.code, "invalid")
  end
end

T["an error table keeps all of it that can be sent"] = function()
  local payload = message.encode_error {
    message = "broken", code = "exit", traceback = "trace", fn = print, list = { 1 },
  }
  local _, err = message.decode(payload)
  lu.assertEquals(err, { message = "broken", code = "exit", traceback = "trace", list = { 1 } })
  local _, plain = message.decode(message.encode_error("text"))
  lu.assertEquals(plain.message, "text")
end

T["an error that came as bytes is an error, whatever came"] = function()
  local err = message.decode_error(message.encode_error { message = "broken", code = "exit", errno = 2 })
  lu.assertEquals({ err.message, err.code, err.errno, tostring(err) }, { "broken", "exit", 2, "broken" })
  for _, bytes in ipairs { "\1\1", "" } do
    lu.assertEquals(message.decode_error(bytes).message, "an error that cannot be decoded")
  end
end

return T
