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

---@type table<string, fun(master: brood.Master, req: brood.Request): integer, table>
M.routes = {
  ["GET /health"] = function(master)
    local serving = master.state == "ready"
    return serving and 200 or 503, { status = serving and "ok" or master.state }
  end,
  ["GET /status"] = function(master)
    return 200, master:status()
  end,
  ["POST /reload"] = wish "reload",
  ["POST /reopen"] = wish "reopen",
  ["POST /upgrade"] = wish "upgrade",
  ["POST /stop"] = wish "quit",
  ["POST /terminate"] = wish "terminate",
  ["POST /scale"] = scale_to,
}

return M
