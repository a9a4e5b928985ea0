--- What a proxy answers itself, where no target does: a status and one line of text. It names the target, and no more
--- of what is behind it: the reasons are in the log.
local M = {}

local NO_ROUTE = "not found: no route leads there\n"
local BAD_PATH = "bad request: the path means nothing\n"

local function send(res, status, text, retry_after)
  res:status(status):header("content-type", "text/plain; charset=utf-8"):header("cache-control", "no-store")
  if retry_after then
    res:header("retry-after", retry_after)
  end
  return res:finish(text)
end

--- No route leads to the path, or it is none.
---@param res brood.Response
---@param bad? boolean
function M.no_route(res, bad)
  if res:_open() then
    send(res, bad and 400 or 404, bad and BAD_PATH or NO_ROUTE)
  end
end

local SOON, LATER = 1, 5 -- seconds

-- By the code of an error: status, what is said of the target, when to come back.
local known = {
  backlog = { 503, "busy: too many requests wait for '%s'", SOON },
  turn_timeout = { 503, "busy: '%s' has had no time for this request", SOON },
  no_files = { 503, "busy: no more connections can be opened to '%s'", SOON },
  closed = { 502, "bad gateway: '%s' has gone away" },
  connect = { 502, "bad gateway: '%s' cannot be reached" },
  bad_answer = { 502, "bad gateway: what '%s' has answered cannot be understood" },
  timeout = { 504, "gateway timeout: '%s' takes too long" },
  start_timeout = { 504, "gateway timeout: '%s' takes too long to start", LATER },
  stopped = { 503, "unavailable: '%s' is not running", LATER },
  start = { 503, "unavailable: '%s' does not start", LATER },
  too_large = { 413, "the body is too large for '%s'" },
}

--- The target of a request has failed before anything of its answer was sent.
---@param res brood.Response
---@param code string
---@param name string of the target
function M.failed(res, code, name)
  local answer = known[code] or known.closed
  if res:_open() then
    send(res, answer[1], answer[2]:format(name) .. "\n", answer[3])
  end
end

return M
