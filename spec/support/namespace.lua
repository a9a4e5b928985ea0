--- A PID namespace, as a container has one: what is started in it is PID 1 there. Not everybody may make one.
local lu = require "luaunit"
local s = require "spec.support"

local M = {}

local ARGV = { "unshare", "--pid", "--fork", "--kill-child", "--mount-proc" }
local allowed

--- Start a program there.
---@param ... string its argv
---@return spec.Program unshare: what is PID 1 is its child
function M.start(...)
  local argv = { unpack(ARGV) }
  for _, word in ipairs { ... } do
    argv[#argv + 1] = word
  end
  return s.start(argv)
end

--- Skip the test where that is refused.
function M.need()
  if allowed == nil then
    allowed = M.start("true"):finish().code == 0
  end
  lu.skipIf(not allowed, "a PID namespace of its own was refused (unshare --pid): that needs root")
end

return M
