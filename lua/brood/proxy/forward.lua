--- Let another HTTP server answer a request: passed on as it comes, its answer passed back as it comes. The work is the
--- core's; here is what a failure means, and when it is worth a second try. What the client is told is the caller's
--- business.
local core = require "brood.core"
local options = require "brood.options"
local task = require "brood.task"

local relay = core.relay
local start = relay.start
local ceil, max = math.ceil, math.max

local IDEMPOTENT = { GET = true, HEAD = true, OPTIONS = true, TRACE = true, PUT = true, DELETE = true }

---@class brood.proxy.Options
---@field address string "host:port" or "unix:/path"
---@field timeout? brood.duration|false for the next piece of an answer, or for one of the request to be taken (60)
---@field connect_timeout? brood.duration|false 5 seconds
---@field keep? boolean use connections again (true)
---@field host? string what the Host line says in place of what the client sent

--- Of a failure: "connect" (nobody was asked), "closed", "timeout", "bad_answer", "too_large".
---@class brood.proxy.Error: brood.Error
---@field reason? string the errno's name
---@field sent boolean a byte of the request was sent, or more
---@field came boolean a byte of an answer came, or more
---@field began boolean the answer had begun for the client, whose connection was cut: there is nothing to answer
---@field kept boolean it was a connection that had been used before
---@field whole boolean nothing of the request's body is lost: it could be forwarded again
---@field client boolean it is the client who has gone

local spec = {
  address = { type = "name", required = true },
  timeout = { type = "duration", off = true, default = 60 },
  connect_timeout = { type = "duration", off = true, default = 5 },
  keep = { type = "boolean", default = true },
  host = { type = "name" },
}

-- As the core wants it: 0 is never.
local function milliseconds(seconds)
  return seconds and max(1, ceil(seconds * 1000)) or 0
end

local function or_default(value, default)
  if value == nil then
    return default
  end
  return value
end

-- What was checked once is not looked at again, as long as it is the same: this is called for every request.
local plans = setmetatable({}, { __mode = "k" })

local function is_same(plan, given)
  for name in next, given do
    if spec[name] == nil then
      return false
    end
  end
  return plan.address == given.address and plan.given_timeout == given.timeout
    and plan.given_connect == given.connect_timeout and plan.given_keep == given.keep and plan.host == given.host
end

local function checked(given)
  local right = options.check(3, given, spec, "forward")
  if right.host and right.host:find "[%c%s/?#@\127-\255]" then
    error(("forward: option 'host': '%s' is no host"):format(right.host), 3)
  end
  local plan = {
    address = right.address, host = right.host, keep = right.keep ~= false,
    timeout = milliseconds(or_default(right.timeout, 60)),
    connect_timeout = milliseconds(or_default(right.connect_timeout, 5)),
    given_timeout = given.timeout, given_connect = given.connect_timeout, given_keep = given.keep,
  }
  plans[given] = plan
  return plan
end

-- A kept connection that ends without a byte of an answer was closed by its server before the request came.
local function may_repeat(err, req)
  return err.kept and err.whole and not err.came and not err.began and not err.client
    and (err.code == "closed" or err.code == "connect") and (not err.sent or IDEMPOTENT[req.method] ~= nil)
end

local function begin(req, res, plan, fresh, over)
  return start(req, res, plan.address, plan.timeout, plan.connect_timeout, plan.keep, plan.host, fresh, over)
end

local function repeat_once(req, res, plan, done)
  local ok, err = begin(req, res, plan, true, done)
  if not ok then
    done(err)
  end
end

--- Forward a request to the server at an address, and its answer to the client. Nothing may be read of the request's
--- body before, and nothing sent of an answer; headers set on `res` are sent beside those of the answer.
--- On failure, nil and an error: where not `err.began`, the caller answers.
---@async
---@param req brood.Request
---@param res brood.Response
---@param given brood.proxy.Options
---@param cb? fun(err: brood.proxy.Error?)
---@return boolean? answered, brood.proxy.Error? err
local function forward(req, res, given, cb)
  local plan = plans[given]
  if not plan or not is_same(plan, given) then
    plan = checked(given)
  end
  return task.run(cb, "forward", function(done)
    local ok, err = begin(req, res, plan, false, function(err)
      if not err or not may_repeat(err, req) then
        return done(err)
      end
      repeat_once(req, res, plan, done)
    end)
    if ok then
      return
    elseif may_repeat(err, req) then
      return repeat_once(req, res, plan, done)
    end
    done(err)
  end)
end

return forward
