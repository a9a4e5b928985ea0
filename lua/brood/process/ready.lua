--- Readiness: when a started child counts as ready. Each kind is a function
--- (run, done) that calls done() once the child is, done(err) when it cannot
--- become it, and returns a function that gives up waiting.
local E = require "brood.error"
local timer = require "brood.timer"
local uv = require "luv"

local M = {}

local FIRST, LONGEST = 0.005, 0.1 -- seconds between two looks

--- Try to connect once. done(nil, handle) or done(err).
---@param target table {port=, host=} or {socket=}
local function connect(target, done)
  local handle, over
  local function finish(err)
    if over then
      return
    end
    over = true
    if err then
      if not handle:is_closing() then
        handle:close()
      end
      return done(err)
    end
    done(nil, handle)
  end
  local ok, why
  if target.socket then
    if #target.socket > 107 then
      handle = uv.new_pipe(false)
      return finish("ENAMETOOLONG")
    end
    handle = uv.new_pipe(false)
    ok, why = handle:connect(target.socket, finish)
  else
    handle = uv.new_tcp()
    ok, why = handle:connect(target.host or "127.0.0.1", target.port, finish)
  end
  if not ok then
    finish(why)
  end
end
M.connect = connect

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
      limit = timer.after(2, function()
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

--- Where `ready = {http=}` looks: a URL, or a path on the same entry's port or socket.
---@param ready table
---@return table? target, string? why
function M.http_target(ready)
  if ready.http:sub(1, 1) == "/" then
    if not ready.port and not ready.socket then
      return nil, "`http` is a path, so `port` or `socket` is needed beside it"
    end
    return { port = ready.port, socket = ready.socket, path = ready.http, name = "localhost" }
  end
  local host, port, path = ready.http:match("^http://([^/:]+):?(%d*)(.*)$")
  if not host then
    return nil, ("'%s' is neither a path nor http://host:port/path"):format(ready.http)
  end
  return {
    host = host == "localhost" and "127.0.0.1" or host, port = tonumber(port) or 80,
    path = path == "" and "/" or path, name = host .. (port ~= "" and ":" .. port or ""),
  }
end

--- What a table given as `ready` waits for.
---@return fun(found: fun(yes: boolean)) look, table target
function M.look_for(ready)
  if ready.http then
    local target = M.http_target(ready)
    return answers(target), target
  end
  return accepts(ready), ready
end

--- Somebody else may have the port already; then its answers would pass for the child's.
---@param ready table
---@param done fun(err: brood.Error?)
function M.check_free(ready, done)
  local target = ready.http and M.http_target(ready) or ready
  connect(target, function(err, handle)
    if err then
      return done()
    end
    handle:close()
    done(E.new("EADDRINUSE", "something else already answers on %s",
      target.socket or ((target.host or "127.0.0.1") .. ":" .. target.port)))
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
    return poll((M.look_for(ready)), done)
  end
  -- "channel" and "notify": the child's own word, which brood.process passes on
  run.on_ready = done
  return function()
    run.on_ready = nil
  end
end

return M
