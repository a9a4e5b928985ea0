--- Lines of several programs on one terminal: names, colours, and a reader who stops.
local lu = require "luaunit"
local s = require "spec.support"

local WRITER = [[
  local prefix, brood = require "brood.spinner.prefix", require "brood"
  local api, web = prefix.writer("api", 1, 1, 6), prefix.writer("worker", 1, 2, 6)
]]

local function script(code)
  return s.write_file("script.lua", WRITER .. code)
end

-- Run it with a terminal for its stdout, of which `read` is a Python function.
local function on_terminal(code, read, env)
  local python = [[
import os, pty, sys, time, fcntl, tty
pid, fd = pty.fork()
if pid == 0:
    tty.setraw(1)
    os.execv(sys.argv[1], sys.argv[1:])
def drain():
    data = b""
    while True:
        try:
            piece = os.read(fd, 65536)
        except OSError:
            piece = b""
        if not piece:
            return data
        data += piece
]] .. (read or "out = drain()") .. [[

os.waitpid(pid, 0)
sys.stdout.buffer.write(out)
]]
  local result = s.run({ "python3", "-c", python, s.binary, "exec", script(code) }, { env = env, timeout = 20 })
  lu.assertEquals(result.code, 0, result.stderr)
  return result.stdout
end

return {
  ["each line has its program's name before it, in columns, and no colours where there is no terminal"] = function()
    local result = s.run({ s.binary, "exec", script [[
      api "listening"
      web "ready\r"
      api ""
      api "\27[31mred"
    ]] }, { env = { NO_COLOR = false } })
    local lines = "api    | listening\nworker | ready\napi    | \napi    | \27[31mred\n"
    lu.assertEquals(result.stdout, lines, result.stderr)
  end,

  ["on a terminal each name has a colour, and a line that leaves one open does not colour the next"] = function()
    local out = on_terminal([[ api "one" web "\27[31mtwo" ]], nil, { NO_COLOR = false, TERM = "xterm" })
    lu.assertEquals(out, "\27[36mapi    | \27[0mone\n\27[33mworker | \27[0m\27[31mtwo\27[0m\n")
  end,

  ["NO_COLOR and a dumb terminal are heeded"] = function()
    for _, env in ipairs { { NO_COLOR = "1", TERM = "xterm" }, { NO_COLOR = false, TERM = "dumb" } } do
      lu.assertEquals(on_terminal([[ api "one" ]], nil, env), "api    | one\n")
    end
  end,

  ["a terminal that stops does not hold anything up; what it does not take waits for it"] = function()
    local out = on_terminal([[
      for i = 1, 5000 do api(("line %05d"):format(i) .. ("x"):rep(60)) end
      local began = brood.now()
      brood.sleep(0.05)
      assert(brood.now() - began < 5)
      local file = io.open(os.getenv("DONE"), "w")
      file:close()
    ]], [[
while not os.path.exists(os.environ["DONE"]):
    time.sleep(0.01)
out = drain()
]], { NO_COLOR = "1", DONE = s.temp_dir() .. "/done" })
    local n = 0
    for line in out:gmatch("[^\n]+") do
      n = n + 1
      lu.assertEquals(line, ("api    | line %05d"):format(n) .. ("x"):rep(60))
    end
    lu.assertEquals(n, 5000)
  end,

  ["beyond a megabyte lines are left out, and that is said when there is a reader again"] = function()
    local out = on_terminal([[
      for i = 1, 30000 do api(("line %05d"):format(i) .. ("x"):rep(60)) end
      io.open(os.getenv("DONE"), "w"):close()
    ]], [[
while not os.path.exists(os.environ["DONE"]):
    time.sleep(0.01)
out = drain()
]], { NO_COLOR = "1", DONE = s.temp_dir() .. "/done" })
    local lines = 0
    for line in out:gmatch("[^\n]+") do
      lines = lines + (line:match("^api    | line %d%d%d%d%dx+$") and 1 or 0)
    end
    local left_out = tonumber(out:match("%[(%d+) lines left out: nobody was reading%]\n$"))
    lu.assertNotNil(left_out, out:sub(-200))
    lu.assertEquals(lines + left_out, 30000)
  end,

  ["a pipe that nobody reads any more does no harm, and its flags stay as they are"] = function()
    local result = s.run { "sh", "-c", '"$0" exec "$1" | head -1; echo "ended"', s.binary, script [[
      for i = 1, 20000 do api("line " .. i) end
      io.stderr:write("alive\n")
    ]] }
    lu.assertEquals(result.stdout, "api    | line 1\nended\n")
    lu.assertStrContains(result.stderr, "alive")
    result = s.run { "sh", "-c", '("$0" exec "$1"; python3 -c "import os; print(os.get_blocking(1))") | cat', s.binary,
      script [[ api "line" ]] }
    lu.assertEquals(result.stdout, "api    | line\nTrue\n", result.stderr)
  end,

  ["a file takes lines in order with what others append to it"] = function()
    local path = s.temp_dir() .. "/out"
    local result = s.run { "sh", "-c", 'exec >"$2"; echo before; "$0" exec "$1"; echo after', s.binary,
      script [[ api "one" print("two") web "three" ]], path }
    lu.assertEquals(result.code, 0, result.stderr)
    lu.assertEquals(s.read_file(path), "before\napi    | one\ntwo\nworker | three\nafter\n")
  end,
}
