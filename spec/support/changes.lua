--- Changes of a running cluster, asked of the cluster itself inside its master: what it does with its workers does not
--- depend on who changes it.
local lu = require "luaunit"
local masters = require "spec.support.master"

local M = {}

-- What the code of a test may use: `web`, its workers as "GENERATION.SLOT", and a change of some of its options.
local HELP = [[
local brood = require "brood"
local web
local function eventually(fn, what)
  for _ = 1, 1000 do
    if fn() then return true end
    brood.sleep(0.01)
  end
  error("waited in vain for " .. what, 2)
end
local function change(more)
  local options = {}
  for key, value in pairs(web.options) do options[key] = value end
  for key, value in pairs(more) do options[key] = value end
  return web:change(options)
end
local function to(name)
  return { env = { GEN = name } }
end
local function workers(all)
  local list = {}
  for slot = 1, all and 0 or web.group.size do
    local member = web.group.holders[slot]
    local env = member and member.ready_at and member.generation.options.env
    list[slot] = env and ("%s.%d"):format(env.GEN, slot) or "none"
  end
  return table.concat(list, " ")
end
local function serving(wanted)
  eventually(function() return workers() == wanted end, wanted .. "; there are " .. workers())
end
local function alone(n) -- nobody else is left, or coming
  eventually(function() return #web.workers == n end, n .. " workers")
end
local function holder(slot) return web.group.holders[slot] end
local function text(err) return tostring(err):match "^[^\n]*" end
]]

-- Answers with its generation; /slow once there is a file `go`. `begun` and `left` count by their size.
local APP = [[
local brood = require "brood"
local gen = os.getenv("GEN") or "none"
local function add(name)
  local file = io.open(name, "a") file:write("x") file:close()
end
if brood.worker then
  brood.worker:on("stopping", function() add "left" end) -- it accepts no more
end
return function(req, res)
  if req.path == "/slow" then
    add "begun"
    while not io.open("go") do brood.sleep(0.01) end
  end
  res:finish(gen)
end]]

---A master whose code `go` runs once it serves; with `goes_on` this does not wait for its end.
---@param go string
---@param options? table as for masters.start, and goes_on
---@return spec.Master
function M.run(go, options)
  options = options or {}
  options.app = options.app or APP
  options.before = HELP .. (options.before or "")
  options.config = ([[
    env = { GEN = "a" },
    on_start = function(m)
      local done
      m:on("ready", function()
        if done then return end
        done, web = true, m.clusters.web
        local ok, err = xpcall(function() %s end, debug.traceback)
        if not ok then note("raised", err) end
        note "over"
      end)
    end, %s]]):format(go, options.config or "")
  local master = masters.start(options)
  if not options.goes_on then
    master:noted "over"
    lu.assertNotStrContains(master:notes(), "raised")
  end
  return master
end

---What the code has noted.
---@param master spec.Master
---@return string
function M.notes(master)
  return (master:notes():gsub("over\n$", ""))
end

return M
