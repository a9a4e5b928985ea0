--- What this process may do that not everybody may: who it is, its capabilities, how far its limits can go.
--- Loaded only where a config asks for such things; it changes nothing.
local core = require "brood.core"
local E = require "brood.error"
local files = require "brood.files"

local M = {}

local bits = { CHOWN = 0, SETGID = 6, SETUID = 7, NET_BIND_SERVICE = 10, SYS_RESOURCE = 24 }

local function read(path)
  return files.read(path) or ""
end

-- An id that is real, effective and saved at once; nil where they differ.
local function only_id(status, name)
  local real, effective, saved = status:match("\n" .. name .. ":%s*(%d+)%s+(%d+)%s+(%d+)")
  return real == effective and real == saved and tonumber(real) or nil
end

---@class brood.Rights
---@field uid? integer nil where the real, effective and saved one differ
---@field gid? integer
---@field groups table<integer, true> its own and the supplementary ones
---@field may table<string, boolean> by the name of a capability, without CAP_

--- What we are and may now.
---@return brood.Rights
function M.now()
  local status = read "/proc/self/status"
  local low = tonumber(status:match("\nCapEff:%s*%x*(%x%x%x%x%x%x%x%x)\n") or "0", 16)
  local self = { uid = only_id(status, "Uid"), gid = only_id(status, "Gid"), groups = {}, may = {} }
  for name, bit in pairs(bits) do
    self.may[name] = math.floor(low / 2 ^ bit) % 2 == 1
  end
  for gid in (status:match("\nGroups:([^\n]*)") or ""):gmatch("%d+") do
    self.groups[tonumber(gid)] = true
  end
  if self.gid then
    self.groups[self.gid] = true
  end
  return self
end

-- Whether becoming that user and group leaves us what we are. Root also sheds its supplementary groups.
local function is_already(rights, user, group)
  local gid = group and group.gid or user and user.gid
  return rights.uid ~= 0 and (not user or user.uid == rights.uid) and (not gid or gid == rights.gid)
end

--- Why workers cannot become `user` and `group`; nil where they can.
---@param options { user?: string|integer, group?: string|integer }
---@return brood.Error?
---@return string? key which of the two
function M.identity(options)
  local found = {}
  for _, kind in ipairs { "user", "group" } do
    if options[kind] ~= nil then
      local err
      found[kind], err = core.privileges["lookup_" .. kind](options[kind])
      if not found[kind] then
        return E.of(kind, err), kind
      end
    end
  end
  local rights = M.now()
  if found.user and not found.user.gid and not found.group and not is_already(rights, found.user) then
    return E.new("EINVAL", "user = %s: it is a number without an entry, and so without a group of its own; name one "
      .. "with `group`", tostring(options.user)), "user"
  end
  if rights.may.SETUID and rights.may.SETGID or is_already(rights, found.user, found.group) then
    return nil
  end
  local kind = found.user and (found.user.uid ~= rights.uid or not found.group) and "user" or "group"
  return E.new("EPERM", "%s = %s: only root can make workers become somebody else; start brood as root, "
    .. "or leave `%s` out", kind, tostring(options[kind]), kind), kind
end

local in_proc = {
  as = "address space", core = "core file size", cpu = "cpu time", data = "data size", fsize = "file size",
  locks = "file locks", memlock = "locked memory", msgqueue = "msgqueue size", nice = "nice priority",
  nofile = "open files", nproc = "processes", rss = "resident set", rtprio = "realtime priority",
  rttime = "realtime timeout", sigpending = "pending signals", stack = "stack size",
}

local function as_number(value)
  return value == "unlimited" and math.huge or tonumber(value)
end

local function as_text(value)
  return value == math.huge and "unlimited" or ("%.14g"):format(value)
end

local function beyond(name, wanted, now, may_raise)
  local hard = as_number(now:match("\nMax " .. in_proc[name] .. "%s+%S+%s+(%S+)"))
  local most = name == "nofile" and tonumber(read "/proc/sys/fs/nr_open") or math.huge
  if hard and wanted > hard and not may_raise then
    return ("limits.%s = %s is above this process's hard limit of %s, and raising that needs CAP_SYS_RESOURCE"):format(
      name, as_text(wanted), as_text(hard))
  elseif wanted > most then
    return ("limits.%s = %s is above what this system allows anybody, %s (sysctl fs.nr_open)"):format(name,
      as_text(wanted), as_text(most))
  end
end

--- Why limits cannot be set, by name.
---@param limits table<string, { soft: integer|string, hard: integer|string }>
---@return table<string, string>
function M.limits(limits)
  local now, may_raise, found = read "/proc/self/limits", M.now().may.SYS_RESOURCE, {}
  for name, limit in pairs(limits) do
    found[name] = beyond(name, as_number(limit.hard), now, may_raise)
  end
  return found
end

--- Check what a cluster asks for: found out before anything is forked, in place of once per worker.
---@param options { user?: string|integer, group?: string|integer, limits?: table }
---@return brood.Error? err the first reason why its workers cannot have it
function M.check(options)
  local err = M.identity(options)
  local _, problem = next(options.limits and M.limits(options.limits) or {})
  return err or problem and E.new("EPERM", "%s", problem) or nil
end

return M
