--- Spinners and services under test, in the spec's own process. What a test leaves running is killed by `cleanup`, to
--- be the suite's teardown.
local s = require "spec.support"
local Spinner = require "brood.spinner"
local uv = require "luv"
require "spec.support.process" -- what watches signals and orphans stays for good: no test's leak

local M = {}
local made = {}

-- A range of its own for each spec process; who looks for free ports there finds them all the same.
local first = 10000 + (uv.os_getpid() * 97) % 20000

---Ports that this spec may have, from the n-th of its own on.
---@param n? integer
---@param count? integer
---@return integer[]
function M.ports(n, count)
  return { first + (n or 0), first + (n or 0) + (count or 50) - 1 }
end

---A spinner that the end of the test ends.
---@param options? table
---@return brood.Spinner
function M.new(options)
  local all = { ports = M.ports(), timeout = 5 * s.slow }
  for name, value in pairs(options or {}) do
    all[name] = value
  end
  local spinner = Spinner.new(all)
  table.insert(made, spinner)
  return spinner
end

---One for brood's own rooms.
---@param defaults table
---@param inner table
---@return brood.Spinner
function M.make(defaults, inner)
  local spinner = Spinner.make(defaults, inner)
  table.insert(made, spinner)
  return spinner
end

M.SERVER = [[
  local brood, uv, posix = require "brood", require "luv", require "brood.posix"
  local where = os.getenv "PORT"
  local server
  function listen(place, text)
    place = place or where
    local unix = place:find("/", 1, true)
    server = unix and uv.new_pipe(false) or uv.new_tcp()
    if unix then assert(server:bind(place)) else assert(server:bind("127.0.0.1", tonumber(place))) end
    assert(server:listen(64, function()
      local conn = unix and uv.new_pipe(false) or uv.new_tcp()
      server:accept(conn)
      conn:read_start(function(err, data)
        if err or not data then return conn:close() end
        local body = (text or function() return tostring(posix.getpid()) end)(data)
        local status = body == false and "500 No" or "200 OK"
        body = body or ""
        conn:write(("HTTP/1.1 %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"):format(status, #body, body),
          function() conn:close() end)
      end)
    end))
  end
]]

---The command of a Lua program that runs this text behind `listen(place, answer)`; "listen()" without a word.
---@param text? string
---@param name? string
---@return string[]
function M.server(text, name)
  return { s.binary, "exec", s.write_file(name or "server.lua", M.SERVER .. (text or "listen()")) }
end

---What is answered on a port or a socket.
---@param port integer|string
---@return string? body nil where nobody does
---@return brood.Error? why
function M.ask(port)
  local http = require "brood.http"
  local answer, why = http.request(type(port) == "string" and { socket = port, path = "/" }
    or { url = ("http://127.0.0.1:%d/"):format(port) })
  return answer and answer.body, why
end

---Record every event of a service but `state`: a list of lists.
---@param service brood.Service
---@return table[]
function M.record(service)
  local list = {}
  service:on("*", function(name, ...)
    if name ~= "state" then
      table.insert(list, { name, ... })
    end
  end)
  return list
end

---The names of what was recorded, in one line.
---@param list table[]
---@return string
function M.names(list)
  local names = {}
  for i, event in ipairs(list) do
    names[i] = event[1]
  end
  return table.concat(names, " ")
end

---A file, and a function that gives its lines: what services write tells of them.
---@return string path, fun(): string[]
function M.journal()
  local path = s.write_file("journal", "")
  return path, function()
    local lines = {}
    for line in s.read_file(path):gmatch "[^\n]+" do
      table.insert(lines, line)
    end
    return lines
  end
end

---KILL what still runs, and wait for it.
function M.cleanup()
  for i = #made, 1, -1 do
    local spinner = made[i]
    made[i] = nil
    spinner:hurry(9, 0)
    spinner:stop_all()
  end
end

return M
