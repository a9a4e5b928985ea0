--- The places that a config names: paths made absolute, addresses that only one may have, and
--- the defaults that depend on where the config is. It looks at no file system.
local address = require "brood.rules.address"
local keys = require "brood.rules.schema_keys"
local kinds = require "brood.rules.kinds"
local paths = require "brood.rules.path"

local M = {}

local DEFAULT_LISTEN = "127.0.0.1:8080"

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
  if report and #parsed.path > address.UNIX_PATH_MAX then
    report {
      key = where, kind = "type", got = ("%d: %s"):format(#parsed.path, parsed.path),
      expected = ("the path of a Unix socket of at most %d bytes"):format(address.UNIX_PATH_MAX),
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
  if type(config.ready) == "table" and config.ready.socket then
    config.ready.socket = paths.absolute(directory, config.ready.socket)
  end
end

-- What of a port an address takes: all of it, or what the protocols named leave.
local function reach(parsed, ipv6only)
  local host = parsed.host
  if not host then
    return { any = true, v6 = true, v4 = not ipv6only }
  elseif host:find(":", 1, true) then
    local any = host:find("^[0:]+$") ~= nil
    return { any = any, v6 = true, v4 = any and not ipv6only }
  end
  -- What a name stands for is not known here, but for one.
  return { any = host == "0.0.0.0", v4 = host == "localhost" or host:find("^[%d.]+$") ~= nil, named = true }
end

local function overlap(a, b)
  if a.any or b.any then
    return a.v4 and b.v4 or a.v6 and b.v6 or a.named and b.v4 and b.v6 or b.named and a.v4 and a.v6
  end
  return false
end

-- Which address somebody has already taken that leaves no room for this one: the same, or all interfaces of its port.
-- Sockets with reuseport share one.
local function taken_by(taken, entry)
  local parsed = address.parse(entry.address)
  if not parsed or parsed.port == 0 then
    return nil
  end
  for _, other in ipairs(taken) do
    if other.text == entry.address then
      return other.where, true
    elseif parsed.kind == "tcp" and other.parsed.port == parsed.port and not (entry.reuseport and other.reuseport)
      and overlap(reach(parsed, entry.ipv6only), other.reach) then
      return other.where, false
    end
  end
end

local function take(taken, entry, where)
  local parsed = address.parse(entry.address)
  if parsed and parsed.port ~= 0 then
    taken[#taken + 1] = {
      text = entry.address, parsed = parsed, where = where, reuseport = entry.reuseport,
      reach = parsed.kind == "tcp" and reach(parsed, entry.ipv6only) or nil,
    }
  end
end

--- The entries of a `listen`: addresses made absolute, and those reported that leave no room for each other.
---@param list brood.ListenEntry[] changed
---@param where string
---@param taken table[] addresses that somebody has already; these are added
---@param directory? string
---@param report brood.Report
local function place_listeners(list, where, taken, directory, report)
  for i, entry in ipairs(list) do
    local at = #list == 1 and where or kinds.join(where, i)
    entry.address = M.place(entry.address, directory, at, report)
    local other, same = taken_by(taken, entry)
    if other then
      local problem = same and "is the same address as '%s'"
        or "leaves '%s' no room: one of them is all interfaces of that port"
      report { key = at, kind = "conflict", problem = problem:format(other) }
    end
    take(taken, entry, at)
  end
end

M.listeners = place_listeners

local function place_pool(pool, context)
  local worker = pool.worker
  if type(worker) == "string" then
    pool.worker = paths.absolute(context.directory, worker)
  elseif type(worker) == "table" and worker.cwd then
    worker.cwd = paths.absolute(context.directory, worker.cwd)
  end
  pool.max_processes = pool.max_processes or context.cpus
    and require("brood.rules.pool_options").max_processes(context.cpus)
end

local function place_backend(backend, context)
  for _, name in ipairs { "cwd", "stdout", "stderr" } do
    if type(backend[name]) == "string" then
      backend[name] = paths.absolute(context.directory, backend[name])
    end
  end
end

-- A port of its own is taken where it is likely to be bound.
local function place_services(services, taken, directory, report)
  for _, name in ipairs(kinds.sorted_keys(services)) do
    local service = services[name]
    require("brood.rules.services").place(service, directory)
    local port = type(service.port) == "number" and service.port
    local other = port and taken_by(taken, { address = ("127.0.0.1:%d"):format(port) })
    if other then
      report {
        key = kinds.join("services", name) .. ".port", kind = "conflict",
        problem = ("is the same port as '%s'"):format(other),
      }
    end
  end
end

local function place_proxy(proxy, taken, directory, report)
  place_listeners(proxy.listen or {}, "proxy.listen", taken, directory, report)
  for text, target in pairs(proxy.routes or {}) do
    local parsed = type(target) == "string" and target:find "[:/]" and address.parse(target)
    if parsed then
      proxy.routes[text] = M.place(address.format(parsed), directory, kinds.join("proxy.routes", text), report)
    end
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
  if config.proxy then
    place_proxy(config.proxy, taken, directory, report)
  end
  for _, pool in pairs(config.pools or {}) do
    place_pool(pool, context)
  end
  place_services(config.services or {}, taken, directory, report)
  for _, backend in pairs(config.backends or {}) do
    place_backend(backend, context)
  end
  local control = config.control
  if control and control.address then
    control.address = M.place(control.address, directory, "control", report)
    local other = taken_by(taken, control)
    if other then
      report { key = "control", kind = "conflict", problem = ("is the same address as '%s'"):format(other) }
    end
  end
end

return M
