--- The places that a config names: paths made absolute, addresses that only one may have, and
--- the defaults that depend on where the config is. It looks at no file system.
local address = require "brood.rules.address"
local keys = require "brood.rules.schema_keys"
local kinds = require "brood.rules.kinds"
local paths = require "brood.rules.path"

local M = {}

local DEFAULT_LISTEN = "127.0.0.1:8080"
local LONGEST_UNIX_PATH = 107 -- what sockaddr_un holds

--- An address as seen from a directory: a Unix socket's path made absolute. One that is too long for the kernel,
--- which would cut it silently, is reported.
---@param text string in normal form
---@param directory? string
---@param where string
---@param report? brood.Report
---@return string
function M.place(text, directory, where, report)
  local parsed = address.parse(text)
  if not parsed or parsed.kind ~= "unix" then
    return text
  end
  parsed.path = paths.absolute(directory, parsed.path)
  if report and #parsed.path > LONGEST_UNIX_PATH then
    report {
      key = where, kind = "type", got = ("%d: %s"):format(#parsed.path, parsed.path),
      expected = ("the path of a Unix socket of at most %d bytes"):format(LONGEST_UNIX_PATH),
    }
  end
  return address.format(parsed)
end

local path_keys = { "app", "working_directory", "pidfile", "stdout_path", "stderr_path", "access_log" }

local function place_paths(config, directory)
  for _, name in ipairs(path_keys) do
    local value = config[name]
    if type(value) == "string" and value ~= "-" then
      config[name] = paths.absolute(directory, value)
    end
  end
end

-- Which address somebody has already taken that leaves no room for this one: itself, or all interfaces of its port.
local function taken_by(taken, text, reuseport)
  local parsed = address.parse(text)
  if not parsed or parsed.port == 0 then
    return nil
  elseif taken[text] or parsed.kind ~= "tcp" or reuseport then
    return taken[text], true
  elseif parsed.host then
    return taken[(":%d"):format(parsed.port)], false
  end
  return taken["*" .. parsed.port], false
end

local function take(taken, text, where)
  local parsed = address.parse(text)
  taken[text] = taken[text] or where
  if parsed and parsed.kind == "tcp" then
    taken["*" .. parsed.port] = taken["*" .. parsed.port] or where
  end
end

local function place_listeners(list, where, taken, directory, report)
  for i, entry in ipairs(list) do
    local at = #list == 1 and where or kinds.join(where, i)
    entry.address = M.place(entry.address, directory, at, report)
    local other, same = taken_by(taken, entry.address, entry.reuseport)
    if other then
      local problem = same and "is the same address as '%s'"
        or "leaves '%s' no room: one of them is all interfaces of that port"
      report { key = at, kind = "conflict", problem = problem:format(other) }
    end
    take(taken, entry.address, at)
  end
end

--- Make paths and addresses absolute, and fill in what depends on the place.
---@param config brood.Config changed
---@param context brood.SchemaContext
---@param report brood.Report
function M.fill_in(config, context, report)
  local directory, taken = context.directory, {}
  place_paths(config, directory)
  config.working_directory = config.working_directory or directory
  config.workers = config.workers or context.cpus
  if config.app or config.command then
    config.listen = config.listen or { select(2, kinds.check(keys.listen_entry, DEFAULT_LISTEN, "listen", report)) }
    place_listeners(config.listen, "listen", taken, directory, report)
  end
  for _, name in ipairs(kinds.sorted_keys(config.clusters or {})) do
    local entry = config.clusters[name]
    place_paths(entry, directory)
    if entry.listen then
      place_listeners(entry.listen, kinds.join("clusters", name) .. ".listen", taken, directory, report)
    end
  end
  local control = config.control
  if control and control.address then
    control.address = M.place(control.address, directory, "control", report)
    local other = taken_by(taken, control.address)
    if other then
      report { key = "control", kind = "conflict", problem = ("is the same address as '%s'"):format(other) }
    end
  end
end

return M
