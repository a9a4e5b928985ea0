--- Readiness: when a started child counts as ready. Each kind is a function
--- (run, done) that calls done() once the child is, done(err) when it cannot
--- become it, and returns a function that gives up waiting.
local address = require "brood.rules.address"
local E = require "brood.error"
local timer = require "brood.timer"
local uv = require "luv"

local M = {}

local FIRST, LONGEST = 0.005, 0.1 -- seconds between two looks
local CONNECT = 1 -- seconds a connection may take: a full backlog keeps it waiting for minutes
local ANSWER = 2 -- seconds an answer may take

-- Try one address. done(err) or done(nil, handle), once.
local function connect_one(target, host, done)
  local handle = target.socket and uv.new_pipe(false) or uv.new_tcp()
  local over, limit = false, nil
  local function finish(err)
    if over then
      return
    end
    over = true
    limit:cancel()
    if err then
      handle:close()
      return done(err)
    end
    done(nil, handle)
  end
  limit = timer.after(CONNECT, function()
    finish("ETIMEDOUT")
  end)
  local ok, why
  if target.socket then
    ok, why = handle:connect(target.socket, finish)
  else
    ok, why = handle:connect(host, target.port, finish)
  end
  if not ok then
    finish(why)
  end
end

-- Try to connect once. Who names no host may mean either family: "localhost" is both.
local function connect(target, done)
  connect_one(target, target.host or "127.0.0.1", function(err, handle)
    if not err or target.host or target.socket then
      return done(err, handle)
    end
    connect_one(target, "::1", done)
  end)
end

-- Look again and again, less and less often, until look(found) succeeds or waiting is given up.
local function poll(look, done)
  local wait, waiting, stopped = FIRST, nil, false
  local function again()
    waiting = nil
    look(function(found)
      if stopped then
        return
      elseif found then
        return done()
      end
      waiting = timer.after(wait, again)
      wait = math.min(LONGEST, wait * 1.5)
    end)
  end
  again()
  return function()
    stopped = true
    if waiting then
      waiting:cancel()
    end
  end
end

local function accepts(target)
  return function(found)
    connect(target, function(err, handle)
      if not err then
        handle:close()
      end
      found(not err)
    end)
  end
end

-- One GET, only to see whether the status line is a good one.
local function answers(target)
  return function(found)
    connect(target, function(err, handle)
      if err then
        return found(false)
      end
      local got, over = "", false
      local limit
      local function finish(good)
        if not over then
          over = true
          limit:cancel()
          handle:close()
          found(good)
        end
      end
      limit = timer.after(ANSWER, function()
        finish(false)
      end)
      handle:write(("GET %s HTTP/1.0\r\nHost: %s\r\n\r\n"):format(target.path, target.name))
      handle:read_start(function(read_err, chunk)
        got = got .. (chunk or "")
        local status = got:match("^HTTP/1%.%d (%d%d%d)")
        if status then
          finish(status:match("^[23]") ~= nil)
        elseif read_err or not chunk or #got > 64 then
          finish(false)
        end
      end)
    end)
  end
end

-- The parts of http://host:port/path, where the host may be [v6].
local function parse_url(url)
  local rest = url:match("^http://(.+)$")
  local host, after = (rest or ""):match("^%[([%x:.]+)%](.*)$")
  if not host then
    host, after = (rest or ""):match("^([^/:%[%]]+)(.*)$")
  end
  if not host then
    return nil
  end
  local port, path = after:match("^:(%d+)(.*)$")
  path = port and path or after
  if path ~= "" and path:sub(1, 1) ~= "/" then
    return nil
  end
  return host, tonumber(port or 80), path == "" and "/" or path, rest:match("^[^/]+")
end

local function is_port(port)
  return type(port) == "number" and port % 1 == 0 and port > 0 and port < 65536
end

local function is_ip(host)
  return type(host) == "string" and (host:find("^%d+%.%d+%.%d+%.%d+$") or host:find("^%x*:[%x:.]*$")) ~= nil
end

-- What must hold of every place to look at.
local function check_place(target)
  if target.host == "localhost" then
    target.host = nil
  end
  if target.socket ~= nil then
    if type(target.socket) ~= "string" or #target.socket == 0 or #target.socket > address.UNIX_PATH_MAX then
      return nil, ("`socket` must be a path of at most %d bytes"):format(address.UNIX_PATH_MAX)
    end
  elseif not is_port(target.port) then
    return nil, ("`port` must be a number from 1 to 65535, got %s"):format(tostring(target.port))
  elseif target.host ~= nil and not is_ip(target.host) then
    return nil, ("`host` must be an IP address or localhost, got %s"):format(tostring(target.host))
  end
  return target
end

--- Where a `ready` table looks: {port=, host=}, {socket=}, or {http=}, which is a URL, or a path on the same entry's
--- port or socket.
---@param ready table
---@return table? target, string? why
function M.target(ready)
  if ready.http == nil then
    return check_place { port = ready.port, host = ready.host, socket = ready.socket }
  elseif type(ready.http) ~= "string" then
    return nil, "`http` must be a URL or a path"
  elseif ready.http:sub(1, 1) == "/" then
    if not ready.port and not ready.socket then
      return nil, "`http` is a path, so `port` or `socket` is needed beside it"
    end
    return check_place {
      port = ready.port, host = ready.host, socket = ready.socket, path = ready.http, name = "localhost",
    }
  end
  local host, port, path, name = parse_url(ready.http)
  if not host then
    return nil, ("'%s' is neither a path nor http://host:port/path"):format(ready.http)
  end
  return check_place { host = host, port = port, path = path, name = name }
end

local function where(target)
  return target.socket or ((target.host or "127.0.0.1") .. ":" .. target.port)
end

--- Somebody else may have the port already; then its answers would pass for the child's.
---@param ready table
---@param done fun(err: brood.Error?)
function M.check_free(ready, done)
  local target = M.target(ready)
  connect(target, function(err, handle)
    if err then
      return done()
    end
    handle:close()
    done(E.new("EADDRINUSE", "something else already answers on %s", where(target)))
  end)
end

--- Wait for the child of `run` as its `ready` option says.
---@param ready string|table
---@param run table the run: it may have `peer` and `notify`
---@param done fun(err: brood.Error?)
---@return fun() cancel
function M.wait(ready, run, done)
  if ready == "spawn" then
    done()
    return function() end
  elseif type(ready) == "table" then
    local target = M.target(ready)
    return poll((target.path and answers or accepts)(target), done)
  end
  -- "channel" and "notify": the child's own word, which brood.process passes on
  run.on_ready = done
  return function()
    run.on_ready = nil
  end
end

return M
