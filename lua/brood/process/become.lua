--- `worker:user`: in after_fork a worker becomes another user, for good. Where nothing of it may fail half way, the
--- process ends. What else a worker is, others know.
local core = require "brood.core"
local E = require "brood.error"
local log = require "brood.log"

local function bad(text)
  error("worker:user: " .. tostring(text), 3)
end

local function group_id(name)
  local found, err = core.privileges.lookup_group(name)
  return found and found.gid, err
end

-- Half a drop must not serve a single request, nor can it be caught. The master hears of the reason.
local function give_up(inner, err)
  local at = debug.getinfo(3, "Sl")
  local reason = E.new(err.code, "%s:%d: worker:user: %s", at.short_src, at.currentline, err.message)
  local peer = inner.peer
  peer:post("failed", reason)
  if not peer:flush_blocking(1) then
    log.error(reason)
  end
  core.exit(1)
end

--- Become this user and group now. Raises where there is no such user, and blames the caller's caller, of which this is
--- to be the tail call.
---@param self table the worker; gets `dropped`, and is `settled` once it is too late
---@param inner brood.Worker? the line to the master, in the worker itself
---@param name string|integer
---@param group_name? string|integer default: the user's own
return function(self, inner, name, group_name)
  if not inner then
    bad "only in after_fork, where the worker itself runs; here it would be the master's end"
  elseif rawget(self, "settled") then
    bad "only in after_fork, before the app is loaded"
  end
  local user, err = core.privileges.lookup_user(name)
  if not user then
    bad(err)
  end
  local gid = user.gid
  if group_name ~= nil then
    gid, err = group_id(group_name)
    if not gid then
      bad(err)
    end
  elseif not gid then
    bad(("%s has no group of its own: name one"):format(tostring(name)))
  end
  local ok
  ok, err = core.privileges.drop(user.uid, gid, user.name)
  if not ok then
    give_up(inner, err)
  end
  rawset(self, "dropped", true)
end
