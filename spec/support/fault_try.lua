--- What the faults specs share: a thing is done once in a healthy process, then again with faults, and what it leaves
--- behind is looked for.
---
---  Inside a script under the shim:  `require("spec.support.fault_try").try(fn)`, where fn returns true or nil, err.
---  In the spec:                     `M.each(script, call, errno, expect)` fails each call in turn and judges the runs.
local M = {}

local function belongings()
  local proc = require "spec.support.proc"
  local list = {}
  for fd, what in pairs(proc.fds()) do
    list[#list + 1] = fd .. " " .. what
  end
  for pid, state in pairs(proc.children()) do
    list[#list + 1] = "child " .. pid .. " " .. state
  end
  table.sort(list)
  return table.concat(list, ", ")
end

-- A handle that closes, a child that was killed: they may take a turn of the loop or a few.
local function settle(wanted)
  local now
  for _ = 1, 100 do
    collectgarbage()
    collectgarbage()
    require("brood").sleep(0.002)
    now = belongings()
    if now == wanted or not wanted then
      break
    end
  end
  return now
end

---Inside: call fn, and call it again with faults; says on stdout how that ended and what it left behind. What the
---first call makes for good is no leak.
---@param fn fun(): boolean?, brood.Error?
function M.try(fn)
  local faults = require "spec.support.faults"
  io.stdout:setvbuf "line"
  require("luv").new_pipe(false):close()
  assert(fn())
  local before = settle()
  faults.arm()
  local ok, err = fn()
  faults.disarm()
  print(ok and "done" or "failed", ok and "" or tostring(err.message):gsub("\n.*", ""), ok and "" or tostring(err.code))
  local after = settle(before)
  if after ~= before then
    print("LEFT", after, "BEFORE", before)
  end
end

---Inside: wait until fn() is true, for at most 5 s; returns whether it is.
---@param fn fun(): any
---@return boolean
function M.eventually(fn)
  for _ = 1, 2500 do
    if fn() then
      return true
    end
    require("brood").sleep(0.002)
  end
  return false
end

---In the spec: fail each call in turn in a script that ends with try(). `expect` is "fails" (each failure is an error
---with that code), "copes" (nobody notices), or "either": that, or any error that says what failed.
---@param script string
---@param call string
---@param errno string
---@param expect "fails"|"copes"|"either"
---@param options? table as for faults.each
---@return integer calls
function M.each(script, call, errno, expect, options)
  local lu = require "luaunit"
  local given = {
    script = 'local try = require("spec.support.fault_try").try\n' .. script, call = call, errno = errno, from = "arm",
  }
  for name, value in pairs(options or {}) do
    given[name] = value
  end
  local total = require("spec.support.faults").each(given, function(result)
    if result.signal then
      return -- by libuv, where the options allow that
    end
    lu.assertEquals(result.code, 0)
    lu.assertNotStrContains(result.stdout, "LEFT")
    local how, message, code = result.stdout:match "^(%l+)\t([^\n]*)\t([%w_]*)\n"
    lu.assertNotNil(how)
    if expect == "copes" then
      lu.assertEquals(how, "done")
    elseif expect == "fails" or how == "failed" then
      lu.assertEquals(how, "failed")
      lu.assertTrue(#message > 8)
      lu.assertTrue(code == errno or expect == "either" and code ~= "", code)
    end
  end)
  lu.assertTrue(total > 0, call .. " is never called")
  return total
end

return M
