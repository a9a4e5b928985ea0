--- Many processes of one supervisor: a descriptor each, limits that are named, and ends that come together.
local lu = require "luaunit"
local s = require "spec.support"

local function script(code, limit, args)
  local path = s.write_file("many.lua", [[
    local Process, brood, uv = require "brood.process", require "brood", require "luv"
    local posix = require "brood.posix"
    local function fds()
      local n, dir = 0, uv.fs_scandir("/proc/self/fd")
      while uv.fs_scandir_next(dir) do n = n + 1 end
      return n
    end
  ]] .. code)
  local argv = { "sh", "-c", limit .. '; exec "$0" exec "$@"', s.binary, path, unpack(args or {}) }
  return s.run(argv, { timeout = 30 })
end

return {
  ["each takes one descriptor while its output is ours, and gives it back"] = function()
    local result = script([[
      local list, before = {}, nil
      for i = 1, 200 do list[i] = Process.new { command = { "sleep", "100" } } end
      assert(list[1]:start())
      before = fds()
      for i = 2, 200 do assert(list[i]:start()) end
      print("more", fds() - before)
      for _, process in ipairs(list) do process:stop() end
      print("left", before - 1 - fds())
    ]], "true")
    lu.assertEquals(result.stdout, "more\t199\nleft\t0\n", result.stderr)
  end,

  ["a start beyond the limit of open files fails, and its error names that"] = function()
    local result = script([[
      local err
      for i = 1, 100 do
        local ok, why = Process.new({ command = { "sleep", "100" } }):start()
        if not ok then err = why break end
      end
      print(err.code, err)
      os.exit(0)
    ]], "ulimit -n 60")
    lu.assertEquals(result.stdout, "EMFILE\tsleep: start sleep: Too many open files (the limit nofile is 60)\n",
      result.stderr)
  end,

  ["we take as many open files as we may, and programs have the limit that we were given"] = function()
    local result = script([[
      local soft = Process.run { "sh", "-c", "ulimit -Sn; ulimit -Hn" }
      print((soft.stdout:gsub("\n", " ")))
      for line in io.lines "/proc/self/limits" do
        local soft, hard = line:match "^Max open files%s+(%d+)%s+(%d+)"
        if soft then print(soft, hard) end
      end
    ]], "ulimit -Sn 50 && ulimit -Hn 90")
    lu.assertEquals(result.stdout, "50 90 \n90\t90\n", result.stderr)
  end,

  ["nothing of ours is open in one that is started among many"] = function()
    local result = script([[
      io.open("/dev/null")
      for i = 1, 30 do assert(Process.new({ command = { "sleep", "100" } }):start()) end
      for _, options in ipairs { {}, { stdin = "/dev/zero" }, { stdout = false, stderr = false } } do
        options.stderr = options.stderr == nil and "/dev/null" or options.stderr
        local seen = {}
        local code = "exec >%s; i=0; while [ $i -lt 99 ]; do [ -e /proc/$$/fd/$i ] && readlink /proc/$$/fd/$i; i=$((i+1)); done"
        options.command = { "sh", "-c", code:format(arg[1]) }
        local process = Process.new(options)
        assert(process:start())
        process:wait()
        for target in io.lines(arg[1]) do seen[#seen + 1] = target:match "[^/.]*$" end
        print(table.concat(seen, " "))
      end
      os.exit(0)
    ]], "true", { s.temp_dir() .. "/many.out" })
    lu.assertEquals(result.stdout, "null out null\nzero out null\nnull out null\n", result.stderr)
  end,

  ["hundreds that end together are all heard of, orphans among them, and their groups are empty"] = function()
    local result = script([[
      local list, ended = {}, 0
      -- Each third leaves a grandchild in its group, which takes a moment to end, and each fifth an orphan beyond it.
      for i = 1, 150 do
        local code = "exec sleep 100"
        if i % 3 == 0 then code = "(trap 'sleep 0.05; exit' TERM; while :; do sleep 0.01; done) & " .. code end
        if i % 5 == 0 then code = "(setsid sleep 0.2 &) & " .. code end
        list[i] = Process.new { command = { "sh", "-c", code } }
        list[i]:on("exit", function() ended = ended + 1 end)
      end
      for _, process in ipairs(list) do assert(process:start()) end
      brood.sleep(0.1)
      local all = require("brood.join").new(function()
        print("ended", ended)
      end)
      for _, process in ipairs(list) do process:stop(all:branch()) end
      all.all_begun()
      local function children()
        local file = io.open(("/proc/self/task/%d/children"):format(posix.getpid()))
        local text = file:read "*a"
        file:close()
        return text
      end
      local deadline = brood.now() + 20
      while (ended < 150 or children() ~= "") and brood.now() < deadline do brood.sleep(0.01) end
      print("children", children())
      os.exit(0)
    ]], "true")
    lu.assertEquals(result.stdout, "ended\t150\nchildren\t\n", result.stderr)
  end,

  ["one that dies among many is heard of at once, and so is the next"] = function()
    local result = script([[
      local list, times = {}, {}
      for i = 1, 300 do
        list[i] = Process.new { command = { "sleep", "100" } }
        assert(list[i]:start())
      end
      for i = 1, 20 do
        local process = list[i * 15]
        local killed = brood.now()
        uv.kill(process.pid, 9)
        process:wait()
        assert(process:start())
        times[i] = brood.now() - killed
      end
      table.sort(times)
      print(times[10] < 0.05 and "soon" or times[10])
      os.exit(0)
    ]], "true")
    lu.assertEquals(result.stdout, "soon\n", result.stderr)
  end,

  ["patience ends in its order, without the time in which we stood still, and not once it is cancelled"] = function()
    local result = script([[
      local timer = require "brood.timer"
      local said, began = {}, brood.now()
      local function say(what)
        return function() said[#said + 1] = what end
      end
      timer.patience(0.3, say "long")
      timer.patience(0.1, say "short")
      local cancelled = timer.patience(0.1, say "never")
      timer.patience(0.1, function()
        said[#said + 1] = "raises"
        timer.patience(0.05, say "begun by another")
        error "on purpose"
      end)
      timer.patience(0.2, say "between"):cancel()
      timer.patience(0.2, say "after a standstill")
      timer.patience(0, say "none")
      cancelled:cancel()
      cancelled:cancel()
      brood.sleep(0.02)
      uv.sleep(500)
      print(table.concat(said, ", "))
      brood.sleep(0.01)
      print(table.concat(said, ", "))
      while #said < 6 do brood.sleep(0.01) end
      print(table.concat(said, ", "))
      print(brood.now() - began >= 0.75)
      local pid = posix.fork()
      if pid == 0 then
        timer.patience(0.01, function() posix.write(1, "in a child\n") os.exit(0) end)
      else
        posix.waitpid(pid)
      end
    ]], "true")
    lu.assertStrContains(result.stderr, "on purpose")
    local whole = "none, short, raises, begun by another, after a standstill, long"
    local lines = {}
    for line in result.stdout:gmatch "[^\n]+" do
      table.insert(lines, line)
    end
    lu.assertEquals({ lines[1], lines[2], lines[3], lines[4], lines[5] },
      { "none", "none", whole, "true", "in a child" }, result.stderr)
  end,
}
