--- Programs that a spec runs: brood itself mostly. Started through plain luv, with output in files, so that nothing
--- that is being tested does the testing. What still runs when the test ends is killed.
local uv = require "luv"
local temp = require "spec.support.temp"
local waiting = require "spec.support.wait"

local M = {}
local running = {}

---@class spec.Program
---@field pid integer
---@field code? integer exit code; nil when it runs or was killed
---@field signal? integer number of the signal that ended it
---@field cwd string
local Program = {}
Program.__index = Program

local function environment(changes)
  local env = uv.os_environ()
  for _, name in ipairs { "PORT", "WEB_CONCURRENCY", "BROOD_SPEC_STATUS" } do
    env[name] = nil
  end
  for name, value in pairs(changes or {}) do
    env[name] = value or nil
  end
  local list = {}
  for name, value in pairs(env) do
    table.insert(list, name .. "=" .. tostring(value))
  end
  return list
end

local function open(path, flags)
  return assert(uv.fs_open(path, flags, 384))
end

---Start a program. Options: cwd (a fresh temp dir), env (added; false removes), stdin (text).
---@param argv string[]
---@param options? { cwd?: string, env?: table<string, string|false>, stdin?: string }
---@return spec.Program
function M.start(argv, options)
  options = options or {}
  local dir = temp.temp_dir()
  local self = setmetatable({ cwd = options.cwd or temp.temp_dir(), dir = dir, argv = argv }, Program)
  local input = options.stdin and temp.write_file(dir .. "/in", options.stdin) or "/dev/null"
  local fds = { open(input, "r"), open(dir .. "/out", "a"), open(dir .. "/err", "a") }
  local handle, pid
  handle, pid = uv.spawn(argv[1], {
    args = { unpack(argv, 2) }, cwd = self.cwd, env = environment(options.env), stdio = fds,
  }, function(code, signal)
    self.over, self.code, self.signal = true, signal == 0 and code or nil, signal ~= 0 and signal or nil
    handle:close()
  end)
  for _, fd in ipairs(fds) do
    uv.fs_close(fd)
  end
  if not handle then
    error(argv[1] .. ": " .. tostring(pid), 2)
  end
  self.handle, self.pid = handle, pid
  table.insert(running, self)
  return self
end

---Start ./brood with these arguments.
---@param args string[]
---@param options? table as for start
---@return spec.Program
function M.brood(args, options)
  local argv = { require("spec.support").binary }
  for _, value in ipairs(args) do
    table.insert(argv, tostring(value))
  end
  return M.start(argv, options)
end

---Start `brood exec` with this Lua text as its script, and further arguments.
---@param text string
---@param args? string[]
---@param options? table as for start
---@return spec.Program
function M.script(text, args, options)
  return M.brood({ "exec", temp.write_file("script.lua", text), unpack(args or {}) }, options)
end

---Where a program stands that the machine may have, as PATH says.
---@param program string
---@return string?
function M.path_of(program)
  for dir in (os.getenv("PATH") or ""):gmatch("[^:]+") do
    if uv.fs_access(dir .. "/" .. program, "X") then
      return dir .. "/" .. program
    end
  end
end

---Run to the end: what it wrote, and how it ended. Raises if it takes longer than `options.timeout` (10 s).
---@param argv string[]
---@param options? table as for start, and timeout
---@return { code: integer?, signal: integer?, stdout: string, stderr: string }
function M.run(argv, options)
  return M.start(argv, options):finish(options and options.timeout)
end

---@return string
function Program:stdout()
  return temp.read_file(self.dir .. "/out") or ""
end

---@return string
function Program:stderr()
  return temp.read_file(self.dir .. "/err") or ""
end

---Wait for its end.
---@param seconds? number 10
---@return integer? code, integer? signal
function Program:wait(seconds)
  waiting.wait(function()
    return self.over
  end, seconds, function()
    return ("the end of %s\nits stdout: %s\nits stderr: %s"):format(
      table.concat(self.argv, " "), self:stdout():sub(-2000), self:stderr():sub(-2000))
  end)
  return self.code, self.signal
end

---Wait for its end, and return all there is to know.
---@param seconds? number
---@return { code: integer?, signal: integer?, stdout: string, stderr: string }
function Program:finish(seconds)
  local code, signal = self:wait(seconds)
  return { code = code, signal = signal, stdout = self:stdout(), stderr = self:stderr() }
end

---Wait until what it wrote (to either) matches a Lua pattern; returns the captures.
---@param pattern string
---@param seconds? number
---@return string ...
function Program:expect(pattern, seconds)
  local found
  local function look()
    local out, err = { self:stdout():match(pattern) }, { self:stderr():match(pattern) }
    found = out[1] and out or err[1] and err or nil
    return found ~= nil
  end
  waiting.wait(function()
    return look() or self.over
  end, seconds, function()
    return ("'%s' from %s\nits stdout: %s\nits stderr: %s"):format(
      pattern, table.concat(self.argv, " "), self:stdout():sub(-2000), self:stderr():sub(-2000))
  end)
  if not found and not look() then
    error(("%s ended (code %s, signal %s) without writing '%s'\nits stdout: %s\nits stderr: %s"):format(
      table.concat(self.argv, " "), tostring(self.code), tostring(self.signal), pattern,
      self:stdout():sub(-2000), self:stderr():sub(-2000)), 2)
  end
  return unpack(found)
end

---Send a signal by name ("TERM") or number. Nothing happens when it is over.
---@param signal string|integer
function Program:kill(signal)
  if not self.over then
    self.handle:kill(type(signal) == "string" and "sig" .. signal:lower() or signal)
  end
end

---TERM it, and wait for the end.
---@return integer? code, integer? signal
function Program:stop()
  self:kill("TERM")
  return self:wait()
end

---End all that the test left running: TERM, then KILL. The end of each is waited for.
function M.cleanup()
  for i = #running, 1, -1 do
    local program = running[i]
    running[i] = nil
    program:kill("TERM")
    if not pcall(program.wait, program, 5) then
      program:kill("KILL")
      program:wait(5)
    end
  end
end

return M
