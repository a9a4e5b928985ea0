--- The small C programs of the benchmarks, compiled when they are used into build/bench.
local Process = require "brood.process"
local uv = require "luv"

local M = {
  root = debug.getinfo(1, "S").source:match("^@(.*)/spec/bench/lib/c.lua$") or ".",
}

--- Compile spec/bench/programs/NAME.c.
---@param name string
---@param ... string more flags
---@return string path of the program
function M.compile(name, ...)
  local out = M.root .. "/build/bench/" .. name
  uv.fs_mkdir(M.root .. "/build", 493)
  uv.fs_mkdir(M.root .. "/build/bench", 493)
  local argv = { os.getenv "CC" or "cc", "-O2", "-Wall", "-Wextra", "-D_GNU_SOURCE", "-o", out, ... }
  argv[#argv + 1] = ("%s/spec/bench/programs/%s.c"):format(M.root, name)
  assert(Process.run(argv, { check = true }))
  return out
end

--- Run a measuring program to its end: the numbers it printed.
---@param argv string[]
---@param env? table<string, string>
---@return number ...
function M.figures(argv, env)
  local result = assert(Process.run(argv, { check = true, timeout = 600, env = env }))
  local list = {}
  for word in result.stdout:gmatch("%S+") do
    list[#list + 1] = tonumber(word)
  end
  return unpack(list)
end

return M
