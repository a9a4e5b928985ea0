--- Whether this master can give its workers the user and group that a config asks for:
--- found out before anything is forked, in place of once per worker. It changes nothing.
local core = require "brood.core"
local E = require "brood.error"

local M = {}

local SETGID, SETUID = 2 ^ 6, 2 ^ 7 -- capabilities, as bits

-- Root may, and who was given the capabilities for it.
local function may_change()
  local file = io.open "/proc/self/status"
  local text = file and file:read("*a") or ""
  if file then
    file:close()
  end
  local low = tonumber(text:match("\nCapEff:%s*%x*(%x%x%x%x%x%x%x%x)\n") or "0", 16)
  return low % (2 * SETGID) >= SETGID and low % (2 * SETUID) >= SETUID
end

local function look_up(kind, name)
  local found, err = core.privileges["lookup_" .. kind](name)
  if not found then
    return nil, E.new(err.code, "%s: %s", kind, err.message)
  end
  return found
end

--- Check `user` and `group` of a cluster's options.
---@param options table
---@return true? ok, brood.Error? err
function M.check(options)
  for _, kind in ipairs { "user", "group" } do
    local name = options[kind]
    if name ~= nil then
      local found, err = look_up(kind, name)
      if not found then
        return nil, err
      elseif not may_change() then
        return nil, E.new("EPERM", "%s = %s: only root can make workers become somebody else; start brood as root, "
          .. "or leave `%s` out", kind, tostring(name), kind)
      end
    end
  end
  return true
end

return M
