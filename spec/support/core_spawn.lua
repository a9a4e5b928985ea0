--- Programs started by brood.core.process itself, for specs of what a started program finds and how it is reaped.
local core = require "brood.core"
local posix = require "brood.posix"
local waiting = require "spec.support.wait"

local M = {}

--- The spec of a program: stdio is this process's, unless `fds` says otherwise.
---@param argv string[]
---@param options? table further fields
---@return table
function M.spec(argv, options)
  local spec = { argv = argv, fds = { { 0, 0 }, { 1, 1 }, { 2, 2 } } }
  for name, value in pairs(options or {}) do
    spec[name] = value
  end
  return spec
end

--- Start one that must start.
---@param argv string[]
---@param options? table
---@return userdata
function M.start(argv, options)
  return assert(core.process.spawn(M.spec(argv, options)))
end

--- Wait until it has exited, by its watch.
---@param p userdata
function M.wait_over(p)
  local over = false
  assert(p:watch(function()
    over = true
  end))
  waiting.wait(function()
    return over
  end, 10, "the end of a program")
end

--- Wait for its end, reap and close it.
---@param p userdata
---@return integer? code, integer? signal
function M.finish(p)
  M.wait_over(p)
  local code, signal = p:reap()
  p:close()
  return code, signal
end

--- Run one to its end: what it wrote to its stdout (less than a pipe holds), and how it ended.
---@param argv string[]
---@param options? table
---@return string output, integer? code, integer? signal
function M.output(argv, options)
  local r, w = assert(posix.pipe())
  local spec = M.spec(argv, options)
  spec.fds = { { 0, 0 }, { w, 1 }, { 2, 2 } }
  for _, pair in ipairs(options and options.fds or {}) do
    table.insert(spec.fds, pair)
  end
  local p, err = core.process.spawn(spec)
  posix.close(w)
  if not p then
    posix.close(r)
    error(tostring(err), 2)
  end
  local code, signal = M.finish(p)
  local output = posix.read(r, 65536)
  posix.close(r)
  return output, code, signal
end

return M
