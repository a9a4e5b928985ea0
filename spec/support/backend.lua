--- Backends under test, in the spec's own process, and the programs that they run. What a test leaves running is killed
--- by `cleanup`, which is to be the suite's teardown.
local Backend = require "brood.backend"
local brood = require "brood"
local s = require "spec.support"
require "spec.support.process" -- what watches signals and orphans stays for good: no test's leak

-- So do the one inotify descriptor of libuv, and what leads to our own output.
for fd = 1, 2 do
  require("brood.spinner.terminal").at(fd)
end
local watch = require("luv").new_fs_event()
watch:start("/", {}, function() end)
watch:close()

local M = {}
local made = {}

local HEAD = [[
local brood, http, posix, uv = require "brood", require "brood.http", require "brood.posix", require "luv"
local SOCKET = os.getenv "SOCKET"
local function exists(path) return uv.fs_stat(path) ~= nil end
local function wait_for(path) while not exists(path) do brood.sleep(0.005) end end
local function on(signal, fn) local watch = uv.new_signal() watch:start(signal, fn) watch:unref() end
local function note(text) local fd = uv.fs_open(arg[1] .. "/notes", "a", 384) uv.fs_write(fd, text .. "\n") uv.fs_close(fd) end
local function serve(handler)
  server = http.server(handler or function(req, res) res:finish(posix.getpid() .. " " .. req.path) end)
  assert(server:listen(SOCKET and "unix:" .. SOCKET or "127.0.0.1:" .. os.getenv "PORT"))
  return server
end
]]

---A backend whose programs the end of the test ends.
---@param options brood.BackendOptions
---@return brood.Backend
function M.new(options)
  local backend = Backend.new(options)
  table.insert(made, backend)
  return backend
end

---One whose program is this Lua text, behind serve([handler]), wait_for(path), on(signal, fn) and note(text). `arg[1]`
---is a folder for both of us, the second result.
---@param text string
---@param options? table
---@return brood.Backend backend, string dir
function M.lua(text, options)
  local dir = s.temp_dir()
  local all = { command = { s.binary, "exec", s.write_file(dir .. "/app.lua", HEAD .. text), dir }, name = "app" }
  for name, value in pairs(options or {}) do
    all[name] = value
  end
  return M.new(all), dir
end

---One that runs `sh -c text`.
---@param text string
---@param options? table
---@return brood.Backend
function M.sh(text, options)
  local all = { command = { "sh", "-c", text }, name = "app" }
  for name, value in pairs(options or {}) do
    all[name] = value
  end
  return M.new(all)
end

---What the programs noted, as a list of lines.
---@param dir string
---@return string[]
function M.notes(dir)
  local list = {}
  for line in (s.read_file(dir .. "/notes") or ""):gmatch "[^\n]+" do
    list[#list + 1] = line
  end
  return list
end

---One GET on a connection: the answer's body, up to its end. It does not close the connection.
---@param conn brood.Conn
---@param path? string
---@return string
function M.ask(conn, path)
  conn:write(("GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"):format(path or "/"))
  local pieces = {}
  for piece in conn:chunks() do
    pieces[#pieces + 1] = piece
  end
  return (table.concat(pieces):match "\r\n\r\n(.*)$")
end

---Connect, ask, close: the body, or nil and the error.
---@param backend brood.Backend
---@param path? string
---@return string?, brood.Error?
function M.get(backend, path)
  local conn, err = backend:connect()
  if not conn then
    return nil, err
  end
  local body = M.ask(conn, path)
  conn:close()
  return body
end

---The folder of the sockets, where there is one.
---@return string?
function M.folder()
  local uv = require "luv"
  local scan = uv.fs_scandir(os.getenv "TMPDIR")
  for name in function() return scan and uv.fs_scandir_next(scan) end do
    local path = os.getenv "TMPDIR" .. "/" .. name
    if name:find "^brood%-......$" and s.exists(path .. "/sockets.pid") then
      return path
    end
  end
end

---An HTTP server of ours for the rest of the test, for what needs requests of a client.
---@param handler fun(req: brood.Request, res: brood.Response)
---@return brood.http.Server server, string address
function M.front(handler)
  local server = require("brood.http").server(handler)
  assert(server:listen "127.0.0.1:0")
  table.insert(made, { over = function()
    server:destroy()
  end })
  return server, (server:address())
end

---KILL what still runs, and wait for it; nothing may be left of it then.
function M.cleanup()
  for i = #made, 1, -1 do
    local one = made[i]
    made[i] = nil
    if one.over then
      one.over()
    else
      one:close(function() end)
      one:kill()
    end
  end
  assert(not M.folder(), "a folder of sockets is left")
  brood.sleep(0)
end

return M
