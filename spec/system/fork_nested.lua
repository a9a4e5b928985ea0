--- A fork in a task that was woken from within somebody else's call: none of the parent's frames goes on in the
--- child, neither Lua's nor C's, and the child lives to its own end.
local lu = require "luaunit"
local s = require "spec.support"
local scripts = require "spec.support.scripts"

local HEAD = scripts.FORKS .. scripts.SERVERS .. [[
  local child
  local function fork_once()
    if child then return end
    child = posix.fork()
    if child == 0 then
      say "the child"
      collectgarbage() -- what it stands on is still used
      brood.sleep(0.02)
      say "the child later"
      os.exit(7)
    end
  end
  local function reap()
    local _, how, status = posix.waitpid(child)
    say("it " .. how .. " " .. status)
    os.exit(0)
  end
  local function request(address, text)
    local conn = assert(net.connect(address))
    conn:write(text)
    return conn
  end
]]

local WHOLE = { "it exited 7", "the child", "the child later" }

-- What a script says besides the life of its child.
local function says(text, ...)
  local wanted = { ... }
  for _, line in ipairs(WHOLE) do
    wanted[#wanted + 1] = line
  end
  table.sort(wanted)
  lu.assertEquals(scripts.lines(HEAD .. text, { timeout = 15 }), wanted)
end

return {
  ["what follows conn:close() runs in the parent alone, though the reader that it wakes forks"] = function()
    says([[
      local server = net.server(function(conn)
        brood.async(function() conn:read() fork_once() end)
        brood.sleep(0.02)
        conn:close()
        say("closed in " .. who())
        reap()
      end)
      net.connect(listening(server))
      brood.sleep(10)
    ]], "closed in parent")
  end,

  ["what follows res:finish() runs in the parent alone, though the writer that it wakes forks"] = function()
    says([[
      local server = http.server(function(req, res)
        brood.async(function()
          repeat until not res:write(("x"):rep(100000))
          fork_once()
        end)
        brood.sleep(0.02)
        res:finish()
        say("finished in " .. who())
        reap()
      end)
      request(listening(server), "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
      brood.sleep(10)
    ]], "finished in parent")
  end,

  ["what follows server:close() runs in the parent alone, though a handler that it runs forks"] = function()
    says([[
      local server = http.server(function(req, res)
        if req.path == "/2" then fork_once() end
        res:finish()
      end)
      local conn = request(listening(server), "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n")
      conn:read()
      conn:write "GET /2 HTTP/1.1\r\nHost: a\r\n\r\n"
      server:close(function() end)
      say("closed in " .. who())
      brood.sleep(0.02)
      reap()
    ]], "closed in parent")
  end,

  ["of requests that time out in one turn, the first to wake may fork"] = function()
    says([[
      local woken = 0
      local server = http.server(function(req)
        req:body()
        woken = woken + 1
        fork_once()
        if woken == 3 then brood.async(function() say("all in " .. who()) reap() end) end
      end, { request_timeout = 0.05 })
      local address = listening(server)
      for _ = 1, 3 do request(address, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe") end
      brood.sleep(10)
    ]], "all in parent")
  end,

  ["a close listener may fork when a stopping server loses its last connection"] = function()
    says([[
      local server = http.server(function(req) req:on("close", fork_once) brood.sleep(10) end)
      local conn = request(listening(server), "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
      brood.sleep(0.02)
      server:close(function() say("stopped in " .. who()) reap() end)
      conn.core:abort()
      brood.sleep(10)
    ]], "stopped in parent")
  end,

  ["a child of a request that was pipelined serves requests of its own"] = function()
    says([[
      local server = http.server(function(req, res)
        if req.path == "/2" then
          child = posix.fork()
          if child == 0 then
            say "the child"
            local mine = http.server(function(_, answer) answer:finish "mine" end)
            say("the child " .. http.get("http://" .. listening(mine) .. "/").body:gsub("mine", "later"))
            os.exit(7)
          end
        end
        res:finish()
        if child then reap() end
      end)
      local get = "GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"
      request(listening(server), get:format(1) .. get:format(2) .. get:format(3))
      brood.sleep(10)
    ]])
  end,

  ["an error in a raw callback of a child is told of once, with frames of its own alone, whatever forked it"] =
    function()
      for _, go in ipairs {
        "local t = uv.new_timer() t:start(5, 0, function() t:close() fork() end)",
        "brood.async(function() brood.sleep(0.005) fork() end)",
      } do
        local result = s.script(HEAD .. [[
          local function fork()
            local pid = posix.fork()
            if pid ~= 0 then posix.waitpid(pid) return end
            local mine = uv.new_timer()
            mine:start(5, 0, function() mine:close() error "in the child" end)
          end
        ]] .. go):finish(10)
        lu.assertEquals(result.code, 0)
        local _, told = result.stderr:gsub("in the child", "")
        lu.assertEquals(told, 1, result.stderr)
        lu.assertNotStrContains(result.stderr, "task.lua")
      end
    end,

  ["fifty generations, each the child of the one before, end with a status each"] = function()
    local result = s.script(HEAD .. [[
      local function generation(n)
        brood.sleep(0.001)
        local pid = n < 50 and posix.fork()
        if pid == 0 then return generation(n + 1) end
        local _, _, status = posix.waitpid(pid or -1)
        os.exit(pid and status + 1 or 0)
      end
      generation(0)
    ]]):finish(15)
    lu.assertEquals({ result.code, result.stderr }, { 50, "" })
  end,
}
