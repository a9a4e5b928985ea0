--- What the control server answers, by method and path: what runs, and what an operator wishes. A wish is
--- answered when it has come true, or with why not. It decides nothing: the master does.
local json = require "brood.json"
local scale = require "brood.master.scale"

local M = {}

-- The master is well, but this cannot be now.
local CONFLICT = { stopped = true, superseded = true, busy = true }

local function outcome(ok, err)
  if ok then
    return 200, { ok = true }
  end
  return CONFLICT[err.code] and 409 or 500, { error = err.message, code = err.code, replaced = err.replaced }
end

local function refuse(status, fmt, ...)
  return status, { error = fmt:format(...) }
end

local function wish(method)
  return function(master)
    return outcome(master[method](master))
  end
end

local function scale_to(master, req)
  local text, err = req:body()
  local given = text and json.decode(text)
  if not text then
    return refuse(err.code == "too_large" and 413 or 400, "%s", err.message)
  elseif type(given) ~= "table" then
    return refuse(400, 'the body must be JSON like {"cluster":"web","workers":4}')
  end
  local name = given.cluster
  if name == nil then
    name = (master.clusters.web or master.order[1] or {}).name
  end
  if type(name) ~= "string" or not master.clusters[name] then
    return refuse(404, "there is no cluster '%s'", tostring(name))
  elseif not scale.is_number(given.workers) then
    return refuse(400, "'workers' must be a whole number from 0 to %d", scale.WORKERS_MAX)
  end
  return outcome(master:scale(name, given.workers))
end

local function upgrade(master)
  local status, body = outcome(master:upgrade())
  body.new_pid = body.ok and master.new_pid or nil
  return status, body
end

local CALLS = { start = true, stop = true, restart = true }

-- Start, stop or restart a service: answered when it is done, or with why not.
local function service_route(name, what)
  return function(master)
    local service = master.services[name]
    if not service then
      local known = require("brood.rules.kinds").sorted_keys(master.services)
      return refuse(404, "there is no service '%s'; %s", name, known[1] and "the services are: "
        .. table.concat(known, ", ") or "the config has no services")
    end
    local value, err = service[what](service)
    if err then
      return (CONFLICT[err.code] and 409 or 500), { error = err.message, code = err.code }
    end
    return 200, { ok = true, port = what ~= "stop" and value ~= true and value or nil, pid = service.pid }
  end
end

-- Whether somebody serves: with one worker at least of each cluster that is to have any, and no service that is to run
-- given up for now.
local function health(master)
  if master.state ~= "ready" then
    return 503, { status = master.state, reason = "the master is " .. master.state }
  end
  local serving, missing, drained = false, {}, {}
  for _, web in ipairs(master.order) do
    if web.group:ready_count() > 0 then
      serving = true
    elseif master.drained[web.name] then
      table.insert(drained, web.name)
    elseif web.group.size > 0 then
      table.insert(missing, web.name)
    end
  end
  local trouble = master.programs and master.programs:trouble()
  if trouble then
    return 503, { status = "unavailable", reason = trouble }
  elseif missing[1] then
    return 503, { status = "unavailable", reason = ("no worker of %s is ready"):format(table.concat(missing, ", ")) }
  elseif drained[1] then
    return 503, { status = "drained", reason = ("%s: drained"):format(table.concat(drained, ", ")) }
  elseif not serving and (master.order[1] or not master.programs) then
    return 503, { status = "unavailable", reason = "no cluster is to have workers" }
  end
  return 200, { status = "ok" }
end

local endpoints -- below

local function index()
  local list = {}
  for i, one in ipairs(endpoints) do
    list[i] = { method = one[1], path = one[2], answer = one[4] }
  end
  return 200, { endpoints = list }
end

endpoints = {
  { "GET", "/", index, "this list" },
  { "GET", "/health", health, "200 while each cluster has a worker that is ready and no service that is to run is "
    .. "faulted, else 503 and the reason" },
  { "GET", "/status", function(master)
    return 200, master:status()
  end, "what runs" },
  { "POST", "/reload", wish "reload", "reads the config again: when the new workers serve, or why not" },
  { "POST", "/reopen", wish "reopen", "opens the log files anew" },
  { "POST", "/upgrade", upgrade, "starts a new master beside this one: its pid when it serves, or why not" },
  { "POST", "/scale", scale_to, 'so many workers, {"cluster":"web","workers":4}: when they serve, or why not' },
  { "POST", "/services/NAME/start", false, "starts a service: its port when it is ready, or why not" },
  { "POST", "/services/NAME/stop", false, "stops a service: when nothing of it is left" },
  { "POST", "/services/NAME/restart", false, "starts a service anew: its port when it is ready, or why not" },
  { "POST", "/stop", wish "quit", "stops gracefully: when all has ended" },
  { "POST", "/terminate", wish "terminate", "stops quickly: when all has ended" },
}

--- What answers a request; else the method that its path wants, where there is such a path.
---@param method string
---@param path string
---@return (fun(master: brood.Master, req: brood.Request): integer, table)? route, string? method
function M.find(method, path)
  local name, what = path:match "^/services/([^/]+)/(%a+)$"
  if name and CALLS[what] then
    return method == "POST" and service_route(name, what) or nil, "POST"
  end
  for _, one in ipairs(endpoints) do
    if one[2] == path then
      return one[1] == method and one[3] or nil, one[1]
    end
  end
end

return M
