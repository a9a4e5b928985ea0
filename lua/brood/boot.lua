--- The first Lua that runs: joins the task engine, the exit rules and the entry
--- module, and decides what becomes of a process in which nothing is left to wait for.
local core = require "brood.core"
local task = require "brood.task"
local fork = require "brood.fork"
local uv = require "luv"

---@class brood.boot
---@field argv string[] the command line, with [0]
local M = {}

-- The main task of this process: until it has ended, a dry loop means that it waits for nothing.
local main = { ended = false, status = nil }

-- What else must come before the end: a dry loop means that it never will. Texts, as keys.
local expected = {}

-- A process that never supervised anything has not loaded the room that knows of it.
local function leave_nothing()
  if package.loaded["brood.supervised"] then
    require("brood.supervised").kill_all()
  end
end

local function leave(status)
  leave_nothing()
  core.exit(status)
end

local function finish_status()
  task.report_unobserved()
  local status = main.status or 0
  if not main.ended then
    core.uncaught("the main task waits, but nothing is left that could wake it")
    status = 1 -- a master forgives what others do, but it has not come to its own end
  elseif next(expected) then
    core.uncaught((next(expected)))
    status = 1
  elseif core.failed() and not main.forgiving then
    status = 1
  end
  leave_nothing()
  return status
end

--- Run fn(...) as the main task: its uncaught error ends the process at once with status 1.
---@param fn function
function M.main(fn, ...)
  main = { ended = false }
  core.on_dry(finish_status)
  task.spawn(function(...)
    local ok, result = xpcall(fn, task.on_raise, ...)
    main.ended = true
    if not ok then
      core.uncaught(require("brood.error").text(result))
      leave(1)
    end
    main.status = tonumber(result)
  end, ...)
end

--- Where nothing is left to wait for, `text` is the error with which this process ends, unless what is returned has
--- been called.
---@param text string
---@return fun() over
function M.expect(text)
  expected[text] = true
  return function()
    expected[text] = nil
  end
end

--- From now on an error that nobody caught is logged, and does not decide the
--- status at the end: a master lives through them.
function M.forgive()
  main.forgiving = true
end

local ending -- fun(status): what is to come before an end by os.exit

--- Where os.exit is called, fn(status) comes first: it may see to the end itself, and then never returns.
---@param fn fun(status: integer)
function M.at_exit(fn)
  ending = fn
end

--- The process's own end: `os.exit` leaves nothing behind that it supervises.
local function exit(code)
  if code == nil or code == true then
    code = 0
  elseif code == false then
    code = 1
  elseif type(code) ~= "number" then
    error("os.exit: the status must be a number or a boolean, got " .. type(code), 2)
  end
  if ending then
    ending(code)
  end
  if package.loaded["brood.remote"] then
    require("brood.remote").leave()
  end
  leave(code)
end

local plain_assert = assert

-- LuaJIT's own raises its last argument where the second is no string: the errno, of `assert(posix.chdir(dir))`.
-- Tail calls: it is the caller whose line is told.
local function assert_error(...)
  local value, err = ...
  if not value and type(err) == "table" then
    return plain_assert(value, err)
  end
  return plain_assert(...)
end

local plain_popen = io.popen
local programs = setmetatable({}, { __mode = "k" })

local function note_program(file, ...)
  if file then
    programs[file] = true
  end
  return file, ...
end

-- A wrong call is left to the plain one, which tells the caller's line.
local function popen(command, mode)
  if type(command) == "string" and (mode == nil or mode == "r" or mode == "w") then
    return note_program(plain_popen(command, mode))
  end
  return plain_popen(command, mode)
end

--- Whether a program of io.popen is open here: its end is awaited by who has it.
---@return boolean
function M.reads_programs()
  for file in pairs(programs) do
    if io.type(file) == "file" then
      return true
    end
  end
  return false
end

-- uv.walk, of Lua's handles alone: the loop has some of the core's too, which luv takes for its own, and crashes. Those
-- that are closing are left out: a parent's stay so for ever in its child.
local function walk(fn)
  local registry, list = debug.getregistry(), {}
  local kinds = registry.uv_handle
  for _, value in pairs(registry) do
    if type(value) == "userdata" and kinds[debug.getmetatable(value)] and not uv.is_closing(value) then
      list[#list + 1] = value
    end
  end
  for _, handle in ipairs(list) do
    fn(handle)
  end
end

--- Called once by the runtime.
---@param entry string module with main(argv)
---@param argv string[] with [0]
function M.start(entry, argv)
  M.argv = argv
  os.exit = exit -- luacheck: ignore 122
  io.popen = popen -- luacheck: ignore 122
  _G.assert = assert_error -- where the code of others finds it
  uv.run = function()
    error("uv.run: brood runs the loop itself; just return, and it goes on while something is left to wait for", 2)
  end
  uv.walk = walk
  fork.on_child(function()
    main, expected, ending = { ended = true }, {}, nil
    programs = setmetatable({}, { __mode = "k" }) -- the parent's
    core.on_dry(finish_status)
  end)
  M.main(require(entry).main, argv)
end

return M
