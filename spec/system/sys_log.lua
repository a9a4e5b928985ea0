--- The log: what a record looks like, and that writing one never fails, blocks or breaks a line in two.
local lu = require "luaunit"
local json = require "cjson"
local s = require "spec.support"

local HEAD = [[local core, posix = require "brood.core", require "brood.posix"
local log = core.log
]]

local function stderr_of(text, options)
  local result = s.script(HEAD .. text, {}, options):finish()
  lu.assertEquals(result.code, 0, result.stderr)
  return result.stderr
end

local T = {}

T["a record has a UTC time, level, pid and message"] = function()
  lu.assertStrMatches(stderr_of [[log.write("info", "hello")]],
    "%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ info  %[%d+%] hello\n")
end

T["further lines are indented, so that a record begins where a line does not"] = function()
  lu.assertStrMatches(stderr_of [[log.write("error", "one\ntwo\r\nthree\n\n")]],
    "%S+ error %[%d+%] one\n    two\n    three\n")
end

T["control characters and broken bytes are escaped, good UTF-8 is not"] = function()
  local text = stderr_of [[log.write("warn", "a\27[31m \200 \195\169 \237\160\128 \194\155 \0 tab\t")]]
  lu.assertStrContains(text, "a\\x1b[31m \\xc8 é \\xed\\xa0\\x80 \\xc2\\x9b \\x00 tab\t\n", false)
end

T["a JSON record is one line that any parser takes"] = function()
  local text = stderr_of [[
    log.setup{ format = "json" }
    log.write("error", 'quote " slash \\ \27 \200 \195\169\nnext\tline')
  ]]
  lu.assertEquals(select(2, text:gsub("\n", "")), 1)
  local record = json.decode(text)
  lu.assertEquals(record.level, "error")
  lu.assertEquals(record.message, 'quote " slash \\ \27 \239\191\189 é\nnext\tline')
  lu.assertStrMatches(record.time, "%d+%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ")
  lu.assertTrue(record.pid > 1)
end

T["what is below the level is not written"] = function()
  local text = stderr_of [[
    log.setup{ level = "warn" }
    log.write("info", "quiet") log.write("warn", "loud") assert(log.level() == "warn")
  ]]
  lu.assertStrContains(text, "loud")
  lu.assertNotStrContains(text, "quiet")
end

T["colors are for terminals, and for those who ask"] = function()
  lu.assertNotStrContains(stderr_of [[log.write("warn", "x")]], "\27")
  lu.assertStrContains(stderr_of [[log.setup{ color = true } log.write("warn", "x")]], "\27[33mwarn ")
end

T["a long record comes whole, and many writers do not mix within a line"] = function()
  local text = stderr_of [[
    local line = ("x"):rep(3000)
    local pids = {}
    for i = 1, 4 do
      pids[i] = posix.fork()
      if pids[i] == 0 then
        for n = 1, 50 do log.write("info", line) end
        core.exit(0)
      end
    end
    for i = 1, 4 do posix.waitpid(pids[i]) end
    log.write("info", ("y"):rep(200000))
  ]]
  local n = 0
  for line in text:gmatch "[^\n]+" do
    n = n + 1
    lu.assertStrMatches(line, "%S+ info  %[%d+%] [xy]+")
  end
  lu.assertEquals(n, 201)
  lu.assertStrContains(text, ("y"):rep(200000))
end

T["a reader that has stopped reading holds nobody up, and hears how much it missed"] = function()
  local out = s.script(HEAD .. [[
    local r, w = posix.pipe()
    log.setup{ fd = w }
    local start = require("luv").hrtime()
    for i = 1, 5000 do log.write("info", ("x"):rep(100)) end
    local took = (require("luv").hrtime() - start) / 1e9
    local text = ""
    while not text:find "later\n" do
      text = text .. posix.read(r, 65536)
      log.write("info", "later")
    end
    print(took < 2, text:match "(%d+) records lost" ~= nil, text:match "x\n%d%d%d%d%-" ~= nil)
  ]], {}):finish()
  lu.assertEquals(out.stdout, "true\ttrue\ttrue\n", out.stderr)
end

T["a reader that is gone, a closed descriptor and a full disk are no errors"] = function()
  local out = s.script(HEAD .. [[
    local r, w = posix.pipe()
    posix.close(r)
    log.setup{ fd = w } log.write("info", "nobody")
    posix.close(w)
    log.write("info", "nowhere")
    log.setup{ fd = 999 } log.write("info", "nowhere")
    local full = io.open("/dev/full", "w")
    log.setup{ fd = 2 }
    print "alive"
  ]]):finish()
  lu.assertEquals({ out.stdout, out.stderr, out.code }, { "alive\n", "", 0 })
end

T["an unknown level or format is a mistake"] = function()
  local log = require("brood.core").log
  lu.assertErrorMsgContains("unknown log level 'loud'", log.setup, { level = "loud" })
  lu.assertErrorMsgContains("unknown log format 'xml'", log.setup, { format = "xml" })
end

return T
