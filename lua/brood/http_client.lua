--- HTTP requests to others, over TCP or a Unix socket. Use it through brood.http.
---
--- Connections are kept and used again; an idempotent request that meets a kept one
--- which its server has just closed is sent once more. It never follows redirects,
--- decodes no content codings, and speaks no TLS.
local core = require "brood.core"
local E = require "brood.error"
local exchange = require "brood.http_client.exchange"
local merged = require "brood.rules.merged"
local message = require "brood.http_client.message"
local net = require "brood.net"
local options = require "brood.options"
local pool = require "brood.http_client.pool"
local task = require "brood.task"
local timer = require "brood.timer"

local M = {}

---@class brood.http.Answer
---@field status integer
---@field reason string
---@field headers table<string, string|string[]> lower-case keys; `set-cookie` is always a list
---@field body string nil with `stream`

---@class brood.http.Given
---@field url? string "http://[user:password@]host[:port]/path"
---@field socket? string path of a Unix socket ("unix:/path" too), in place of the url's host
---@field path? string with `socket`, or a url that ends before it; default "/"
---@field method? string default "GET", "POST" with a body
---@field headers? table<string, string|number|string[]|false> false leaves out what would be sent by itself
---@field body? string|fun(): string? a function is called for each piece until it returns nil
---@field timeout? number|string|false for all of it; with `stream` for the head, then for each read. None by default
---@field max_body? integer|string|false of the answer; default "100m", with `stream` none
---@field stream? boolean return once the head is there, and read the body with `answer:read()`
---@field keep_alive? boolean false: a connection of its own

local spec = {
  url = { type = "name", expected = "a URL" },
  socket = { type = "path" },
  path = { type = "string" },
  method = { type = "string" },
  headers = { type = "table" },
  body = { any_of = { { type = "string" }, { type = "function" } } },
  timeout = { type = "duration", off = true },
  max_body = { type = "size", off = true },
  stream = { type = "boolean" },
  keep_alive = { type = "boolean" },
}

local MAX_BODY = 100 * 1024 ^ 2
local IDEMPOTENT = { GET = true, HEAD = true, OPTIONS = true, TRACE = true, PUT = true, DELETE = true }

-- ---- answers that are read in pieces --------------------------------------------------------------------------------

---@class brood.http.StreamedAnswer: brood.http.Answer
local Streamed = {}
Streamed.__index = Streamed

local function explain(job, err)
  local why = E.new(err.code or "error", "%s %s: %s", job.method, job.target.text, tostring(err.message or err))
  why.traceback = err.traceback
  return why
end

-- Hand over what is there; done(err, bytes).
local function next_piece(self, done)
  local link = self.link
  while true do
    local bytes = link and link.answer:take() or ""
    if bytes ~= "" then
      return done(nil, bytes)
    elseif not link or self.state == "done" then
      self:release()
      return done(self.err, nil)
    end
    local state, err = exchange.read_more(link)
    if not state then
      self.err = self.err or explain(self.job, err)
      self:close()
      return done(self.err)
    end
    self.state = state
  end
end

function Streamed:release()
  local link = self.link
  self.link = nil
  if link then
    exchange.release(link, self)
  end
end

--- The next piece of the body, nil at its end. The server is slowed down to the pace of its reader.
---@async
---@param cb? fun(err: brood.Error?, bytes: string?)
---@return string? bytes, brood.Error? err
function Streamed:read(cb)
  if self.reading then
    error("answer:read: another task is already reading this answer", 2)
  end
  return task.run(cb, "answer:read", function(done)
    local seconds = self.job.timeout
    self.reading = true
    task.spawn(next_piece, self, timer.limit(seconds, function()
      self.err = explain(self.job, E.new("timeout", "nothing more of the answer within %g s", seconds))
      self:close()
    end, function(err, bytes)
      self.reading = nil
      done(err, bytes)
    end))
  end)
end

--- For `for piece in answer:chunks() do`: until the end, or until the connection fails (`answer.err`).
---@return fun(): string?
function Streamed:chunks()
  return function()
    return (self:read())
  end
end

--- Let go of an answer that is not wanted to its end: its connection is closed.
function Streamed:close()
  local link = self.link
  self.link = nil
  if link then
    link.conn.core:abort()
    link.answer:begin(true)
  end
end

-- ---- a request ------------------------------------------------------------------------------------------------------

local function open_link(job)
  return task.run(nil, "http.request", function(done)
    job.attempt = net.begin_connect(job.target.address, function(err, conn)
      job.attempt = nil
      done(err, conn and { conn = conn, answer = core.http_answer.new(), target = job.target.address })
    end)
  end)
end

-- A kept connection that ends without a byte of an answer was closed by its server before the request came.
local function may_retry(job, link)
  return IDEMPOTENT[job.method] and type(job.body) ~= "function" and link.answer:came() == 0
end

local function collect(job, link, answer, state)
  if job.stream then
    answer.job, answer.link, answer.state = job, link, state
    return setmetatable(answer, Streamed)
  end
  answer.body = link.answer:take()
  exchange.release(link, answer)
  return answer
end

local function perform(job)
  local link = not job.plan.close and pool.take(job.target.address) or nil
  local reused = link ~= nil
  while not job.over do
    if not link then
      local err
      link, err = open_link(job)
      if not link then
        return nil, err
      end
    end
    job.link = link
    local answer, state = exchange.run(link, job)
    if answer then
      return collect(job, link, answer, state)
    end
    link.conn.core:abort()
    if not reused or not may_retry(job, link) then
      link.answer:begin(true) -- what came of a body would stay until the collector comes
      return nil, state
    end
    link, reused = nil, false
  end
end

local function start(job, done)
  local function answer_once(err, answer)
    if not job.over then
      job.over = true
      done(err and explain(job, err), answer)
    end
  end
  local finish = timer.limit(job.timeout, function()
    answer_once(E.new("timeout", "no %s answer within %g s", job.stream and "head of an" or "complete", job.timeout))
    if job.attempt then
      job.attempt:cancel()
    elseif job.link then
      job.link.conn.core:abort()
    end
  end, answer_once)
  task.spawn(function()
    local ok, answer, err = xpcall(perform, task.on_raise, job)
    if ok then
      finish(err, answer)
    else
      finish(E.from(answer))
    end
  end)
end

local function mistake_in(given)
  if not given.url and not given.socket then
    return "`url` or `socket` is missing"
  elseif given.url and given.path and not given.url:find "^[^/?#]*//[^/?#]*/?$" then
    return "the `url` has a path already, beside `path`"
  elseif given.method and not given.method:match("^%u[%u%d_-]*$") then
    return ("method '%s' must be upper-case letters"):format(given.method)
  elseif given.method == "CONNECT" then
    return "CONNECT is for proxies"
  end
end

-- Called with nothing of ours in between, so that mistakes are those of the caller's line.
local function request(given, cb)
  given = options.check(2, given, spec, "http.request")
  local why = mistake_in(given)
  local method = given.method or (given.body and "POST" or "GET")
  local target, plan, err
  if not why then
    target, err = message.target(given)
  end
  if target then
    plan, why = message.plan(given, target, method)
  end
  if why then
    error("http.request: " .. why, 2)
  end
  local max = given.max_body
  if max == nil and not given.stream then
    max = MAX_BODY
  end
  return task.run(cb, "http.request", function(done)
    if not target then
      return done(err)
    end
    start({
      target = target, plan = plan, method = method, body = given.body, stream = given.stream,
      timeout = given.timeout or nil, max_body = max or nil,
    }, done)
  end)
end

--- Send a request and collect its answer. A status of 400 and more is an answer too.
---@async
---@param given brood.http.Given
---@param cb? fun(err: brood.Error?, answer: brood.http.Answer?)
---@return brood.http.Answer? answer, brood.Error? err
function M.request(given, cb)
  return request(given, cb)
end

--- `request` with the method GET and perhaps other options.
---@async
---@param url string
---@param given? brood.http.Given
---@param cb? fun(err: brood.Error?, answer: brood.http.Answer?)
---@return brood.http.Answer? answer, brood.Error? err
---@overload fun(url: string, cb: fun(err: brood.Error?, answer: brood.http.Answer?))
function M.get(url, given, cb)
  if type(given) == "function" then
    given, cb = nil, given
  end
  if type(url) ~= "string" then
    error("http.get: the url must be a string, got " .. type(url), 2)
  elseif given ~= nil and type(given) ~= "table" then
    error("http.get: the options must be a table, got " .. type(given), 2)
  end
  return request(merged({ url = url }, given), cb)
end

--- Close the connections that wait for another request. They close by themselves after 15 s.
function M.close_idle()
  pool.clear()
end

return M
