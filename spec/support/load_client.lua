--- Drives spec/support/load_client.py, and has the app that answers it: a constant load from a process of its own, and
--- the fate of each request when it is over. See there for what is counted.
local brood = require "brood"
local lu = require "luaunit"
local s = require "spec.support"

local M = {}

---Answers /echo/TOKEN at once, /slow/TOKEN after 300 ms, /big/TOKEN with 5 MB, /stream/TOKEN with a byte every 50 ms
---for a second, which it goes on with while its worker is told to go; /pid with the worker's pid.
M.APP = [[
local brood, pid = require "brood", tostring(require("brood.posix").getpid())
local BIG, x = 5 * 2 ^ 20, ("x"):rep(2 ^ 20)
local kinds = {
  echo = function(res, token) res:finish(token) end,
  slow = function(res, token)
    brood.sleep(0.3)
    res:finish(token)
  end,
  big = function(res, token)
    res:header("content-length", BIG)
    res:write(token .. x:sub(#token + 1))
    for _ = 1, 4 do
      res:write(x)
    end
    res:finish()
  end,
  stream = function(res, token)
    res:write(token)
    for _ = 1, 20 do
      brood.sleep(0.05)
      res:write "x"
    end
    res:finish()
  end,
}
return function(req, res)
  local kind, token = req.path:match "^/(%l+)/(.*)$"
  if not kind then
    return res:finish(pid)
  end
  kinds[kind](res, token)
end]]

---Lanes that meet everything a reload may do harm to; QUICK has no long answers.
M.LANES = { "6:keep:echo:1", "6:short:echo:1", "6:keep:echo:150", "2:keep:slow:0", "2:short:slow:0", "1:keep:big:20",
  "1:short:big:20", "2:keep:stream:0", "2:short:stream:0" }
M.QUICK = { "8:keep:echo:1", "8:short:echo:1", "8:keep:echo:150" }

---@class spec.LoadClient
---@field program spec.Program
local LoadClient = {}
LoadClient.__index = LoadClient

---@param addresses string|string[]
---@param lanes string[]
---@param options? { requests?: integer, timeout?: number, seconds?: number }
---@return spec.LoadClient
function M.start(addresses, lanes, options)
  if type(addresses) == "table" then
    addresses = table.concat(addresses, ",")
  end
  local python = s.path_of "python3" or error "python3 is missing: run `make deps`"
  local argv = { python, s.root .. "/spec/support/load_client.py" }
  for name, value in pairs(options or {}) do
    table.insert(argv, ("--%s=%s"):format(name, value))
  end
  table.insert(argv, addresses)
  for _, lane in ipairs(lanes) do
    table.insert(argv, lane)
  end
  local program = s.start(argv)
  program:expect("started\n", 10)
  return setmetatable({ program = program }, LoadClient)
end

---The figures, once it is over.
---@return table
function LoadClient:finish()
  local result = self.program:finish(60)
  if result.code ~= 0 then
    error("the load client ended\n" .. result.stderr, 2)
  end
  return brood.json.decode(result.stdout)
end

---Stop asking, wait for what was asked, and give the figures.
---@return table
function LoadClient:stop()
  self.program:kill "TERM"
  return self:finish()
end

---Fails unless every request had its answer; `log` is told too, where one had not.
---@param figures table
---@param log? string
function M.whole(figures, log)
  lu.assertTrue(figures.ok > 0, "nothing was asked")
  if figures.failed ~= 0 then
    error(("%d of %d requests failed:\n%s\n%s"):format(figures.failed, figures.ok + figures.failed,
      brood.json.encode(figures), (log or ""):sub(-6000)), 2)
  end
end

return M
