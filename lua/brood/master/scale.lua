--- How many workers a master's clusters keep while it runs: a number, one more, one fewer, none. The wishes
--- of operators and hooks; how a cluster grows and shrinks is its own business.
local log = require "brood.log"
local stop = require "brood.master.stop"
local transition = require "brood.master.transition"

local M = {}

local WORKERS_MAX = 65535

local function scale(self, name, n, done)
  local web = self.clusters[name]
  if not web then
    return done() -- a newer config has none of that name
  end
  if n ~= web.group.size then
    log.info(("%s: scaling from %d to %d workers"):format(name, web.group.size, n))
  end
  self.drained[name] = nil
  web:scale(n, done)
end

--- Keep n workers of a cluster.
---@param self brood.Master
---@param name string
---@param n integer
---@param done fun(err: brood.Error?)
function M.to(self, name, n, done)
  transition.wish(self, "scale", function(_, over)
    scale(self, name, n, over)
  end, done)
end

-- What was drained has the number again that its config says.
local function undrain(self, done)
  local list = {}
  for _, web in ipairs(self.order) do
    list[#list + 1] = self.drained[web.name] and web or nil
  end
  stop.each(list, function(web, one_less)
    scale(self, web.name, web.options.workers, one_less)
  end, done)
end

--- One worker more or fewer, but not fewer than one: of the cluster web where there is one, else of the first. After a
--- drain "one more" means the number that the config says, of each cluster.
---@param self brood.Master
---@param by 1|-1
---@param done fun(err: brood.Error?)
function M.step(self, by, done)
  transition.wish(self, "scale", function(_, over)
    if by > 0 and next(self.drained) ~= nil then
      return undrain(self, over)
    end
    local web = self.clusters.web or self.order[1]
    local n = web and web.group.size + by
    if not n or n < 1 or n > WORKERS_MAX then
      log.info(web and ("%s: stays at %d workers"):format(web.name, web.group.size) or "there are no workers yet")
      return over()
    end
    scale(self, web.name, n, over)
  end, done)
end

--- Take all workers away gracefully.
---@param self brood.Master
---@param done fun(err: brood.Error?)
function M.drain(self, done)
  transition.wish(self, "drain", function(_, over)
    log.info("draining: all workers finish and go, the master stays")
    stop.each(self.order, function(web, one_less)
      self.drained[web.name] = true
      web:scale(0, one_less)
    end, over)
  end, done)
end

--- Whether that many workers can be asked for.
---@param n any
---@return boolean
function M.is_number(n)
  return type(n) == "number" and n >= 0 and n <= WORKERS_MAX and n % 1 == 0
end

M.WORKERS_MAX = WORKERS_MAX

return M
