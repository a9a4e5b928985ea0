--- Masters for specs: a config and an app given as text, in a fresh directory, on port 0, with a control socket there.
local brood = require "brood"
local outcome_of_hup = require "spec.support.outcome"
local s = require "spec.support"

local M = {}

---@class spec.Master
---@field program spec.Program
---@field dir string of the config
---@field control string path of its socket
local Master = {}
Master.__index = Master

M.class = Master

local HELLO = 'return function(req, res) res:finish("hello\\n") end'

---For apps: note(...) writes a line for Master:notes(), wherever the app goes later.
M.NOTE = [[
local brood, posix = require "brood", require "brood.posix"
local where = require("luv").cwd() .. "/notes"
local function note(...)
  local file = io.open(where, "a")
  file:write(table.concat({ ... }, " "), "\n")
  file:close()
end
]]

---An app that sends back what comes, in capitals, for Master:echoes().
M.ECHO = [[
return require("brood.net").server(function(conn)
  for chunk in conn:chunks() do conn:write(chunk:upper()) end
end)]]

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
  local dir = options.dir or s.temp_dir()
  local self = setmetatable({ dir = dir, control = dir .. "/control.sock" }, Master)
  self:write(options)
  local args = options.args and options.args.whole or { "run", dir .. "/brood.lua", unpack(options.args or {}) }
  self.program = s.start({ options.binary or s.binary, unpack(args) }, { env = options.env, cwd = options.cwd })
  return self
end

---Write another config, and other files, for a reload: what is not given is as `M.start` has it; without `app` that
---file stays as it is.
---@param options { config?: string, app?: string, workers?: integer, files?: table<string, string>, before?: string }
function Master:write(options)
  local config = CONFIG:format(self.dir, options.workers or 2, options.config or "")
  s.write_file(self.dir .. "/brood.lua", (options.before or "") .. "\n" .. config)
  if options.app or not self.program then
    s.write_file(self.dir .. "/app.lua", options.app or HELLO)
  end
  for name, text in pairs(options.files or {}) do
    s.write_file(self.dir .. "/" .. name, text)
  end
end

---HUP, and wait for its outcome. Returns whether it went well, and what the log says of it.
---@param options? table as for `write`, which comes first
---@return boolean ok, string log
function Master:hup(options)
  self:address()
  if options then
    self:write(options)
  end
  local text = outcome_of_hup(self, 40)
  return text:find "reloaded in " ~= nil, text
end

---Wait until a request that its app takes up by writing the file "begun" is under way; returns its connection.
---@param path string
---@return spec.Socket
function Master:begin(path)
  local socket = s.connect(self:address())
  socket:send(("GET %s HTTP/1.1\r\nHost: x\r\n\r\n"):format(path))
  s.wait(function() return s.exists(self.dir .. "/begun") end)
  return socket
end

---Wait until it has two children and no more descriptors than before.
---@param before integer
function Master:settled(before)
  local pid = self.program.pid
  s.wait(function()
    return s.fd_count(pid) <= before and #s.child_pids(pid) == 2
  end, 5 * s.slow, function()
    return ("at most %d descriptors and two children; there are %d\n%s\n%s"):format(before, #s.child_pids(pid),
      brood.json.encode(s.fds(pid)), self:log())
  end)
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

---Have it send back a word in capitals, as M.ECHO does.
function Master:echoes()
  local socket = s.connect(self:address())
  socket:send "hello"
  socket:receive "HELLO"
  socket:close()
end

---Bring about that a hook is called which nothing but an end calls.
---@param hook string
function Master:bring_about(hook)
  if hook == "worker_exit" then
    require("luv").kill(self:pids()[1], "sigkill")
  elseif hook == "on_stop" then
    self:address()
    self.program:kill "QUIT"
  end
end

---What the control server answers: the status, and the decoded body.
---@param path string
function Master:ask(path)
  local response = s.get("unix:" .. self.control, path)
  return response.status, brood.json.decode(response.body)
end

---The same for another method: also the headers.
---@param method string
---@param path string
---@param body? string
---@return integer status, table body, table<string, string> headers
function Master:order(method, path, body)
  local socket = s.connect("unix:" .. self.control)
  socket:send(("%s %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"):format(method, path,
    #(body or ""), body or ""))
  local response = socket:response(method == "HEAD")
  socket:close()
  return response.status, method ~= "HEAD" and brood.json.decode(response.body) or {}, response.headers
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
