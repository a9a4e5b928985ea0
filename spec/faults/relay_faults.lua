--- A proxy whose system calls fail: each request is answered rightly, or as a failure, or cut; never with half of an
--- answer that looks whole. Afterwards it works as before.
--- time limit: 300 s
local lu = require "luaunit"
local s = require "spec.support"

local SCRIPT = [[
local fault = require "spec.support.faults"
local http, forward = require "brood.http", require "brood.proxy.forward"
local relay, timer = require("brood.core").relay, require "brood.timer"
local large = ("0123456789abcdef"):rep(20000)

local back = http.server(function(req, res)
  local body = req:body()
  if req.path == "/down" then
    res:write(large:sub(1, 100000))
    res:finish(large:sub(100001))
  else
    res:finish(req.path == "/up" and (body == large and "all of it" or "PART OF IT") or "small")
  end
end)
assert(back:listen "127.0.0.1:0")

local front = http.server(function(req, res)
  local ok, err = forward(req, res, { address = back:address(), timeout = 2, connect_timeout = 2 })
  if not ok and not err.began then
    res:status(502):finish(err.code)
  end
end)
assert(front:listen "127.0.0.1:0")

local function ask(path, body, right)
  local answer, err = http.request {
    url = "http://" .. front:address() .. path, body = body, timeout = 5, keep_alive = false,
  }
  if not answer then
    return "cut"
  elseif answer.status >= 400 then
    return "failed"
  elseif answer.body ~= right then
    return "WRONG"
  end
  return "right"
end

local function round()
  return table.concat({ ask("/a", nil, "small"), ask("/b", nil, "small"), ask("/up", large, "all of it"),
    ask("/down", nil, large) }, " ")
end

fault.arm()
local found = round()
fault.disarm()
print("with faults: " .. found)
print("afterwards: " .. round())
local _, active = front:counts()
print("open: " .. active)
os.exit(0)
]]

local function check(result)
  if result.signal then
    return -- libuv's own, where that is allowed
  end
  lu.assertStrContains(result.stdout, "with faults: ")
  lu.assertNotStrContains(result.stdout, "WRONG")
  lu.assertStrContains(result.stdout, "afterwards: right right right right\nopen: 0\n")
  lu.assertEquals(result.code, 0)
end

local function each(call, errno, options)
  local given = { call = call, errno = errno, script = SCRIPT, from = "arm", max = 60, timeout = 30 }
  for name, value in pairs(options or {}) do
    given[name] = value
  end
  return s.faults.each(given, check)
end

return {
  ["descriptors run out"] = function()
    each("socket", "EMFILE")
    each("accept4", "EMFILE")
  end,

  ["connections are refused, or reset"] = function()
    each("connect", "ECONNREFUSED")
    each("send", "ECONNRESET")
    each("sendmsg", "EPIPE")
    each("recv", "ECONNRESET")
  end,

  ["calls are interrupted, would block, or do one byte of their work"] = function()
    each("recv", "EINTR")
    each("send", "EAGAIN")
    each("sendmsg", "EAGAIN")
    each("recv", "SHORT")
    each("send", "SHORT")
    each("recv", "EAGAIN")
  end,

  ["the kernel watches no more"] = function()
    each("epoll_ctl", "ENOMEM", { may_abort = true })
  end,

  ["every read and every write does one byte of its work"] = function()
    local result = s.faults.run("send:SHORT:1+,recv:SHORT:1+", {
      script = SCRIPT:gsub("20000", "40"):gsub("100000", "100"):gsub("100001", "101"), from = "arm", timeout = 30,
    })
    check(result)
    lu.assertStrContains(result.stdout, "with faults: right right right right\n")
  end,
}
