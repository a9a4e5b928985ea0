--- How many workers a master's clusters keep while it runs: a number, one more, one fewer, none. The wishes
--- of operators and hooks; how a cluster grows and shrinks is its own business.
local cause = require "brood.master.cause"
local count = require "brood.rules.count"
local join = require "brood.join"
local log = require "brood.log"
local transition = require "brood.master.transition"

local M = {}

local WORKERS_MAX = 65535

local function scale(self, name, n, why, done)
  local web = self.clusters[name]
  if not web then
    return done() -- a newer config has none of that name
  end
  if n ~= web.group.size then
    log.info(("%s: scaling from %d to %s%s"):format(name, web.group.size, count(n, "worker"), why))
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
  local why = cause.note()
  transition.wish(self, "scale", function(_, over)
    scale(self, name, n, why, over)
  end, done)
end

-- What was drained has the number again that its config says.
local function undrain(self, why, done)
  local list = {}
  for _, web in ipairs(self.order) do
    list[#list + 1] = self.drained[web.name] and web or nil
  end
  join.each(list, function(web, one_less)
    scale(self, web.name, web.options.workers, why, one_less)
  end, done)
end

--- One worker more or fewer, but not fewer than one: of the cluster web where there is one, else of the first. After a
--- drain "one more" means the number that the config says, of each cluster.
---@param self brood.Master
---@param by 1|-1
---@param done fun(err: brood.Error?)
function M.step(self, by, done)
  local why = cause.note()
  transition.wish(self, "scale", function(_, over)
    if by > 0 and next(self.drained) ~= nil then
      return undrain(self, why, over)
    end
    local web = self.clusters.web or self.order[1]
    local n = web and web.group.size + by
    if not n or n < 1 or n > WORKERS_MAX then
      log.info(web and ("%s: stays at %s%s"):format(web.name, count(web.group.size, "worker"), why)
        or "there are no workers yet")
      return over()
    end
    scale(self, web.name, n, why, over)
  end, done)
end

--- Take all workers away gracefully.
---@param self brood.Master
---@param done fun(err: brood.Error?)
function M.drain(self, done)
  local why = cause.note()
  transition.wish(self, "drain", function(_, over)
    log.info(("draining%s: all workers finish and go, the master stays"):format(why))
    join.each(self.order, function(web, one_less)
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
