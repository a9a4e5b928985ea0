--- Every example does what its README says.
local lu = require "luaunit"
local s = require "spec.support"

local function example(path)
  return s.root .. "/examples/" .. path
end

local function output(path, args, options)
  local result = s.brood({ "exec", example(path), unpack(args or {}) }, options):finish(20)
  lu.assertEquals(result.stderr, "")
  lu.assertEquals(result.code, 0)
  return result.stdout
end

return {
  ["hello: greets, echoes, answers 404, and a killed worker is replaced"] = function()
    local p = s.brood { "run", example "hello/brood.lua", "-l", "127.0.0.1:0", "-w", "1", "--control", "false" }
    local address = "127.0.0.1:" .. p:expect("serve 127%.0%.0%.1:(%d+)")
    local greeting = s.get(address, "/")
    lu.assertEquals(greeting.status, 200)
    local pid = tonumber(greeting.body:match("^Hello from worker (%d+)\n$"))
    lu.assertEquals(s.get(address, "/nowhere").status, 404)
    local socket = s.connect(address)
    socket:send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: text/x\r\nContent-Length: 5\r\n\r\nhello")
    local echo = socket:response()
    lu.assertEquals({ echo.status, echo.headers["content-type"], echo.body }, { 200, "text/x", "hello" })
    require("luv").kill(pid, "sigkill")
    s.wait(function()
      local ok, answer = pcall(s.get, address, "/")
      return ok and answer.body:match("%d+") ~= tostring(pid)
    end, 5, "the replacement's answer")
    p:kill("INT")
    lu.assertEquals({ p:wait() }, { 0 })
  end,

  ["messages: fork and a pipe"] = function()
    local text = output "messages/fork_pipe.lua"
    lu.assertStrMatches(text, "the child %d+ found 500500\nit exited with status 7\n")
  end,

  ["messages: Worker.fork with values both ways"] = function()
    lu.assertEquals(output "messages/worker.lua", 'line 1 has 6 words, the last is "be"\n'
      .. 'line 2 has 4 words, the last is "question"\nthe child ended: code 0, signal nil\n')
  end,

  ["messages: a descriptor inside a message"] = function()
    lu.assertEquals(output "messages/hand_over.lua", "written by the child, into the parent's pipe\n")
  end,

  ["scripts: the deployment goes through, and leaves nothing running"] = function()
    local target = s.temp_dir()
    local port = s.free_port()
    local text = output("scripts/deploy.lua", { target }, { env = { DEPLOY_PORT = tostring(port) } })
    lu.assertStrContains(text, "slow:   nil, timeout\n")
    lu.assertStrContains(text, '"GET /index.html HTTP/1.1" 200')
    lu.assertStrContains(text, "index:  <h1>release</h1>\n")
    lu.assertStrContains(text, "ended:  TERM\n")
    lu.assertFalse(pcall(s.connect, "127.0.0.1:" .. port))
  end,

  ["scripts: a deployment without a target says how it is used"] = function()
    local result = s.brood({ "exec", example "scripts/deploy.lua" }):finish()
    lu.assertEquals(result.code, 1)
    lu.assertStrContains(result.stderr, "usage: brood exec deploy.lua TARGET_DIR")
  end,
}
