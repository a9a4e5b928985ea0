--- The app of a proxy's workers: each request goes where its route leads. It starts nothing itself, and no request
--- waits here for another one; what becomes of one on its way is proxy.targets' business.
local answers = require "brood.proxy.answers"
local http = require "brood.http"
local routes = require "brood.rules.routes"
local targets = require "brood.proxy.targets"

local M = {}

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

  return {
    server = http.server(handle, { max_body = options.max_body }),
    start = function()
      return goals:start()
    end,
  }
end

return M
