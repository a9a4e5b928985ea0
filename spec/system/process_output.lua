--- What a program writes, given to a function line by line: whole, in order, and no faster than it is taken.
local brood = require "brood"
local lu = require "luaunit"
local s = require "spec.support"
local p = require "spec.support.process"

local function run(process)
  lu.assertTrue(process:start())
  process:wait()
end

local function lines_of(text, options)
  local lines = p.lines()
  options = options or {}
  options.stdout = lines.add
  run(p.sh(text, options))
  lines.add = nil
  return lines
end

return {
  teardown = p.cleanup,

  ["each line once, without its end, empty ones too, and the last unfinished one"] = function()
    lu.assertEquals(lines_of [[printf 'one\n\ntwo\r\nthree']], { "one", "", "two\r", "three" })
    lu.assertEquals(lines_of "printf 'x\\n'", { "x" })
    lu.assertEquals(lines_of "true", {})
    lu.assertEquals(lines_of [[printf 'a\0b\n']], { "a\0b" })
  end,

  ["a line that comes in parts is one line"] = function()
    lu.assertEquals(lines_of "printf a; sleep 0.03; printf b; sleep 0.03; echo c", { "abc" })
  end,

  ["a line beyond 64k comes in pieces, and no empty one follows"] = function()
    for _, case in ipairs {
      { 65535 }, { 65536 }, { 65537, 65536, 1 }, { 131072, 65536, 65536 }, { 200000, 65536, 65536, 65536, 3392 },
    } do
      local lines = lines_of(("head -c %d /dev/zero | tr '\\0' x; echo; echo next"):format(case[1]))
      local sizes = {}
      for i, line in ipairs(lines) do
        sizes[i] = #line
      end
      local expected = case[2] and { unpack(case, 2) } or { case[1] }
      table.insert(expected, 4)
      lu.assertEquals(sizes, expected)
    end
  end,

  ["all that was written is there before the exit is told"] = function()
    local lines, at_exit = p.lines(), nil
    local process = p.sh("seq 1 20000", { stdout = lines.add })
    process:on("exit", function() at_exit = #lines end)
    run(process)
    lu.assertEquals({ at_exit, lines[1], lines[20000] }, { 20000, "1", "20000" })
  end,

  ["both streams to one function keep their order"] = function()
    local lines = p.lines()
    run(p.sh("for i in 1 2 3 4 5; do echo out $i; echo err $i >&2; done", { stdout = lines.add, stderr = lines.add }))
    local expected = {}
    for i = 1, 5 do
      table.insert(expected, "out " .. i)
      table.insert(expected, "err " .. i)
    end
    lines.add = nil
    lu.assertEquals(lines, expected)
  end,

  ["a reader that waits gets them in order, and holds the program up"] = function()
    local lines, written, go = {}, s.temp_dir() .. "/written", false
    local loop = "i=0; while [ $i -lt 4000 ]; do i=$((i+1)); printf '%0100d\\n' $i; echo $i > WRITTEN; done"
    local process = p.sh(loop:gsub("WRITTEN", written), {
      stdout = function(line)
        s.wait(function() return go end)
        table.insert(lines, tonumber(line))
      end,
    })
    process:start()
    local before
    local held = pcall(s.wait, function()
      brood.sleep(0.1)
      local now = tonumber(s.read_file(written))
      local same = now == before and now ~= nil
      before = now
      return same
    end)
    local taken = #lines
    go = true
    lu.assertTrue(held)
    lu.assertEquals(taken, 0)
    lu.assertTrue(before < 2000, "it has gone on writing: " .. before)
    lu.assertEquals({ process:wait() }, { 0 })
    lu.assertEquals(#lines, 4000)
    for i = 1, 4000 do
      lu.assertEquals(lines[i], i)
    end
  end,

  ["a reader that raises is logged and gets the next line"] = function()
    local result = s.script([[
      local seen = 0
      local p = require("brood.process").new {
        name = "talker", command = { "sh", "-c", "echo a; echo b" },
        stdout = function(line) seen = seen + 1 error("cannot stand " .. line) end,
      }
      p:start() p:wait()
      print(seen)
    ]]):finish()
    lu.assertEquals({ result.stdout, result.code }, { "2\n", 1 })
    lu.assertStrContains(result.stderr, "talker: output function: ")
    lu.assertStrContains(result.stderr, "cannot stand a")
    lu.assertStrContains(result.stderr, "cannot stand b")
    lu.assertStrContains(result.stderr, "stack traceback")
  end,

  ["a reader may stop, restart or wait for the process itself"] = function()
    for _, method in ipairs { "stop", "wait", "restart" } do
      local lines, result = {}, nil
      local process
      process = p.sh("printf 'fatal\\nmore\\n'; exec sleep " .. (method == "wait" and "0" or "60"), {
        stdout = function(line)
          table.insert(lines, line)
          if #lines == 1 then
            result = { process[method](process) }
          end
        end,
      })
      process:start()
      s.wait(function() return result and #lines >= 2 end, 10, method)
      lu.assertEquals(result, { method == "wait" and 0 or true })
      if method ~= "restart" then -- then the new one's may come between
        lu.assertEquals({ lines[1], lines[2] }, { "fatal", "more" })
      end
    end
  end,

  ["a reader that never comes back does not hold up a stop for longer than stop_timeout"] = function()
    local came, go = false, false
    local process = p.sh("echo x; exec sleep 60", { stop_timeout = 0.2, stdout = function()
      came = true
      s.wait(function() return go end)
    end })
    process:start()
    s.wait(function() return came end)
    local seconds = s.timed(process.stop, process)
    go = true
    lu.assertTrue(seconds >= 0.19 and seconds < 5)
    lu.assertEquals(process.exit_signal, "TERM")
  end,

  ["a program that writes without end leaves the loop to others"] = function()
    local count, turns = 0, 0
    local process = p.new { command = { "yes", "some text of a line" }, stdout = function() count = count + 1 end }
    process:start()
    for _ = 1, 10 do
      brood.sleep(0.001)
      turns = turns + 1
    end
    lu.assertEquals(turns, 10)
    s.wait(function() return count > 1000 end)
    process:stop()
    lu.assertEquals(process.exit_signal, "TERM")
  end,

  ["a stray process that holds the pipe, and even writes on, keeps nobody waiting"] = function()
    for _, stray in ipairs { "sleep 60", "yes" } do
      local lines = p.lines()
      local text = "setsid " .. stray .. " & echo $! >&2; exit 3"
      local process = p.sh(text, { stdout = function() end, stderr = lines.add })
      local seconds = s.timed(function()
        process:start()
        lu.assertEquals({ process:wait() }, { 3 })
      end)
      lu.assertTrue(seconds < 5 * s.slow)
      require("brood.posix").kill(tonumber(lines[1]), "KILL")
      s.wait(function() return not s.stat(tonumber(lines[1])) end)
    end
  end,

  ["100 starts leave no descriptor behind"] = function()
    local before = s.fd_count()
    for _ = 1, 100 do
      run(p.sh("echo x", { stdout = function() end, stderr = function() end, stdin = "pipe" }))
    end
    lu.assertEquals(s.fd_count(), before)
  end,
}
