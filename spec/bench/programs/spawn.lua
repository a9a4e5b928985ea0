--- spawn.lua HOW N MB PROGRAM: run PROGRAM N times, one after the other, in a process of so many MB; prints the
--- milliseconds.
local Process = require "brood.process"
local core = require "brood.core"
local task = require "brood.task"
local uv = require "luv"

local how, n, size, program = arg[1], tonumber(arg[2]), tonumber(arg[3]), arg[4]

local ways = {}

function ways.process()
  local process = Process.new { command = { program } }
  assert(process:start())
  assert(process:wait() == 0)
end

function ways.run()
  assert(assert(Process.run { program }).code == 0)
end

local fds = { { 0, 0 }, { 1, 1 }, { 2, 2 } }

function ways.core()
  local p = assert(core.process.spawn { argv = { program }, fds = fds })
  task.run(nil, "wait", function(done)
    p:watch(done)
  end)
  assert(p:reap() == 0)
  p:close()
end

-- Like a program with data: many pieces, none of them garbage.
local memory = {}
for i = 1, size * 64 do
  memory[i] = ("x"):rep(16 * 1024 - 32) .. i
end
local way, began = ways[how], uv.hrtime()
for _ = 1, n do
  way()
end
print((uv.hrtime() - began) / 1e6)
assert(#memory == size * 64)
