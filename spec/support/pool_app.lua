--- A master with a job pool for specs: its worker does as its job says, and its app enqueues, asks and tells over HTTP.
local brood = require "brood"
local masters = require "spec.support.master"
local s = require "spec.support"

local M = {}

---What a job says: { sleep =, fail =, progress = {...}, die =, note =, value = }.
M.WORKER = [[
local brood, posix = require "brood", require "brood.posix"
return function(job, options)
  local data = type(job.data) == "table" and job.data or { value = job.data }
  if data.note then
    local file = io.open(options.notes, "a")
    file:write(("%s %s\n"):format(tostring(data.note), VERSION or "old"))
    file:close()
  end
  for _, value in ipairs(data.progress or {}) do
    job:progress(value)
  end
  if data.sleep then brood.sleep(data.sleep) end
  if data.fail then error { message = data.fail, code = "mine", retry = false, extra = { 1 } } end
  if data.die then posix.kill(posix.getpid(), 9) end
  return { id = job.id, pid = posix.getpid(), value = data.value, version = VERSION or "old", user = posix.getuid() }
end
]]

---POST /jobs enqueues its body (JSON: what the job says, and `options`), GET /jobs/ID finds it, POST /run waits for it.
M.APP = [[
local brood, posix = require "brood", require "brood.posix"
local pool = brood.pool "work"
local function show(job)
  return brood.json.encode {
    id = job.id, state = job.state, attempt = job.attempt, result = job.result, data = job.data,
    progress = job.last_progress, err = job.err and { message = job.err.message, code = job.err.code, extra = job.err.extra },
  } .. "\n"
end
local kept = {}
local routes = {}
routes["/pid"] = function(req, res) res:finish(tostring(posix.getpid())) end
routes["/jobs"] = function(req, res)
  local data = brood.json.decode(req:body())
  local options = data.options
  data.options = nil
  local job = pool:enqueue(data, options)
  kept[job.id] = job
  res:finish(job.id)
end
routes["/many"] = function(req, res)
  local data = brood.json.decode(req:body())
  local ids = {}
  for i = 1, data.count do
    ids[i] = pool:enqueue({ sleep = data.sleep, note = data.note and data.note .. i, value = i }).id
  end
  res:finish(brood.json.encode(ids))
end
routes["/run"] = function(req, res)
  local data = brood.json.decode(req:body())
  local result, err = pool:run(data)
  res:finish(brood.json.encode { result = result, err = err and { message = err.message, code = err.code } })
end
routes["/stats"] = function(req, res) res:finish(brood.json.encode(pool:stats())) end
routes["/kept"] = function(req, res) res:finish(show(kept[req.query])) end
routes["/wait"] = function(req, res)
  local job = pool:get(req.query)
  local result, err = job:wait()
  res:finish(brood.json.encode { result = result, err = err and { message = err.message, code = err.code } })
end
routes["/abort"] = function(req, res)
  local job = pool:get(req.query)
  res:finish(tostring(job:abort()))
end
routes["/events"] = function(req, res)
  local job = pool:get(req.query)
  local done = false
  job:on("*", function(event, value)
    res:write(event .. " " .. tostring(type(value) == "table" and (value.message or value.value) or value) .. "\n")
    if event == "success" or event == "failure" or event == "abort" then res:finish() end
  end)
end
routes["/lua"] = function(req, res)
  local chunk = assert(loadstring(req:body()))
  res:finish(tostring((chunk(pool, brood, posix))))
end
return function(req, res)
  local id = req.path:match "^/jobs/(.+)"
  if not id then return routes[req.path](req, res) end
  local job, err = pool:get(id)
  if not job then return res:status(404):finish(tostring(err)) end
  res:finish(show(job))
end
]]

local CONFIG = [[
  clusters = { other = { app = "app.lua", listen = "127.0.0.1:0", workers = 1 } },
  pools = { work = { worker = "work.lua", options = { notes = here .. "/done" }, respawn_delay = 0.01, %s } },
  graceful_timeout = 10, %s
]]

---@class spec.PoolMaster: spec.Master
local PoolMaster = setmetatable({}, { __index = masters.class })
PoolMaster.__index = PoolMaster

---@param options? { pool?: string, config?: string, worker?: string, app?: string, args?: string[] }
local function complete(options)
  options = options or {}
  return {
    workers = 1, app = options.app or M.APP, before = options.before, args = options.args,
    config = CONFIG:format(options.pool or "max_processes = 2", options.config or ""),
    files = { ["work.lua"] = options.worker or M.WORKER },
  }
end

---Start a master with a pool named work, and two clusters of one worker: web and other.
---@param options? table
---@return spec.PoolMaster
function M.start(options)
  return setmetatable(masters.start(complete(options)), PoolMaster)
end

---HUP with other files, and wait until the new web workers alone answer; returns whether it went well, and what the log
---says of it.
---@param options? table
function PoolMaster:change(options)
  self:write(complete(options))
  local ok, log = self:hup()
  s.wait(function()
    local _, status = self:ask "/status"
    return #status.clusters.web.processes == 1 and #status.clusters.other.processes == 1
  end)
  return ok, log
end

---Where the other cluster listens.
---@return string
function PoolMaster:other()
  self:address()
  local _, status = self:ask "/status"
  return status.clusters.other.listen[1]
end

---@param path string
---@param body any sent as JSON; text as it is
---@param address? string
---@return string
function PoolMaster:post(path, body, address)
  local socket = s.connect(address or self:address())
  body = type(body) == "string" and body or brood.json.encode(body)
  socket:send(("POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"):format(path, #body,
    body))
  local response = socket:response()
  socket:close()
  assert(response.status == 200, response.body .. self:log())
  return response.body
end

---What GET /jobs/ID says, nil where it is not known.
---@param id string
---@param address? string
---@return table?
function PoolMaster:job(id, address)
  local response = s.get(address or self:address(), "/jobs/" .. id)
  return response.status == 200 and brood.json.decode(response.body) or nil
end

---Wait until the job has ended; what GET says then.
---@return table
function PoolMaster:ended(id, address)
  local job
  s.wait(function()
    job = self:job(id, address)
    return job and job.state == "ended"
  end, 10 * s.slow, function()
    return ("the end of job %s: %s\n%s"):format(id, brood.json.encode(job or {}), self:log())
  end)
  return job
end

---Run Lua in the web worker: ... is pool, brood, posix.
---@param code string
---@param address? string
---@return string
function PoolMaster:lua(code, address)
  return self:post("/lua", "local pool, brood, posix = ...\n" .. code, address)
end

---The pool's part of the status.
---@return table
function PoolMaster:pool()
  local _, status = self:ask "/status"
  return status.pools.work
end

---The lines that jobs noted when they ran.
---@return string[]
function PoolMaster:done()
  local list = {}
  for line in (s.read_file(self.dir .. "/done") or ""):gmatch "[^\n]+" do
    list[#list + 1] = line
  end
  return list
end

return M
