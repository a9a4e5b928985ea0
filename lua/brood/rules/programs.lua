--- What a config can say of clusters whose workers are programs (`command`): which keys need an app,
--- which need a command, and what is worth knowing though nothing is wrong with it.
local clusters = require "brood.rules.clusters"
local kinds = require "brood.rules.kinds"
local ready_place = require "brood.rules.ready_place"

local M = {}

local NOT_SEEN = "brood does not see the requests of a program"

-- Why a program has no use for it.
local reasons = {
  timeout = 'brood cannot see whether the loop of a program turns; with ready = "notify" `watchdog` has it say so now '
    .. "and then",
  preload = "there is no Lua in a program that could be loaded in the master",
  access_log = NOT_SEEN .. ", which logs them itself",
  max_requests = NOT_SEEN .. "; `max_lifetime` and `max_memory` work",
  max_requests_jitter = NOT_SEEN,
}

local function entries(config)
  local list = { { "", config } }
  local others = type(config.clusters) == "table" and config.clusters or {}
  for _, name in ipairs(kinds.sorted_keys(others)) do
    if type(others[name]) == "table" then
      list[#list + 1] = { kinds.join("clusters", name) .. ".", others[name] }
    end
  end
  return list
end

-- Whether anybody has a use for what the top level says: itself, or a cluster that does not say it.
local function is_taken(config, key, kind)
  if config[kind] ~= nil or kind == "app" and config.proxy ~= nil and key ~= "preload" then
    return true
  end
  for i, one in ipairs(entries(config)) do
    if i > 1 and one[2][kind] ~= nil and one[2][key] == nil then
      return true
    end
  end
  return false
end

local function is_misplaced(config, entry, key, kind, other)
  if entry[key] == nil or entry[key] == false or entry[kind] ~= nil then
    return false
  elseif entry ~= config then
    return entry[other] ~= nil
  end
  return not is_taken(config, key, kind) and (kind == "command" or is_taken(config, key, other))
end

local function check_keys(config, report)
  for _, one in ipairs(entries(config)) do
    local prefix, entry = unpack(one)
    for _, key in ipairs(clusters.of_apps) do
      if is_misplaced(config, entry, key, "app", "command") then
        report { key = prefix .. key, kind = "conflict", problem = "cannot be used with a 'command': " .. reasons[key] }
      end
    end
    for _, key in ipairs(clusters.of_commands) do
      if is_misplaced(config, entry, key, "command", "app") then
        report { key = prefix .. key, kind = "conflict", problem = "is for a 'command', and there is none" }
      end
    end
  end
end

-- Each program would have a socket of its own, and nobody could take over that of one which has gone.
local function check_listen(entry, prefix, report)
  local list = entry.listen
  if type(list) ~= "table" or entry.command == nil then
    return
  end
  for i, one in ipairs(list.address ~= nil and { list } or list) do
    if type(one) == "table" and one.reuseport == true then
      report {
        key = prefix .. (list.address ~= nil and "listen" or kinds.join("listen", i)), kind = "conflict",
        problem = "can have reuseport only with an 'app': programs share one socket, so that no connection waits for "
          .. "one that is gone",
      }
    end
  end
end

-- How programs become ready.
local function check_ready(effective, report)
  for _, one in ipairs(entries(effective)) do
    local prefix, entry = unpack(one)
    local ready = entry.ready
    if type(ready) == "table" then
      local _, why = ready_place.target(ready)
      if why then
        report { key = prefix .. "ready", kind = "conflict", problem = "cannot be used: " .. why }
      end
    end
    ready = ready == nil and effective.ready or ready
    if entry.command and (entry.watchdog or effective.watchdog and entry.watchdog == nil) and ready ~= "notify" then
      report {
        key = (entry.watchdog and prefix or "") .. "watchdog", kind = "conflict",
        problem = 'needs ready = "notify": the program says WATCHDOG=1 where it says READY=1',
      }
    end
  end
end

--- Report what does not go with a command, and what needs one.
---@param config table as it was given
---@param effective brood.Config loses what nobody has a use for
---@param report brood.Report
function M.check(config, effective, report)
  check_keys(config, report)
  for _, one in ipairs(entries(config)) do
    check_listen(one[2], one[1], report)
  end
  check_ready(effective, report)
  for _, key in ipairs(clusters.of_apps) do
    if not is_taken(effective, key, "app") then
      effective[key] = nil
    end
  end
end

-- ---- what is worth knowing ------------------------------------------------------------------------------------------

local function port_of(entry)
  return tonumber(not entry.address:find "^unix:" and entry.address:match ":(%d+)$" or nil)
end

-- Whether who looks there may meet any worker of this cluster.
local function is_shared(target, listen)
  for _, entry in ipairs(listen or {}) do
    if target.socket and entry.address == "unix:" .. target.socket or target.port and port_of(entry) == target.port then
      return true
    end
  end
  return false
end

--- What keeps no cluster of programs from starting, and is worth knowing.
---@param cluster table its options: command, ready, listen, user
---@param after_fork function? its hook
---@return { key: string, text: string, urgent: boolean? }[] urgent: programs may have more rights than was meant
function M.advice(cluster, after_fork)
  local list = {}
  local unhooked = require "brood.rules.unhooked"(cluster, after_fork, cluster.user, "here or at the top level")
  if unhooked then
    list[1] = { key = "command", text = unhooked, urgent = true }
  elseif after_fork then
    list[1] = { key = "command", text = "after_fork does not run for programs: it is Lua, and there is none in them" }
  end
  local target = type(cluster.ready) == "table" and ready_place.target(cluster.ready)
  if target and is_shared(target, cluster.listen) then
    list[#list + 1] = {
      key = "ready", text = "all workers of this cluster accept there, so that an old one may answer for a new one: "
        .. 'ready = "notify" is the word of the new one itself',
    }
  end
  return list
end

return M
