--- One look at an address: whether something accepts there, and answers a request well. How often to look, and what
--- follows from it, is for the callers: readiness and health.
local E = require "brood.error"
local clock = require "brood.clock"
local timer = require "brood.timer"
local uv = require "luv"

local M = {}

local CONNECT = 1 -- seconds a connection may take: a full backlog keeps it waiting for minutes
local ANSWER = 2 -- seconds an answer may take
local HEAD = 64 -- bytes in which a status line begins, if it is one

---@class brood.ProbeTarget
---@field port? integer
---@field host? string an IP address; nil: this machine, v4 or v6
---@field socket? string path
---@field path? string what to ask for with GET; nil: a connection is enough
---@field name? string for the Host header

---@class brood.ProbeOptions
---@field within? number seconds for all of it; default 1 for the connection and 2 for the answer
---@field background? boolean it does not keep the process alive

---@param target brood.ProbeTarget
---@return string
function M.where(target)
  return target.socket or ((target.host or "127.0.0.1") .. ":" .. target.port)
end

local function limit(options, seconds, late)
  local waiting = timer.after(seconds, late)
  return options.background and waiting:unref() or waiting
end

-- Try one address. done(err) or done(nil, handle), once.
local function connect_one(target, host, options, done)
  local handle = target.socket and uv.new_pipe(false) or uv.new_tcp()
  local over, waiting = false, nil
  local function finish(err)
    if over then
      return
    end
    over = true
    waiting:cancel()
    if err then
      handle:close()
      return done(err)
    end
    done(nil, handle)
  end
  if options.background then
    handle:unref()
  end
  waiting = limit(options, options.within or CONNECT, function()
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
local function connect(target, options, done)
  connect_one(target, target.host or "127.0.0.1", options, function(err, handle)
    if not err or target.host or target.socket then
      return done(err, handle)
    end
    connect_one(target, "::1", options, function(second, there)
      done(second and err, there)
    end)
  end)
end

local function no_answer(read_err, got)
  if read_err then
    return "the connection failed: " .. read_err
  end
  return got == "" and "the connection was closed without an answer" or "what it answered is not HTTP"
end

-- One GET, only to see whether the status line is a good one.
local function ask(target, options, handle, done)
  local got, over, waiting = "", false, nil
  local function finish(why)
    if not over then
      over = true
      waiting:cancel()
      handle:close()
      done(why)
    end
  end
  local left = options.within and math.max(0.001, options.within - (clock.now() - options.began)) or ANSWER
  waiting = limit(options, left, function()
    finish(("no answer within %g s"):format(options.within or ANSWER))
  end)
  handle:write(("GET %s HTTP/1.0\r\nHost: %s\r\n\r\n"):format(target.path, target.name or "localhost"))
  handle:read_start(function(read_err, chunk)
    got = got .. (chunk or "")
    local status = got:match("^HTTP/1%.%d (%d%d%d)")
    if status then
      finish(not status:match("^[23]") and "it answered " .. status or nil)
    elseif read_err or not chunk or #got > HEAD then
      finish(no_answer(read_err, got))
    end
  end)
end

--- Look once: done() where something accepts, and answers with a status of 2xx or 3xx if there is a path to ask for.
---@param target brood.ProbeTarget
---@param options? brood.ProbeOptions
---@param done fun(err: brood.Error?) code "connect" or "answer"
function M.look(target, options, done)
  options = { within = options and options.within, background = options and options.background, began = clock.now() }
  connect(target, options, function(err, handle)
    if err then
      return done(E.new("connect", "%s: no connection: %s", M.where(target), err))
    elseif not target.path then
      handle:close()
      return done()
    end
    ask(target, options, handle, function(why)
      done(why and E.new("answer", "%s%s: %s", M.where(target), target.path, why) or nil)
    end)
  end)
end

return M
