--- As whom a child is to run: from names to numbers. Nobody becomes anybody here.
local core = require "brood.core"
local E = require "brood.error"

local OURSELVES = {}

--- Whom the options name, as numbers.
---@param o table
---@return table? id, brood.Error? err
return function(o)
  if o.user == nil and o.group == nil then
    return OURSELVES
  end
  local id = {}
  if o.user ~= nil then
    local user, err = core.privileges.lookup_user(o.user)
    if not user then
      return nil, err
    end
    id.uid, id.gid, id.user = user.uid, user.gid, user.name
  end
  if o.group ~= nil then
    local group, err = core.privileges.lookup_group(o.group)
    if not group then
      return nil, err
    end
    id.gid = group.gid
  elseif id.uid and not id.gid and (id.uid ~= core.posix.getuid() or id.uid == 0) then
    -- A number without an entry: ours, root's perhaps, would stay.
    return nil, E.new("EINVAL", "user %s has no group of its own: name one with `group`", tostring(o.user))
  end
  if id.user then
    id.groups = core.privileges.groups(id.user, id.gid)
  elseif id.gid then
    id.groups = { id.gid }
  end
  return id
end
