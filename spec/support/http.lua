--- Servers for specs: a script whose handler is given as text, on a port of its own.
local s = require "spec.support"

local M = {}

local HEAD = [[
local brood, http, net, timer = require "brood", require "brood.http", require "brood.net", require "brood.timer"
io.stdout:setvbuf "line"
local server
]]

local function start(text)
  local program = s.script(HEAD .. text .. '\nprint("at " .. server:address())')
  return program:expect("at (%S+)\n"), program
end

---An HTTP server; text is the body of function(req, res), in which `server` is the server.
---@param text string
---@param options? string Lua source of the options
---@param before? string Lua source that comes before the server
---@return string address, spec.Program program
function M.serve(text, options, before)
  return start(("%s\nserver = http.server(function(req, res)\n%s\nend, %s)\nassert(server:listen('127.0.0.1:0'))")
    :format(before or "", text, options or "{}"))
end

---A plain server; text is the body of function(conn).
---@param text string
---@return string address, spec.Program program
function M.serve_net(text)
  return start(("server = net.server(function(conn)\n%s\nend)\nassert(server:listen('127.0.0.1:0'))"):format(text))
end

---Send bytes, then our FIN, and take all that comes back.
---@param address string
---@param bytes string
---@return string
function M.exchange(address, bytes)
  local socket = s.connect(address)
  socket:send(bytes)
  socket:shutdown()
  local all = socket:receive_all()
  socket:close()
  return all
end

return M
