--- The lines between a pool and a worker that is a foreign program: what is written, what is understood.
local lu = require "luaunit"
local json = require "brood.json"
local line = require "brood.pool.program_line"
local utf8 = require "brood.rules.utf8"

local function encoded(value)
  return assert(line.encode(value, "data"))
end

local function refused(value, pattern)
  local text, err = line.encode(value, "data")
  lu.assertNil(text)
  lu.assertEquals(err.code, "json")
  lu.assertStrMatches(err.message, pattern)
end

local function said(text)
  return assert(line.parse(text))
end

local function unsaid(text, pattern)
  local value, err = line.parse(text)
  lu.assertNil(value)
  lu.assertEquals(err.code, "protocol")
  lu.assertStrMatches(err.message, pattern)
end

return {
  ["a job is one line, with its id, its attempt and its data"] = function()
    local text = assert(line.job("a-1", 2, { name = "x\ny", list = { 1, 2.5, true } }))
    lu.assertEquals(select(2, text:gsub("\n", "")), 1)
    lu.assertEquals(text:sub(-1), "\n")
    local value = json.decode(text)
    lu.assertEquals(value, { job = "a-1", attempt = 2, data = { name = "x\ny", list = { 1, 2.5, true } } })
    lu.assertEquals(line.job("%s%d \"q\"", 1, nil), '{"job":"%s%d \\"q\\"","attempt":1,"data":null}\n')
  end,

  ["numbers keep all their digits"] = function()
    for _, value in ipairs { 0, -1, 2 ^ 53 - 1, -2 ^ 53 + 1, 1234567890123456, 0.1, 0.1 + 0.2, 1 / 3, 1e300, 2 ^ 60,
      5e-324, 1.7976931348623157e308, 123456.789 } do
      lu.assertEquals(tonumber(encoded(value)), value)
    end
    lu.assertEquals(encoded(2 ^ 53 - 1), "9007199254740991")
    lu.assertEquals(encoded(0.1), "0.1")
    lu.assertEquals(encoded(9007199254740993LL), "9007199254740993")
    lu.assertEquals(encoded(18446744073709551615ULL), "18446744073709551615")
  end,

  ["lists are those with the keys 1 to n; all other tables are objects, the empty one too"] = function()
    lu.assertEquals(encoded { 1, { 2 }, "x" }, '[1,[2],"x"]')
    lu.assertEquals(encoded {}, "{}")
    lu.assertEquals(encoded { [2] = "b" }, '{"2":"b"}')
    lu.assertEquals(encoded { [1.5] = 1 }, '{"1.5":1}')
    lu.assertEquals(encoded { json.null, json.null }, "[null,null]")
    lu.assertEquals(json.decode(encoded { 1, 2, name = "x" }), { ["1"] = 1, ["2"] = 2, name = "x" })
  end,

  ["what JSON cannot carry is refused with its path"] = function()
    refused(0 / 0, "data is NaN, .*")
    refused({ size = { 1, math.huge } }, "data%.size%[2%] is infinite, .*")
    refused({ a = { ["b c"] = -math.huge } }, 'data%.a%["b c"%] is minus infinite, .*')
    refused({ pixels = "\255\0" }, "data%.pixels is no UTF%-8 text %(its byte 1%), .*base64.*")
    refused({ ["\255"] = 1 }, "data is no UTF%-8 text .*")
    refused({ [true] = 1 }, "data has a boolean as a key.*")
    refused({ [1] = 1, ["1"] = 2 }, 'data has both 1 and "1" as keys.*')
    refused({ f = print }, "data%.f is a function.*")
    local text, err = line.job("x", 1, { n = 0 / 0 })
    lu.assertNil(text)
    lu.assertStrMatches(err.message, "the job cannot be given to a program: data%.n is NaN.*")
  end,

  ["UTF-8 is told from bytes"] = function()
    for _, text in ipairs { "", "plain", "\0", "häß", "€", "😀x", "\127", "\u{7ff}\u{800}\u{ffff}\u{10ffff}" } do
      lu.assertNil(utf8.fault(text), text)
    end
    for text, at in pairs { ["\128"] = 1, ["ab\255"] = 3, ["\192\128"] = 1, ["\237\160\128"] = 1, ["ä\195"] = 3,
      ["\244\144\128\128"] = 1, ["\226\130"] = 1, ["x\226\130x"] = 2, ["\224\159\191"] = 1,
      ["äö\240\143\191\191"] = 5 } do
      lu.assertEquals(utf8.fault(text), at, text)
    end
  end,

  ["progress, success and failure are understood, and null is nil"] = function()
    lu.assertEquals(said '{"progress": 0.5}', { kind = "progress", value = 0.5 })
    lu.assertEquals(said '{"success": {"a": [1, 2]}}\r', { kind = "success", value = { a = { 1, 2 } } })
    lu.assertEquals(said '{"success": null, "job": "x-1"}', { kind = "success", job = "x-1" })
    lu.assertEquals(said '{"success": false}', { kind = "success", value = false })
    lu.assertEquals(said '{"ready": true}', { kind = "ready" })
    lu.assertEquals(said '{"failure": "no such file"}',
      { kind = "failure", value = { message = "no such file", code = "error" } })
    lu.assertEquals(said '{"failure": {"message": "m", "code": "ENOENT", "retry": false, "at": null, "path": "/x"}}',
      { kind = "failure", value = { message = "m", code = "ENOENT", retry = false, path = "/x" } })
    lu.assertEquals(said('{"failure": null}').value.message, "the program gave no reason")
    lu.assertEquals(said('{"failure": {}}').value.message, "the program gave no reason")
    lu.assertEquals(said('{"failure": {"message": 5, "code": 7}}').value, { message = "5", code = "error" })
  end,

  ["anything else is told with the line"] = function()
    unsaid("hello", 'a line that is no JSON: "hello" .*stderr.*')
    unsaid("", "a line that is no JSON.*")
    unsaid("[1]", "a line without progress, success or failure.*")
    unsaid("5", "a line that is no JSON object: \"5\"")
    unsaid("null", "a line that is no JSON object.*")
    unsaid('{"sucess": 1}', "a line without progress, success or failure.*")
    unsaid('{"success": 1, "failure": 2}', "a line with both 'success' and 'failure'.*")
    unsaid("a\0\255\n" .. ("x"):rep(5000), "a line that is no JSON: .*%.%.%..*")
    local _, err = line.parse("\0\255" .. ("x"):rep(5000))
    lu.assertTrue(#err.message < 500)
    lu.assertNil(err.message:find "[^\32-\126]")
  end,
}
