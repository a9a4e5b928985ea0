--- One request and its answer on one connection: sending and reading go on side by side,
--- because a server may answer before it has read everything. Whose turn it is, and
--- whether to try again, is brood.http_client's business.
local E = require "brood.error"
local pool = require "brood.http_client.pool"
local task = require "brood.task"
local timer = require "brood.timer"

local M = {}

local PIECE = 256 * 1024
local LINGER = 30 -- seconds for a server to take the end of a request that it has already answered

-- ---- sending --------------------------------------------------------------------------------------------------------

local function send_text(conn, text)
  for at = 1, #text, PIECE do
    local ok, err = conn:write(#text <= PIECE and text or text:sub(at, at + PIECE - 1))
    if not ok then
      return nil, err
    end
  end
  return true
end

local function frame(plan, piece)
  return plan.chunked and ("%x\r\n%s\r\n"):format(#piece, piece) or piece
end

-- What the caller's function gives, until it gives nil. Raises what is wrong with that.
local function send_pieces(conn, plan, body)
  local sent = 0
  while true do
    local ok, piece, err = task.call(body)
    if not ok or err ~= nil then
      error(ok and err or piece, 0)
    elseif piece == nil then
      break
    elseif type(piece) ~= "string" then
      error(E.new("EINVAL", "the body's function must return a string or nil, got %s", type(piece)), 0)
    end
    sent = sent + #piece
    if plan.length and sent > plan.length then
      error(E.new("EINVAL", "the body is longer than its Content-Length of %d", plan.length), 0)
    end
    -- An empty chunk would be the last one.
    if piece ~= "" and not conn:write(frame(plan, piece)) then
      return nil
    end
  end
  if plan.length and sent < plan.length then
    error(E.new("EINVAL", "the body has %d bytes, its Content-Length is %d", sent, plan.length), 0)
  end
  return true
end

-- Returns whether all of it was taken. That it was not is told better by what the server says.
local function send(conn, plan, body)
  if type(body) == "function" then
    if not conn:write(plan.head) or not send_pieces(conn, plan, body) then
      return false
    end
  elseif plan.chunked then
    local text = body ~= "" and frame(plan, body) or ""
    return send_text(conn, plan.head .. text .. "0\r\n\r\n") == true
  else
    return send_text(conn, plan.head .. (body or "")) == true
  end
  return not plan.chunked or conn:write("0\r\n\r\n") == true
end

-- ---- reading --------------------------------------------------------------------------------------------------------

-- The connection failed: what had come by then says how much is missing.
local function broken(link, err)
  local _, missing = link.answer:finish()
  local what = missing and missing.message or "the connection failed in the middle of the answer's body"
  return E.new("closed", "%s (%s)", what, err.message)
end

-- "head", "body" or "done": how far the answer is with what comes next.
local function read_more(link)
  local bytes, err = link.conn:read()
  if bytes then
    return link.answer:feed(bytes)
  elseif err then
    return nil, broken(link, err)
  end
  return link.answer:finish()
end

local function patience_of(headers)
  local hint = headers["keep-alive"]
  return hint and tonumber(hint:match("timeout%s*=%s*(%d+)"))
end

--- The connection has done its work: another request may have it, or nobody.
---@param link brood.http.Link
---@param answer brood.http.Answer
function M.release(link, answer)
  local raw = link.conn.core
  if not link.sent then
    raw:abort()
  elseif not link.close and link.answer:keeps_alive() then
    pool.put(link, patience_of(answer.headers))
  elseif not raw:close() then
    timer.after(LINGER, function()
      raw:abort()
    end):unref()
  end
end

--- Send a request on a connection, and read the answer up to the end of its head, or of its body.
--- Raises what the caller's body function raised.
---@async
---@param link brood.http.Link
---@param job table
---@return brood.http.Answer? answer, brood.Error|string err_or_state
function M.run(link, job)
  local failed
  link.sent, link.close = false, job.plan.close
  link.answer:begin(job.method == "HEAD", job.max_body)
  task.spawn(function()
    local ok, sent = xpcall(send, task.on_raise, link.conn, job.plan, job.body)
    link.sent = ok and sent
    if not ok then
      failed = sent
      link.conn.core:abort() -- which wakes whoever reads
    end
  end)
  local state, err = "head", nil
  while state and state ~= "done" and not (state == "body" and job.stream) do
    state, err = read_more(link)
  end
  if failed then
    return nil, E.from(failed)
  elseif not state then
    return nil, err
  end
  local status, reason, headers = link.answer:head()
  return { status = status, reason = reason, headers = headers }, state
end

M.read_more = read_more

return M
