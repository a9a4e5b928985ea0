--- HTTP: servers for handlers `function(req, res)`, and requests to others.
---
--- The protocol itself is in the core. Here is what a handler may expect: a task
--- of its own per request, waiting where it must, and what becomes of its errors.
local core = require "brood.core"
local E = require "brood.error"
local emitter = require "brood.emitter"
local log = require "brood.log"
local options = require "brood.options"
local ours = require "brood.ours"
local quiet = require "brood.quiet"
local server = require "brood.server"
local task = require "brood.task"
local timer = require "brood.timer"

local decode_escapes = require("brood.rules.url").decode
local xpcall, serve, on_raise, note = xpcall, task.serve, task.on_raise, quiet.note

local M = {}

local function is_userdata(self)
  return type(self) == "userdata"
end

-- ---- requests -------------------------------------------------------------------------------------------------------

---@class brood.Request
---@field method string
---@field path string as sent, undecoded, without the query
---@field query string raw, "" without one
---@field headers table<string, string> lower-case keys; repeated ones joined by ", ", `set-cookie` is then a list
---@field version string "1.1" or "1.0"
---@field remote_address string without the port; "unix:" on a Unix socket
---@field remote_port integer
---@field closed boolean the client has gone, or has at least ended its side: it may still take an answer
local Request = core.http.request

local function decode(text)
  return decode_escapes((text:gsub("+", " ")))
end

--- The query's parameters, decoded: a repeated name is a list, one without `=` is true.
---@return table<string, string|true|(string|true)[]>
function Request:args()
  local args = self._args
  if args then
    return args
  end
  args = {}
  for part in self.query:gmatch("[^&]+") do
    local name, value = part:match("^(.-)=(.*)$")
    local key, item = decode(name or part), value and decode(value) or not value
    local old = args[key]
    if old == nil then
      args[key] = item
    elseif type(old) == "table" then
      old[#old + 1] = item
    else
      args[key] = { old, item }
    end
  end
  self._args = args
  return args
end

-- Take of the body what the core has, or wait until it has more.
local function take(self, cb, name, whole)
  local value, err = self:_take(whole)
  if value ~= false then
    if whole then
      self._whole = value
    end
    if cb == nil then
      if value then
        return value
      end
      return nil, err
    end
    return task.run(cb, name, function(done)
      done(err, value)
    end)
  end
  return task.run(cb, name, function(done)
    local function again()
      local more, why = self:_take(whole)
      if more == false then
        self:_wait(again)
      else
        if whole then
          self._whole = more
        end
        done(why, more)
      end
    end
    self:_wait(again)
  end)
end

--- The whole body, "" without one. Beyond `max_body`: nil and an error with code "too_large".
---@async
---@param cb? fun(err: brood.Error?, body: string?)
---@return string? body, brood.Error? err
function Request:body(cb)
  local whole = self._whole
  if whole then
    if cb == nil then
      return whole
    end
    return task.run(cb, "req:body", function(done)
      done(nil, whole)
    end)
  end
  return take(self, cb, "req:body", true)
end

--- The next piece of the body, nil at its end. The client is slowed down to the pace of its reader.
---@async
---@param cb? fun(err: brood.Error?, chunk: string?)
---@return string? chunk, brood.Error? err
function Request:read(cb)
  return take(self, cb, "req:read", false)
end

local function events(self)
  local found = self._events
  if not found then
    found = emitter.new()
    self._events = found
    self:_watch(function()
      found:emit("close")
    end)
  end
  return found
end

--- "close": the client has gone, or has ended its side, before its answer was finished.
---@param event string
---@param fn function
---@return brood.Request
function Request:on(event, fn)
  emitter.check(event, fn)
  events(self):on(event, fn)
  return self
end

--- Like `on`, once.
---@param event string
---@param fn function
---@return brood.Request
function Request:once(event, fn)
  emitter.check(event, fn)
  events(self):once(event, fn)
  return self
end

--- Take back an `on` or `once`.
---@param event string
---@param fn? function
---@return brood.Request
function Request:off(event, fn)
  events(self):off(event, fn)
  return self
end

---@param event string
function Request:emit(event, ...)
  events(self):emit(event, ...)
end

ours.guard(Request, "req", { "args", "body", "read", "on", "once", "off", "emit" }, is_userdata)

-- ---- responses ------------------------------------------------------------------------------------------------------

---@alias brood.HeaderValue string|number|(string|number)[]|nil

--- What is given to it wrongly raises at the caller's line; once the client has gone, its methods
--- return nil and an error with code "closed", and do nothing.
---@class brood.Response
--- `status` takes a whole number from 200 to 999, before the head is sent.
---@field status fun(self: brood.Response, code: integer): brood.Response?, brood.Error?
--- `header` replaces; a list sends one line each, nil removes. Transfer-Encoding is the server's own; of
--- Connection only `close` means anything.
---@field header fun(self: brood.Response, name: string, value: brood.HeaderValue): brood.Response?, brood.Error?
--- `finish` sends the rest of the body, a number as Lua writes it, and ends the answer.
---@field finish fun(self: brood.Response, body?: string|number): brood.Response?, brood.Error?
local Response = core.http.response

--- Send a piece of the body, and the head before the first ("" sends just that). Waits while the client is slow.
---@async
---@param chunk string|number
---@param cb? fun(err: brood.Error?, res: brood.Response?)
---@return brood.Response? self, brood.Error? err
function Response:write(chunk, cb)
  if not is_userdata(self) then
    error(options.no_self "res:write", 2)
  end
  local sent, err = self:_write(chunk)
  if cb == nil then
    if sent then
      return self
    elseif sent == nil then
      return nil, err
    end
  end
  return task.run(cb, "res:write", function(done)
    if sent ~= false then
      return done(err, sent and self or nil)
    end
    local ok, why = self:_wait(function()
      if self:_open() then
        done(nil, self)
      else
        done(server.closed("the client's connection"))
      end
    end)
    if not ok then
      done(why)
    end
  end)
end

-- ---- the handler ----------------------------------------------------------------------------------------------------

-- A handler may return and answer later. Whether anything is left that could
-- answer, only the collector knows, and in an idle process it would never look.
local LOOKS = { 0.2, 2, 15 }
local served, looking = 0, nil

local function look(step)
  local before = served
  looking = core.generation()
  timer.after(LOOKS[step], function()
    -- With traffic it comes by itself, and a full round would only cost.
    if served - before < 100 then
      collectgarbage()
    end
    looking = nil
    if LOOKS[step + 1] then
      look(step + 1)
    end
  end):unref()
end

-- The methods of a response that is over return nil: what raises then is a chain of them, or an assert.
local function goes_on(err)
  return type(err) == "table" and (rawget(err, "code") == "closed"
    or E.describe(rawget(err, "message")):find "attempt to index a nil value$" ~= nil)
end

local function fail(req, res, err)
  if req:_too_large() then
    return res:_fail(413)
  end
  if err ~= nil then
    local cut = res:_cut()
    if cut and goes_on(err) then
      log.info(("%s %s: its handler went on after the answer was over (%s)"):format(req.method, req.path, cut))
    else
      -- Before the answer: whoever has read that may look for the reason. An error of the user's may itself raise.
      local told, text = pcall(E.text, err)
      log.error(("handler of %s %s: %s"):format(req.method, req.path, told and text or "an error that cannot be shown"))
    end
    return res:_fail(500)
  end
  if looking ~= core.generation() then
    look(1)
  end
end

local function run(handler, req, res)
  served = served + 1
  note()
  local ok, err = xpcall(handler, on_raise, req, res)
  if not ok then
    fail(req, res, err)
  elseif res:_open() then
    if type(err) == "string" then
      res:_returned()
    end
    fail(req, res)
  end
end

-- ---- servers --------------------------------------------------------------------------------------------------------

local spec = {
  max_header = { type = "size", default = 16 * 1024, doc = "request line and headers; beyond it 414 or 431" },
  max_body = { type = "size", default = 10 * 1024 ^ 2, off = true, doc = "beyond it 413" },
  header_timeout = { type = "duration", default = 10, off = true, doc = "for a whole head to come; then 408" },
  body_timeout = { type = "duration", default = 60, off = true, doc = "between two pieces of a body; then 408" },
  write_timeout = { type = "duration", default = 60, off = true, doc = "between two pieces of an answer taken" },
  idle_timeout = { type = "duration", default = 60, off = true, doc = "between two requests of one connection" },
  request_timeout = { type = "duration", off = true, doc = "for an answer to be complete; then 503" },
}

--- Limits and timeouts of a server; false switches one off, but max_header.
---@class brood.http.Options
---@field max_header? brood.size request line and headers, at most 16m ("16k"); beyond it 414 or 431
---@field max_body? brood.size|false of a request ("10m"); beyond it req:body and req:read fail, and 413
---@field header_timeout? brood.duration|false for a whole head to come (10); then 408
---@field body_timeout? brood.duration|false between two pieces of a request's body (60); then 408
---@field write_timeout? brood.duration|false between two pieces of an answer that a client takes (60); then it is cut
---@field idle_timeout? brood.duration|false between two requests of one connection (60); then it is closed
---@field request_timeout? brood.duration|false for an answer to be complete (false); then 503, or the connection is cut

---@class brood.http.Server: brood.Server
local Server = server.class(function(self)
  local handler, checked = self.handler, self.options
  local plan = {
    request = function(req, res)
      return serve(run, handler, req, res)
    end,
    max_header = checked.max_header,
    max_body = checked.max_body or nil,
    max_open = checked.max_open, -- for brood's own rooms
  }
  for name, kind in pairs(spec) do
    local value = checked[name]
    if kind.type == "duration" and value then
      plan[name] = math.max(1, math.ceil(value * 1000))
    end
  end
  return core.http.server(plan)
end)

--- How many connections are open, how many requests are in progress, and how many there were.
---@return integer connections, integer active, integer requests
function Server:counts()
  if not self.core then
    return 0, 0, 0
  end
  return self.core:counts()
end

--- A server for a handler. It does nothing before `listen`; an app file may just return it.
---@param handler fun(req: brood.Request, res: brood.Response)
---@param given? brood.http.Options
---@return brood.http.Server
function M.server(handler, given)
  if type(handler) ~= "function" then
    error("http.server: the handler must be a function(req, res), got " .. type(handler), 2)
  end
  local checked = options.check(2, given, spec, "http.server")
  return setmetatable({ handler = handler, options = checked }, Server)
end

--- Send a request: see brood.http_client.
---@async
function M.request(given, cb)
  return require("brood.http_client").request(given, cb)
end

--- `request` with the method GET, and perhaps other options.
---@async
---@param url string
---@param given? brood.http.Given
---@param cb? fun(err: brood.Error?, response: brood.http.Answer?)
---@return brood.http.Answer? response, brood.Error? err
function M.get(url, given, cb)
  return require("brood.http_client").get(url, given, cb)
end

return M
