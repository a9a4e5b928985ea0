--- An entry of `listen`, a table, as the core takes it. It opens nothing.
local core = require "brood.core"
local duration = require "brood.rules.duration"
local E = require "brood.error"
local merged = require "brood.rules.merged"

local ids = { { "owner", "uid", core.privileges.lookup_user }, { "group", "gid", core.privileges.lookup_group } }

--- A copy with mode, owner and group as numbers.
---@param entry brood.ListenEntry
---@return table? resolved, brood.Error? err
return function(entry)
  local resolved = merged(entry, { mode = entry.mode and duration.parse_mode(entry.mode) })
  for _, id in ipairs(ids) do
    local name, field, look_up = unpack(id)
    if entry[name] ~= nil then
      local found, err = look_up(entry[name])
      if not found then
        return nil, E.of("cannot listen on " .. entry.address, err)
      end
      resolved[field] = found[field]
    end
  end
  return resolved
end
