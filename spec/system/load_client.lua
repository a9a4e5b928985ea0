--- The client that judges reloads finds each thing that can go wrong: a server that does it on purpose.
local brood = require "brood"
local lu = require "luaunit"
local load_client = require "spec.support.load_client"
local s = require "spec.support"
local uv = require "luv"

local BAD = { "connect", "reset", "truncated", "unanswered", "stale", "wrong" }

local function answer_to(token, more)
  return ("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n%s"):format(#token, more or "", token)
end

-- A server that answers the first `good` requests of a connection as it should, and does act(tcp, token) with the next.
local function with_server(good, act, test)
  local server, clients = uv.new_tcp(), {}
  server:bind("127.0.0.1", 0)
  server:listen(64, function()
    local tcp, asked = uv.new_tcp(), 0
    clients[tcp] = true
    server:accept(tcp)
    tcp:read_start(function(_, data)
      if not data then
        return tcp:is_closing() or tcp:close()
      end
      asked = asked + 1
      local token = data:match "^GET /%l+/(%S+)"
      if asked <= good then
        return tcp:write(answer_to(token))
      end
      act(tcp, token)
    end)
  end)
  local ok, err = pcall(test, "127.0.0.1:" .. server:getsockname().port)
  server:close()
  for tcp in pairs(clients) do
    if not tcp:is_closing() then
      tcp:close()
    end
  end
  if not ok then
    error(err, 0)
  end
end

-- Three requests of one lane: which counter has how many.
local function counted(address, lane, expected, options)
  local figures = load_client.start(address, { lane }, options or { requests = 3 }):finish()
  local found = { ok = figures.ok ~= 0 and figures.ok or nil }
  for _, kind in ipairs(BAD) do
    found[kind] = figures[kind] ~= 0 and figures[kind] or nil
  end
  lu.assertEquals(found, expected, brood.json.encode(figures))
  lu.assertEquals(#figures.first, figures.failed)
end

local function finds(good, act, lane, expected, options)
  with_server(good, act, function(address)
    counted(address, lane, expected, options)
  end)
end

local function close(tcp)
  tcp:close()
end

local T = {}

T["good answers are counted as such, kept and short, chunked or not, and Connection: close is obeyed"] = function()
  finds(99, nil, "1:keep:echo:0", { ok = 3 })
  finds(0, function(tcp, token)
    tcp:write(answer_to(token, "Connection: close\r\n"), function() tcp:close() end)
  end, "1:keep:echo:0", { ok = 3 })
  finds(0, function(tcp, token)
    local chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n3\r\nxxx\r\n0\r\n\r\n"
    tcp:write(chunked:format(#token, token))
  end, "1:short:echo:0", { ok = 3 })
end

T["a connection that cannot be made"] = function()
  counted("127.0.0.1:" .. s.free_port(), "1:short:echo:0", { connect = 3 })
  counted("unix:" .. s.temp_dir() .. "/none", "1:keep:echo:0", { connect = 3 })
end

T["a reset instead of an answer, and within one"] = function()
  finds(0, function(tcp) tcp:close_reset() end, "1:short:echo:0", { reset = 3 })
  finds(0, function(tcp)
    tcp:write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", function()
      brood.sleep(0.1, function() tcp:close_reset() end) -- what it got must be read before
    end)
  end, "1:keep:echo:0", { reset = 3 })
end

T["an end within an answer, by length and by chunks, and within the head"] = function()
  for _, text in ipairs { "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", "HTTP/1.1 200 OK\r\nConte",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nxxx\r\n" } do
    finds(0, function(tcp)
      tcp:write(text, function() tcp:close() end)
    end, "1:short:echo:0", { truncated = 3 })
  end
end

T["a new connection that ends unanswered, and an answer that never comes"] = function()
  finds(0, close, "1:short:echo:0", { unanswered = 3 })
  finds(0, function() end, "1:short:echo:0", { unanswered = 2 }, { requests = 2, timeout = 0.2 })
end

T["a kept connection that ends, or is reset, without an answer to what was sent on it"] = function()
  finds(1, close, "1:keep:echo:0", { ok = 2, stale = 1 })
  finds(1, function(tcp) tcp:close_reset() end, "1:keep:echo:0", { ok = 2, stale = 1 })
end

T["a kept connection that was closed while it was idle"] = function()
  finds(0, function(tcp, token)
    tcp:write(answer_to(token), function() tcp:close() end)
  end, "1:keep:echo:100", { ok = 2, stale = 1 })
end

T["another body, another status, somebody else's answer, or more than the answer"] = function()
  for _, text in ipairs { answer_to "another", answer_to("1."):gsub("200", "503"), answer_to "0.", "hello\r\n\r\n",
    answer_to "1.yx", answer_to "1.x" .. "more" } do
    finds(0, function(tcp)
      tcp:write(text)
    end, "1:short:echo:0", { wrong = 1 }, { requests = 1 })
  end
  finds(0, function(tcp)
    tcp:write(answer_to "1.xxx")
  end, "1:short:big:0", { wrong = 1 }, { requests = 1 })
end

return T
