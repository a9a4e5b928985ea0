--- Load on a server whose workers are killed under it: clients that keep their connections and clients that do not,
--- each of which knows which worker its request was in. The app answers with its pid.
local brood = require "brood"
local s = require "spec.support"
local uv = require "luv"

local M = {}

M.app = [[
local pid = tostring(require("brood.posix").getpid())
return function(req, res) res:finish(pid) end]]

---@class spec.Load
---@field answered integer
---@field failed { port: integer, why: string }[] requests without a whole answer
---@field refused integer connections that could not be made
---@field slowest number seconds
local Load = {}
Load.__index = Load

-- One request at a time on one connection; done() when the connection has ended or has had its share.
local function converse(load, share, done)
  local tcp = uv.new_tcp()
  local received, left, asked, over = "", share, nil, false
  local function finish(why)
    if over then return end
    over = true
    if why then
      table.insert(load.failed, { port = load.names[tcp], why = why })
    end
    load.names[tcp] = nil
    tcp:close()
    done()
  end
  local request = share == 1 and "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    or "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
  local function ask()
    if left == 0 or load.left <= 0 then
      return finish()
    end
    left, load.left, asked = left - 1, load.left - 1, uv.hrtime()
    tcp:write(request, function() end)
  end
  local function take()
    local head, body = received:match "^HTTP/1%.1 200 .-\r\n\r\n()()"
    if not head then return end
    local size = tonumber(received:match "[Cc]ontent%-[Ll]ength: (%d+)")
    if #received < body + size - 1 then return end
    received = received:sub(body + size)
    load.answered = load.answered + 1
    load.slowest = math.max(load.slowest, (uv.hrtime() - asked) / 1e9)
    asked = nil
    ask()
  end
  tcp:connect("127.0.0.1", load.port, function(err)
    if err then
      load.refused = load.refused + 1
      return finish()
    end
    load.names[tcp] = tcp:getsockname().port
    tcp:read_start(function(read_err, data)
      if over then
        return
      elseif data then
        received = received .. data
        return take()
      end
      -- A kept connection that ends while nothing was asked is no failure.
      finish(asked and (read_err or "EOF") or nil)
    end)
    ask()
  end)
end

---Run `total` requests over `clients` connections at a time, each of `share` requests.
---@param address string
---@param total integer
---@param kinds { clients: integer, share: integer }[]
---@return spec.Load
function M.start(address, total, kinds)
  local load = setmetatable({
    port = tonumber(address:match ":(%d+)$"), left = total, answered = 0, refused = 0, slowest = 0, failed = {},
    names = {}, running = 0,
  }, Load)
  for _, kind in ipairs(kinds) do
    for _ = 1, kind.clients do
      load.running = load.running + 1
      local function again()
        if load.left <= 0 then
          load.running = load.running - 1
          return
        end
        converse(load, kind.share, again)
      end
      again()
    end
  end
  return load
end

---Wait until all have been asked.
---@param seconds number
function Load:wait(seconds)
  s.wait(function() return self.running == 0 end, seconds, function()
    return ("%d clients to end; %d requests left, %d answered, %d failed"):format(self.running, self.left,
      self.answered, #self.failed)
  end)
end

-- The connections of a process, as the ports of the clients.
local function clients_of(pid, port)
  local inodes, ports, n = s.socket_inodes(pid), {}, 0
  for line in io.lines "/proc/net/tcp" do
    local at, peer, inode = line:match "^%s*%d+: %x+:(%x+) %x+:(%x+) %x+ %S+ %S+ %S+%s+%d+%s+%d+%s+(%d+)"
    if at and tonumber(at, 16) == port and inodes[inode] then
      ports[tonumber(peer, 16)], n = true, n + 1
    end
  end
  return ports, n
end

---KILL a worker every `pause` seconds while the load runs. Each victim is stopped first, so that which connections it
---holds is known exactly.
---@param pids fun(): integer[] the workers
---@param pause number
---@return { pid: integer, clients: table<integer, true> }[] victims
function Load:kill_workers(pids, pause)
  local victims = {}
  while self.running > 0 do
    brood.sleep(pause)
    local list = pids()
    local pid = list[#victims % math.max(1, #list) + 1]
    if pid and self.running > 0 then
      uv.kill(pid, "sigstop")
      s.wait(function()
        local stat = s.stat(pid)
        return not stat or stat.state == "T" or stat.state == "Z"
      end)
      local ports, n = clients_of(pid, self.port)
      table.insert(victims, { pid = pid, clients = ports, held = n })
      uv.kill(pid, "sigkill")
    end
  end
  return victims
end

return M
