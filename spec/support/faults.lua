--- Making system calls fail: runs scripts under spec/faults/shim.c. See there for the calls and the forms of a rule.
---
---  Outside:  faults.each({ call = "pipe2", errno = "EMFILE", script = text }, function(result, n) ... end)
---            runs the script with the 1st pipe2 failing, then the 2nd, ... up to the last one there is.
---  Inside:   `local fault = require "spec.support.faults"` works in such a script too: fault.arm(), fault.disarm()
---            narrow the counting to what lies between them, when `from = "arm"` is given.
local M = {}

local shim = os.getenv("BROOD_FAULTS")
local LANES = 4 -- runs at a time: mostly they wait
local record = 48 -- struct count: char name[32], u64 calls, u64 failed

-- Only what a script under the shim may use is loaded before it is needed.
local function support()
  return require "spec.support"
end

local function counts_read(path)
  local ffi = require "ffi"
  local text = support().read_file(path) or ""
  local calls, failed = {}, {}
  for at = 0, #text - record, record do
    local name = text:sub(at + 1, at + 32):match("^%Z+")
    if name then
      local numbers = ffi.cast("const uint64_t *", ffi.cast("const char *", text) + at + 32)
      calls[name], failed[name] = tonumber(numbers[0]), tonumber(numbers[1])
    end
  end
  return calls, failed
end

---@class spec.faults.Options
---@field script? string Lua for `brood exec`; `args` are its arguments
---@field args? string[] without a script: brood's own arguments
---@field make_args? fun(): string[] the same, where each run needs its own
---@field from? "start"|"arm" count from the start of the program (the default), or from the script's arm()
---@field exec? boolean stay loaded in programs that it executes
---@field timeout? number
---@field meanwhile? fun(program: spec.Program) what is done to it while it runs
---@field env? table<string, string|false>
---@field call? string each: the call to fail
---@field errno? string each: with what; SHORT cuts a read or write to one byte
---@field may_abort? boolean each: ABRT without a word is no crash of ours: libuv ends the process itself where its own
--- epoll_ctl, or the first pipe for its signals, fails; the rest is judged as ever
---@field onward? boolean each: every call from the nth on fails, not only the nth
---@field max? integer each: look at no more runs (default 200)

---@class spec.faults.Result
---@field code? integer
---@field signal? integer
---@field stdout string
---@field stderr string
---@field calls table<string, integer> how often each call was made
---@field failed table<string, integer> how often it was made to fail

---@class spec.faults.Run
---@field program spec.Program
---@field dir string
local Run = {}
Run.__index = Run

---Start under the shim with these rules ("pipe2:EMFILE:3,write:EINTR:1+", "" to count only).
---@param rules string
---@param options spec.faults.Options
---@return spec.faults.Run
function M.start(rules, options)
  local s = support()
  local dir = s.temp_dir()
  local env = {
    LD_PRELOAD = assert(shim, "BROOD_FAULTS: the path of the shim (make test sets it)"),
    BROOD_FAULT = rules,
    BROOD_FAULT_COUNTS = dir .. "/counts",
    BROOD_FAULT_WAIT = options.from == "arm" and "1" or false,
    BROOD_FAULT_EXEC = options.exec and "1" or false,
  }
  for name, value in pairs(options.env or {}) do
    env[name] = value
  end
  local program
  if options.script then
    local path = ("package.path = %q .. package.path "):format(s.root .. "/?.lua;" .. s.root .. "/?/init.lua;")
    program = s.script(path .. options.script, options.args, { env = env })
  else
    program = s.brood(options.make_args and options.make_args() or options.args, { env = env })
  end
  return setmetatable({ program = program, dir = dir }, Run)
end

---Wait for its end.
---@param timeout? number
---@return spec.faults.Result
function Run:finish(timeout)
  local result = self.program:finish(timeout)
  result.calls, result.failed = counts_read(self.dir .. "/counts")
  return result
end

---Run under the shim to the end.
---@param rules string
---@param options spec.faults.Options
---@return spec.faults.Result
function M.run(rules, options)
  local run = M.start(rules, options)
  if options.meanwhile then
    options.meanwhile(run.program)
  end
  return run:finish(options.timeout)
end

local SIGABRT = 6

local function check_run(rule, result, n, check, may_abort)
  if result.signal and not (may_abort and result.signal == SIGABRT and result.stderr == "") then
    error(("%s: ended by signal %d\n%s"):format(rule, result.signal, result.stderr), 0)
  end
  local ok, err = pcall(check, result, n)
  if not ok then
    local text = type(err) == "table" and err.msg or tostring(err)
    error(("%s: %s\ncode: %s\nstdout: %s\nstderr: %s"):format(
      rule, text, tostring(result.code), result.stdout, result.stderr), 0)
  end
end

---Let the 1st, the 2nd, ... call fail, each in a run of its own, a few of them at a time, and give each result to
---`check(result, n)`. Never a crash or a hang, whatever it is: that is checked here. Returns how many calls there were.
---@param options spec.faults.Options
---@param check fun(result: spec.faults.Result, n: integer)
---@return integer calls
function M.each(options, check)
  local total = M.run("", options).calls[options.call]
  assert(total, options.call .. ": not a call that the shim knows")
  local last, n = math.min(total, options.max or 200), 0
  local function lane()
    while n < last do
      n = n + 1
      local mine = n
      local rule = ("%s:%s:%d%s"):format(options.call, options.errno, mine, options.onward and "+" or "")
      local ran, result = pcall(M.run, rule, options)
      if not ran then
        error(("%s: %s"):format(rule, result), 0)
      end
      check_run(rule, result, mine, check, options.may_abort)
    end
  end
  local lanes = {}
  for i = 1, math.min(LANES, last) do
    lanes[i] = require("brood").async(lane)
  end
  local failure
  for _, task in ipairs(lanes) do
    local _, err = task:wait()
    failure = failure or err
  end
  if failure then
    error(failure.message, 2)
  end
  return total
end

local C
local function inside()
  if not C then
    local ffi = require "ffi"
    ffi.cdef [[void fault_arm(const char *); void fault_disarm(void); uint64_t fault_calls(const char *);]]
    C = ffi.C
  end
  return C
end

---In a script under the shim: start counting from zero, with new rules or those of the run.
---@param rules? string
function M.arm(rules)
  inside().fault_arm(rules)
end

---In a script under the shim: nothing fails any more, nothing is counted.
function M.disarm()
  inside().fault_disarm()
end

---In a script under the shim: how often a call was made since arm.
---@param call string
---@return integer
function M.calls(call)
  return tonumber(inside().fault_calls(call))
end

return M
