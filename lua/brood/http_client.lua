--- HTTP requests to others: one connection each, over TCP or a Unix socket. Use it
--- through brood.http. It never follows redirects, and speaks no TLS.
local E = require "brood.error"
local net = require "brood.net"
local options = require "brood.options"
local task = require "brood.task"
local timer = require "brood.timer"

local M = {}

local HEAD_MAX = 64 * 1024

---@class brood.http.Answer
---@field status integer
---@field reason string
---@field headers table<string, string|string[]> lower-case keys; `set-cookie` is always a list
---@field body string

---@class brood.http.Given
---@field url? string "http://host[:port]/path"
---@field socket? string path of a Unix socket, in place of the url's host
---@field path? string with `socket`; default "/"
---@field method? string default "GET", "POST" with a body
---@field headers? table<string, string|number|string[]>
---@field body? string
---@field timeout? number|string|false for all of it

local spec = {
  url = { type = "string" },
  socket = { type = "string" },
  path = { type = "string" },
  method = { type = "string" },
  headers = { type = "table" },
  body = { type = "string" },
  timeout = { type = "duration", off = true },
}

-- ---- what to ask, and whom ------------------------------------------------------------------------------------------

local function parse_url(url)
  local scheme, authority, rest = url:match("^(%a[%w+.-]*)://([^/?#]*)([^#]*)")
  if not scheme then
    return nil, E.new("EINVAL", "'%s' is not a URL (http://host[:port]/path)", url)
  elseif scheme:lower() ~= "http" then
    return nil, E.new("EPROTONOSUPPORT", "%s: only http:// is supported", url)
  end
  authority = authority:gsub("^.*@", "")
  if authority == "" or authority:find("[%s%c]") or rest:find("[%s%c]") then
    return nil, E.new("EINVAL", "'%s' is not a URL (http://host[:port]/path)", url)
  end
  local host, port = authority:match("^(.-):(%d+)$")
  if not host or (host:find(":", 1, true) and not host:match("%]$")) then
    host, port = authority, "80"
  end
  if rest:sub(1, 1) ~= "/" then
    rest = "/" .. rest
  end
  return { address = host .. ":" .. port, host = authority, path = rest }
end

local function target_of(given)
  if given.socket then
    return { address = "unix:" .. given.socket, host = "localhost", path = given.path or "/" }
  end
  return parse_url(given.url)
end

local function add_header(lines, name, value)
  value = tostring(value)
  if not name:match("^[%w!#$%%&'*+.^_`|~-]+$") or value:find("[\r\n%z]") then
    error(("http.request: header '%s': a name is a token, and a value has no line break or NUL"):format(name), 0)
  end
  lines[#lines + 1] = name .. ": " .. value
end

local function head_of(given, target, method)
  local lines = { ("%s %s HTTP/1.1"):format(method, target.path) }
  local seen = {}
  for name, value in pairs(given.headers or {}) do
    seen[tostring(name):lower()] = true
    for _, one in ipairs(type(value) == "table" and value or { value }) do
      add_header(lines, tostring(name), one)
    end
  end
  if not seen.host then
    lines[#lines + 1] = "Host: " .. target.host
  end
  if not seen.connection then
    lines[#lines + 1] = "Connection: close"
  end
  if not seen["content-length"] and (given.body or method == "POST" or method == "PUT" or method == "PATCH") then
    lines[#lines + 1] = "Content-Length: " .. #(given.body or "")
  end
  return table.concat(lines, "\r\n") .. "\r\n\r\n"
end

-- ---- the answer -----------------------------------------------------------------------------------------------------

-- Bytes of the connection, taken line by line or by count.
local Reader = {}
Reader.__index = Reader

function Reader:more()
  local bytes, err = self.conn:read()
  if not bytes then
    error(err or E.new("closed", "the server closed the connection before the answer was complete"), 0)
  end
  self.pending = self.pending .. bytes
end

function Reader:line()
  while true do
    local line, rest = self.pending:match("^([^\n]*)\n()")
    if line then
      self.pending = self.pending:sub(rest)
      return (line:gsub("\r$", ""))
    elseif #self.pending > HEAD_MAX then
      error(E.new("EPROTO", "the answer's head is larger than %d bytes", HEAD_MAX), 0)
    end
    self:more()
  end
end

function Reader:exactly(n)
  local parts, have = { self.pending }, #self.pending
  self.pending = ""
  while have < n do
    self:more()
    parts[#parts + 1] = self.pending
    have = have + #self.pending
    self.pending = ""
  end
  local all = table.concat(parts)
  self.pending = all:sub(n + 1)
  return all:sub(1, n)
end

function Reader:rest()
  local parts = { self.pending }
  while true do
    local bytes, err = self.conn:read()
    if err then
      error(err, 0)
    elseif not bytes then
      return table.concat(parts)
    end
    parts[#parts + 1] = bytes
  end
end

local function malformed(what)
  error(E.new("EPROTO", "the answer is not HTTP: %s", what), 0)
end

local function read_head(reader)
  local version, status, reason = reader:line():match("^HTTP/1%.([01]) (%d%d%d) ?(.*)$")
  if not status then
    malformed("no status line")
  end
  local headers, size = {}, 0
  while true do
    local line = reader:line()
    if line == "" then
      break
    end
    size = size + #line
    local name, value = line:match("^([^%s:]+):[ \t]*(.-)[ \t]*$")
    if not name or size > HEAD_MAX then
      malformed("a bad header line")
    end
    name = name:lower()
    if name == "set-cookie" then
      headers[name] = headers[name] or {}
      table.insert(headers[name], value)
    else
      headers[name] = headers[name] and headers[name] .. ", " .. value or value
    end
  end
  return { status = tonumber(status), reason = reason, headers = headers, version = version }
end

local function read_chunks(reader)
  local parts = {}
  while true do
    local size = reader:line():match("^(%x+)%s*;?")
    if not size or #size > 12 then
      malformed("a bad chunk size")
    end
    local n = tonumber(size, 16)
    if n == 0 then
      break
    end
    parts[#parts + 1] = reader:exactly(n)
    if reader:line() ~= "" then
      malformed("a chunk without its end")
    end
  end
  repeat until reader:line() == ""
  return table.concat(parts)
end

local function read_body(reader, answer, method)
  local length = answer.headers["content-length"]
  if method == "HEAD" or answer.status == 204 or answer.status == 304 then
    return ""
  elseif (answer.headers["transfer-encoding"] or ""):lower():match("chunked$") then
    return read_chunks(reader)
  elseif length then
    if not length:match("^%d+$") then
      malformed("a bad Content-Length")
    end
    return reader:exactly(tonumber(length))
  end
  return reader:rest()
end

local function read_answer(conn, method)
  local reader = setmetatable({ conn = conn, pending = "" }, Reader)
  local answer
  repeat
    answer = read_head(reader)
  until answer.status >= 200
  answer.body = read_body(reader, answer, method)
  answer.version = nil
  return answer
end

-- ---- all of it ------------------------------------------------------------------------------------------------------

local function exchange(given, job)
  local target, why = target_of(given)
  if not target then
    error(why, 0)
  end
  local method = given.method or (given.body and "POST" or "GET")
  local head = head_of(given, target, method)
  local conn, err = net.connect(target.address)
  if not conn then
    error(err, 0)
  end
  job.conn = conn
  if job.over then
    conn:close()
    return nil
  end
  -- A server may answer and close before it has read everything: its answer counts, not our broken pipe.
  task.spawn(function()
    conn:write(head .. (given.body or ""))
  end)
  return read_answer(conn, method)
end

--- Send a request and collect its answer. A status of 400 and more is an answer too.
---@async
---@param given brood.http.Given
---@param cb? fun(err: brood.Error?, answer: brood.http.Answer?)
---@return brood.http.Answer? answer, brood.Error? err
function M.request(given, cb)
  given = options.check(3, given, spec, "http.request")
  if not given.url and not given.socket then
    error("http.request: `url` or `socket` is missing", 3)
  end
  if given.method and not given.method:match("^%u+$") then
    error(("http.request: method '%s' must be upper-case letters"):format(given.method), 3)
  end
  return task.run(cb, "http.request", function(done)
    local job = { over = false }
    local limit
    local function finish(err, answer)
      if job.over then
        return
      end
      job.over = true
      if limit then
        limit:cancel()
      end
      if job.conn then
        job.conn:close(function() end)
      end
      done(err, answer)
    end
    if given.timeout then
      limit = timer.after(given.timeout, function()
        finish(E.new("timeout", "no complete answer within %s s", given.timeout))
      end)
    end
    task.spawn(function()
      local ok, result = xpcall(exchange, task.on_raise, given, job)
      if ok then
        finish(nil, result)
      else
        finish(E.from(result))
      end
    end)
  end)
end

return M
