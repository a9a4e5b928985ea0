--- Masters for specs: a config and an app given as text, in a fresh directory, on port 0, with a control socket there.
local brood = require "brood"
local s = require "spec.support"

local M = {}

---@class spec.Master
---@field program spec.Program
---@field dir string of the config
---@field control string path of its socket
local Master = {}
Master.__index = Master

local HELLO = 'return function(req, res) res:finish("hello\\n") end'

local CONFIG = [[
local brood, posix = require "brood", require "brood.posix"
local here = %q
local function note(...)
  local file, list = io.open(here .. "/notes", "a"), { ... }
  for i = 1, select("#", ...) do
    list[i] = tostring(list[i])
  end
  file:write(table.concat(list, " "), "\n")
  file:close()
end
return {
  app = "app.lua", listen = "127.0.0.1:0", workers = %d, control = "unix:control.sock",
%s
}
]]

---Start a master. In the text of the config, note(...) writes a line for master:notes().
---@param options? { config?: string, app?: string, workers?: integer, files?: table<string, string>, args?: string[],
---  env?: table, before?: string } config: more keys, as Lua source
---@return spec.Master
function M.start(options)
  options = options or {}
  local dir = s.temp_dir()
  local config = CONFIG:format(dir, options.workers or 2, options.config or "")
  s.write_file(dir .. "/brood.lua", (options.before or "") .. "\n" .. config)
  s.write_file(dir .. "/app.lua", options.app or HELLO)
  for name, text in pairs(options.files or {}) do
    s.write_file(dir .. "/" .. name, text)
  end
  local args = { "run", dir .. "/brood.lua", unpack(options.args or {}) }
  return setmetatable({
    program = s.brood(args, { env = options.env, cwd = options.cwd }), dir = dir, control = dir .. "/control.sock",
  }, Master)
end

---Wait until it serves; returns its first address.
---@return string
function Master:address()
  if not self.at then
    self.all = self.program:expect("workers serve ([^\n]+)\n", 20)
    self.at = self.all:match("^[^, ]+")
  end
  return self.at
end

---@param path? string
function Master:get(path)
  return s.get(self:address(), path)
end

---What the control server answers: the status, and the decoded body.
---@param path string
function Master:ask(path)
  local response = s.get("unix:" .. self.control, path)
  return response.status, brood.json.decode(response.body)
end

---Wait until its control server answers, whatever it says.
function Master:up()
  s.wait(function()
    return (pcall(s.get, "unix:" .. self.control, "/health"))
  end, 10, "the control server")
end

---The processes of its status.
---@return table[]
function Master:workers()
  self:address()
  local _, status = self:ask("/status")
  return status.clusters.web.processes
end

---The pids of the workers, oldest first.
---@return integer[]
function Master:pids()
  local list = {}
  for i, worker in ipairs(self:workers()) do
    list[i] = worker.pid
  end
  return list
end

---Wait until n workers are ready, and return them.
---@param n integer
---@return table[]
function Master:ready(n)
  self:address()
  local list
  s.wait(function()
    local _, status = self:ask("/status")
    list = status.clusters.web.processes
    return status.clusters.web.ready == n and #list == n
  end, 10, function()
    return n .. " ready workers\n" .. self.program:stderr()
  end)
  return list
end

---What the config noted so far, a line each.
---@return string
function Master:notes()
  return s.read_file(self.dir .. "/notes") or ""
end

---Wait until the notes match; returns the captures.
---@param pattern string
function Master:noted(pattern)
  local found
  s.wait(function()
    found = { self:notes():match(pattern) }
    return found[1]
  end, 10, function()
    return ("the note '%s'; there are:\n%s\nstderr: %s"):format(pattern, self:notes(), self.program:stderr())
  end)
  return unpack(found)
end

---Signal it, and wait for its end.
---@param signal string
---@return integer? code, integer? signal, number seconds
function Master:stop(signal)
  self:address()
  local seconds, code, number = s.timed(function()
    self.program:kill(signal)
    return self.program:wait(20)
  end)
  return code, number, seconds
end

---@return string
function Master:log()
  return self.program:stderr()
end

return M
