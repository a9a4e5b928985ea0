--- Runs one spec file: `brood exec spec/support/one.lua FILE [FILTER]`, which is what spec/run.lua does for each, in a
--- process, a session and a temp dir of its own. A spec file returns a table of sentence -> test function, and perhaps
--- `setup` and `teardown`. A test fails, too, if it leaves an open fd, a child or a socket file behind.
local file, filter = arg[1], arg[2] ~= "" and arg[2] or nil
local root = file:match("^(.*)/spec/") or "."
package.path = root .. "/?.lua;" .. root .. "/?/init.lua;" .. package.path

local ffi = require "ffi"
local lu = require "luaunit"
local support = require "spec.support"

ffi.cdef [[int getpid(void); void _exit(int);]]
local main_pid = ffi.C.getpid()

local status = io.open(os.getenv("BROOD_SPEC_STATUS") or "/dev/stdout", "a")
status:setvbuf("line")
local function report(...)
  status:write(table.concat({ ... }, "\t"), "\n")
end
local function escape(text)
  return (tostring(text):gsub("[\\\n\t]", { ["\\"] = "\\\\", ["\n"] = "\\n", ["\t"] = "\\t" }))
end

-- libuv opens one /dev/null with the first stream of a loop, and keeps it: no test's fault.
require("luv").new_tcp():close()

-- What this process has open, and its children: what of it is new after a test is a leak.
local function belongings()
  return { fds = support.fds(), children = support.children() }
end

local function leaks_since(before)
  local found = {}
  local now = belongings()
  for fd, target in pairs(now.fds) do
    if before.fds[fd] ~= target then
      table.insert(found, ("fd %d (%s)"):format(fd, target))
    end
  end
  for pid, what in pairs(now.children) do
    if not before.children[pid] then
      table.insert(found, ("child %d (%s)"):format(pid, what))
    end
  end
  table.sort(found)
  return found
end

-- A closing handle or a dying child may need a turn of the loop or two.
local function assert_no_leaks(before)
  local found = {}
  pcall(support.wait, function()
    found = leaks_since(before)
    return #found == 0
  end, 1)
  if #found > 0 then
    error("left behind: " .. table.concat(found, ", "), 0)
  end
end

-- A child forked by a test must never go on as if it were the spec.
local function assert_same_process(name, why)
  if ffi.C.getpid() ~= main_pid then
    io.stderr:write(("'%s': a forked child came back out of the test: %s\n"):format(name, tostring(why)))
    io.stderr:flush()
    ffi.C._exit(70)
  end
end

local function guarded(name, suite, test)
  return function()
    collectgarbage()
    local before = belongings()
    local function body()
      if suite.setup then suite.setup() end
      test()
    end
    local ok, err = xpcall(body, function(e)
      return type(e) == "table" and e or debug.traceback(tostring(e), 2) -- a table: luaunit's own
    end)
    assert_same_process(name, err)
    local down_ok, down_err = true, nil
    if suite.teardown then down_ok, down_err = pcall(suite.teardown) end
    local clean_ok, clean_err = pcall(support.cleanup)
    if not ok then error(err, 0) end
    if not down_ok then error(down_err, 0) end
    if not clean_ok then error(clean_err, 0) end
    collectgarbage()
    collectgarbage()
    assert_no_leaks(before)
  end
end

local function tests_of(suite)
  local list = {}
  for name, test in pairs(suite) do
    if type(test) == "function" and name ~= "setup" and name ~= "teardown" then
      local line = debug.getinfo(test, "S").linedefined
      if not filter or file:find(filter, 1, true) or name:find(filter, 1, true) then
        table.insert(list, { name, guarded(name, suite, test), line = line })
      end
    end
  end
  table.sort(list, function(a, b)
    return a.line == b.line and a[1] < b[1] or a.line < b.line
  end)
  return list
end

-- The test's own part of a traceback.
local function trimmed(text)
  text = text:gsub("\n[^\n]*/spec/support/one%.lua:.*", ""):gsub("\n[^\n]*/luaunit%.lua:[^\n]*", "")
  return (text:gsub("\n%s*%[C%]: in function 'error'", ""):gsub("\nstack traceback:$", ""))
end

local Output = lu.genericOutput.new()
Output.__index = Output
function Output.new(runner)
  return setmetatable(lu.genericOutput.new(runner), Output)
end
function Output.startTest(_, name)
  report("start", escape(name))
end
function Output.endTest(_, node)
  if node:isSuccess() then
    report("pass", escape(node.testName))
  elseif node:isSkipped() then
    report("skip", escape(node.testName), escape(node.msg or ""))
  else
    report("fail", escape(node.testName), escape(trimmed(tostring(node.msg))))
  end
end

local chunk, err = loadfile(file)
local loaded, suite = xpcall(chunk or function() error(err, 0) end, debug.traceback)
if loaded and type(suite) ~= "table" then
  loaded, suite = false, "a spec file returns a table of tests"
end
if not loaded then
  report("start", "(loading the file)")
  report("fail", "(loading the file)", escape(suite))
else
  local runner = lu.LuaUnit.new()
  runner.outputType = Output
  local list = tests_of(suite)
  if #list > 0 then
    runner:runSuiteByInstances(list, "--quiet") -- an argument, or luaunit reads arg
  end
end
report("done")
status:close()
