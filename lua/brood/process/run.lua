--- Process.run: one program from start to end, with what it wrote. For scripts.
local E = require "brood.error"
local merged = require "brood.rules.merged"
local Process = require "brood.process"
local task = require "brood.task"
local timer = require "brood.timer"

---@class brood.RunOptions: brood.ProcessOptions
---@field input? string written to its stdin, which then closes
---@field timeout? number|string TERM after so long (KILL after stop_timeout, here 2 s): nil, err with code "timeout"
---@field max_output? number|string of each stream, default "10m"; beyond it the program is killed: code "too_large"
---@field check? boolean an end other than status 0 is nil, err with code "exit"

---@class brood.RunResult
---@field code integer? the exit status
---@field signal string? that killed it
---@field stdout string
---@field stderr string

local spec = {
  input = { type = "string" },
  timeout = { type = "duration", off = true },
  max_output = { type = "size", default = 10 * 1024 * 1024, off = true },
  check = { type = "boolean", default = false },
}

local TAIL_LINES = 10
local STOP_TIMEOUT = 2 -- seconds between TERM and KILL: somebody waits for the result

-- A reader, and what it has read. `limit` is a function: only who has checked the options knows it.
local function collector(limit, overflow)
  local parts, size = {}, 0
  return function(piece)
    size = size + #piece
    if limit() and size > limit() then
      piece = piece:sub(1, math.max(0, limit() - (size - #piece)))
      overflow()
    end
    parts[#parts + 1] = piece
  end, function()
    return table.concat(parts)
  end
end

local function last_lines(text)
  local lines = {}
  for line in text:gmatch("[^\n]+") do
    lines[#lines + 1] = line
    if #lines > TAIL_LINES then
      table.remove(lines, 1)
    end
  end
  return table.concat(lines, "\n")
end

local function outcome(run)
  local result = {
    code = run.process.exit_code, signal = run.process.exit_signal, stdout = run.stdout(), stderr = run.stderr(),
  }
  local err = run.err
  if not err and run.process.options.check and result.code ~= 0 then
    local how = result.signal and ("was killed by " .. result.signal) or ("ended with status " .. tostring(result.code))
    local tail = last_lines(result.stderr)
    err = E.new("exit", "%s", ("%s %s%s"):format(run.process.name, how, tail ~= "" and ":\n" .. tail or ""))
  end
  if not err then
    return nil, result
  end
  err.stdout, err.stderr, err.exit_code, err.exit_signal = result.stdout, result.stderr, result.code, result.signal
  return err
end

--- Run a program to its end.
---@async
---@param argv string[]
---@param given? brood.RunOptions
---@param cb? fun(err: brood.Error?, result: brood.RunResult?)
---@return brood.RunResult? result, brood.Error? err
local function run(argv, given, cb)
  if type(given) == "function" then
    given, cb = nil, given
  end
  if given ~= nil and type(given) ~= "table" then
    error("Process.run: the options must be a table, got " .. type(given), 2)
  end
  if type(argv) == "table" and argv.command ~= nil then
    error('Process.run: the command is the first argument, the options the second: Process.run({ "ls" }, { ... })', 2)
  end
  local o, state, raw = merged({ command = argv }, given), {}, {}
  local function stop_for(err)
    if not state.err then
      state.err = err
      state.process:stop(function() end)
    end
  end
  local function max_output()
    return state.process.options.max_output
  end
  for _, name in ipairs { "stdout", "stderr" } do
    local reader
    reader, state[name] = collector(max_output, function()
      stop_for(E.new("too_large", "%s wrote more than %d bytes to %s", state.process.name, max_output(), name))
    end)
    if o[name] == nil then
      o[name], raw[name] = reader, true
    end
  end
  if o.input ~= nil then
    o.stdin = "pipe"
  end
  if o.stop_timeout == nil then
    o.stop_timeout = STOP_TIMEOUT
  end
  state.process = Process.new(o, { raw = raw, level = 3, what = "Process.run", more = spec })
  local own = state.process.options
  return task.run(cb, "Process.run", function(done)
    local process = state.process
    local over = timer.limit(own.timeout, function()
      stop_for(E.new("timeout", "%s ran longer than %s s", process.name, own.timeout))
    end, done)
    -- As soon as there is a stdin: with `ready` elsewhere only once that place is known to be free.
    local fed = not own.input
    local function feed()
      if not fed and process.run and process.run.stdin then
        fed = true
        process:write(own.input, function()
          process:close_stdin(function() end)
        end)
      end
    end
    local ran = false
    process:once("exit", function()
      ran = true
      over(outcome(state))
    end)
    process:start(function(err)
      feed()
      -- One that merely ended before it was ready has run all the same.
      if err and err.code ~= "exit" then
        state.err = state.err or err
      end
    end)
    process:wait(function(err)
      if not ran then
        over(state.err or err)
      end
    end)
    feed()
  end)
end

return run
