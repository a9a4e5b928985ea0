--- The app of a proxy's workers: each request goes where its route leads. It starts nothing itself, and no request
--- waits here for another one; what becomes of one on its way is proxy.targets' business.
local answers = require "brood.proxy.answers"
local files = require "brood.files"
local http = require "brood.http"
local routes = require "brood.rules.routes"
local targets = require "brood.proxy.targets"
local uv = require "luv"

local M = {}

local SPARE = 16 -- descriptors for what is neither a client's nor a target's: to listen, to read a file

-- How many clients this process has descriptors for, if each needs another one for its target; nil: nobody knows.
local function most_clients()
  local limit = tonumber((files.read "/proc/self/limits" or ""):match "Max open files%s+(%d+)")
  local dir = limit and uv.fs_opendir("/proc/self/fd", nil, 1)
  if not dir then
    return nil
  end
  local used = 0
  while dir:readdir() do
    used = used + 1
  end
  dir:closedir()
  return math.max(1, math.floor((limit - used - SPARE) / 2))
end

--- The app of one proxy.
---@param options brood.ProxyOptions with `routes` as a list, and `addresses` of clusters by name
---@return { server: brood.http.Server, start: function }
function M.new(options)
  local router, goals = routes.new(options.routes), targets.new(options)

  local function handle(req, res)
    local route, bad = router:find(req._host, req.path)
    if route then
      return goals:serve(route.target, req, res)
    end
    answers.no_route(res, bad)
  end

  local server = http.server(handle, { max_body = options.max_body })
  server.options.max_open = most_clients()
  return {
    server = server,
    start = function()
      return goals:start()
    end,
  }
end

return M
