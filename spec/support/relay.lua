--- A proxy of one address for specs, and servers behind it that are played by hand.
local s = require "spec.support"
local h = require "spec.support.http"

local M = {}

local BEFORE = [[
local forward = require "brood.proxy.forward"
local relay = require("brood.core").relay
local function show(err)
  local parts = { err.code }
  for _, name in ipairs { "sent", "came", "began", "kept", "whole", "client" } do
    parts[#parts + 1] = err[name] and name or nil
  end
  return table.concat(parts, " ") .. ": " .. tostring(err)
end
]]

-- Each request ends in a line: what became of it.
local HANDLER = [[
local ok, err = forward(req, res, { address = %q, %s })
if ok then
  return print("done " .. req.path)
end
print("failed " .. req.path .. ": " .. show(err))
if not err.began then
  res:status(err.code == "timeout" and 504 or err.code == "too_large" and 413 or 502):finish(err.code .. "\n")
end
]]

---A proxy of everything to one address. `options` and `server` are Lua source: options of forward beside the address,
---and those of the server; `before` comes before the server.
---@param to string
---@param options? string
---@param server? string
---@param before? string
---@return string address, spec.Program program
function M.front(to, options, server, before)
  return h.serve(HANDLER:format(to, options or ""), server, BEFORE .. (before or ""))
end

---A server played by hand on a Unix socket, and the proxy in front of it.
---@param options? string as for front
---@param server? string
---@param before? string
---@return string address, spec.Listener behind, spec.Program program
function M.pair(options, server, before)
  local behind = s.listen(s.temp_dir() .. "/up")
  local address, program = M.front(behind.address, options, server, before)
  return address, behind, program
end

---A request's head.
---@param method string
---@param path string
---@param lines? string each with its CRLF
---@return string
function M.head(method, path, lines)
  return ("%s %s HTTP/1.1\r\nHost: front\r\n%s\r\n"):format(method, path, lines or "")
end

---A small answer with a Content-Length.
---@param body string
---@param lines? string
---@return string
function M.answer(body, lines)
  return ("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n%s"):format(#body, lines or "", body)
end

return M
