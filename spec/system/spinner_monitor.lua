--- Files and directories that are watched: what counts as a change, and how often it is told.
local brood = require "brood"
local lu = require "luaunit"
local monitor = require "brood.spinner.monitor"
local s = require "spec.support"
local uv = require "luv"

local open = {}

local function watch(paths, options)
  local seen = {}
  local handle, err = monitor.watch(paths, options, function(path)
    table.insert(seen, path)
  end)
  assert(handle, tostring(err))
  table.insert(open, handle)
  return seen, handle
end

local function write(path, text)
  local file = assert(io.open(path, "w"))
  file:write(text or "x")
  file:close()
end

local function one_more(seen, n, what)
  s.wait(function() return #seen >= n end, 5, what or ("change number " .. n))
end

-- What was done so far is settled: nothing that is told from here on is about it.
local function quiet(seen)
  local n, since = #seen, uv.hrtime()
  s.wait(function()
    if #seen ~= n then
      n, since = #seen, uv.hrtime()
    end
    return uv.hrtime() - since > 0.2e9
  end, 5, "quiet")
  return #seen
end

local function stays(seen, n, what)
  s.remains(function() return #seen == n end, 0.3, what or "silence")
end

local function directory_with(name, text)
  local dir = s.temp_dir()
  write(dir .. "/" .. name, text)
  return dir, dir .. "/" .. name
end

return {
  teardown = function()
    for i = #open, 1, -1 do
      open[i]:close()
      open[i] = nil
    end
  end,

  ["a file that is written to has changed, once, and its neighbours are nobody's business"] = function()
    local dir, path = directory_with("app.lua")
    local seen = watch(path)
    write(path, "y")
    one_more(seen, 1)
    lu.assertEquals(seen, { path })
    write(dir .. "/other.lua")
    stays(seen, 1)
  end,

  ["an editor that puts a new file in place of the old one is seen, again and again"] = function()
    local _, path = directory_with("app.lua")
    local seen = watch(path)
    for i = 1, 3 do
      write(path .. ".new", "version " .. i)
      assert(os.rename(path .. ".new", path))
      one_more(seen, i)
    end
    write(path, "in place")
    one_more(seen, 4)
    -- vim: the old one becomes the backup, the new one is written, the backup goes
    assert(os.rename(path, path .. "~"))
    write(path, "vim")
    assert(os.remove(path .. "~"))
    one_more(seen, 5)
    lu.assertEquals(quiet(seen), 5)
  end,

  ["a file that is gone is told of when it is back"] = function()
    local _, path = directory_with("app.lua")
    local seen = watch(path)
    os.remove(path)
    stays(seen, 0)
    write(path, "again")
    one_more(seen, 1)
    quiet(seen)
    assert(os.rename(path, path .. ".away"))
    stays(seen, 1)
    assert(os.rename(path .. ".away", path))
    one_more(seen, 2)
  end,

  ["a file that is not there yet is waited for; where its folder is missing too, that is an error"] = function()
    local dir = s.temp_dir()
    local seen = watch(dir .. "/later.lua")
    write(dir .. "/later.lua")
    one_more(seen, 1)
    local handle, err = monitor.watch(dir .. "/no/such.lua", nil, function() end)
    lu.assertNil(handle)
    lu.assertEquals(err.code, "ENOENT")
    lu.assertStrContains(tostring(err), dir .. "/no/such.lua")
  end,

  ["the folder of a file is removed and made again"] = function()
    local dir = s.temp_dir()
    local path = dir .. "/dist/js/app.js"
    s.write_file(path, "1")
    local seen = watch(path)
    os.remove(path)
    assert(uv.fs_rmdir(dir .. "/dist/js"))
    assert(uv.fs_rmdir(dir .. "/dist"))
    stays(seen, 0)
    for i = 1, 2 do
      s.write_file(path, "again " .. i)
      one_more(seen, i)
      quiet(seen)
    end
  end,

  ["a directory: files and folders below it, those that are made later too"] = function()
    local dir = s.temp_dir()
    s.write_file(dir .. "/lib/deep/er/a.lua", "1")
    local seen = watch(dir)
    write(dir .. "/lib/deep/er/a.lua", "2")
    one_more(seen, 1)
    lu.assertEquals(seen[1], dir .. "/lib/deep/er/a.lua")
    os.remove(dir .. "/lib/deep/er/a.lua")
    one_more(seen, 2)
    s.write_file(dir .. "/fresh/folder/b.lua", "1")
    one_more(seen, 3)
    local n = quiet(seen)
    write(dir .. "/fresh/folder/b.lua", "2")
    one_more(seen, n + 1)
    lu.assertEquals(seen[n + 1], dir .. "/fresh/folder/b.lua")
    assert(os.rename(dir .. "/fresh", dir .. "/moved"))
    one_more(seen, n + 2)
    n = quiet(seen)
    write(dir .. "/moved/folder/b.lua", "3")
    one_more(seen, n + 1)
    lu.assertEquals(seen[n + 1], dir .. "/moved/folder/b.lua")
  end,

  ["a directory that is replaced as a whole is watched as it is then"] = function()
    local dir = s.temp_dir()
    s.write_file(dir .. "/app/a.lua", "1")
    local seen = watch(dir .. "/app")
    assert(os.rename(dir .. "/app", dir .. "/old"))
    stays(seen, 0)
    s.write_file(dir .. "/app/sub/a.lua", "2")
    one_more(seen, 1)
    local n = quiet(seen)
    write(dir .. "/old/a.lua", "nobody's")
    stays(seen, n)
    write(dir .. "/app/sub/a.lua", "3")
    one_more(seen, n + 1)
  end,

  ["a symlink on the way that is pointed elsewhere is a change, and what it led to is watched no more"] = function()
    local dir = s.temp_dir()
    s.write_file(dir .. "/releases/1/app.lua", "1")
    s.write_file(dir .. "/releases/2/app.lua", "2")
    assert(uv.fs_symlink("releases/1", dir .. "/current"))
    local files, whole = watch(dir .. "/current/app.lua"), watch(dir .. "/current")
    assert(uv.fs_symlink("releases/2", dir .. "/next"))
    assert(os.rename(dir .. "/next", dir .. "/current"))
    one_more(files, 1)
    one_more(whole, 1)
    quiet(whole)
    write(dir .. "/releases/1/app.lua", "late")
    stays(whole, 1)
    lu.assertEquals(#files, 1)
    write(dir .. "/releases/2/app.lua", "3")
    one_more(files, 2)
    one_more(whole, 2)
  end,

  ["a file that is a symlink changes with what it leads to"] = function()
    local dir, path = directory_with("real.lua")
    local elsewhere = s.temp_dir()
    assert(uv.fs_symlink(path, elsewhere .. "/app.lua"))
    local seen = watch(elsewhere .. "/app.lua")
    write(path, "new")
    one_more(seen, 1)
    write(dir .. "/other")
    stays(seen, 1)
  end,

  ["a burst is told once, about 100 ms after its end, and one that goes on every second"] = function()
    local _, path = directory_with("app.lua")
    local seen = watch(path)
    for i = 1, 20 do
      write(path, tostring(i))
    end
    local took = s.timed(one_more, seen, 1)
    lu.assertTrue(took > 0.08, ("told after %.3f s"):format(took))
    stays(seen, 1)
    local going, began = true, uv.hrtime()
    local writer = brood.async(function()
      while going do
        write(path, tostring(uv.hrtime()))
        brood.sleep(0.03)
      end
    end)
    one_more(seen, 2)
    took = (uv.hrtime() - began) / 1e9
    going = false
    writer:wait()
    lu.assertTrue(took > 0.85 and took < 2 * s.slow, ("told after %.3f s"):format(took))
  end,

  ["what version control, editors and interpreters write is no change, nor what the caller leaves out"] = function()
    local dir = s.temp_dir()
    s.write_file(dir .. "/.git/HEAD", "1")
    s.write_file(dir .. "/log/app.log", "1")
    s.write_file(dir .. "/src/a.py", "1")
    local seen = watch(dir, { ignore = { "log", "*.sqlite" } })
    write(dir .. "/.git/HEAD", "2")
    write(dir .. "/.git/index.lock", "2")
    write(dir .. "/log/app.log", "2")
    write(dir .. "/src/.a.py.swp", "2")
    write(dir .. "/data.sqlite", "2")
    s.write_file(dir .. "/src/__pycache__/a.pyc", "2")
    s.write_file(dir .. "/node_modules/x/index.js", "2")
    stays(seen, 0)
    write(dir .. "/src/a.py", "2")
    one_more(seen, 1)
    lu.assertEquals(seen, { dir .. "/src/a.py" })
  end,

  ["reading, and opening without writing, is no change; a touch is one"] = function()
    local _, path = directory_with("app.lua")
    local seen = watch(path)
    s.read_file(path)
    io.open(path, "a"):close()
    stays(seen, 0)
    assert(uv.fs_utime(path, 1, 1))
    one_more(seen, 1)
  end,

  ["several paths, relative ones too, and several monitors of one path"] = function()
    local dir = s.temp_dir()
    local here = uv.cwd()
    s.write_file(dir .. "/a.lua", "1")
    s.write_file(dir .. "/lib/b.lua", "1")
    assert(uv.chdir(dir))
    local seen = watch { "a.lua", "./lib/" }
    local other, handle = watch { dir .. "/a.lua" }
    uv.chdir(here)
    write(dir .. "/a.lua", "2")
    one_more(seen, 1)
    one_more(other, 1)
    lu.assertStrMatches(seen[1], ".*/a.lua")
    write(dir .. "/lib/b.lua", "2")
    one_more(seen, 2)
    lu.assertStrMatches(seen[2], ".*/lib/b.lua")
    handle:close()
    write(dir .. "/a.lua", "3")
    one_more(seen, 3)
    lu.assertEquals(#other, 1)
  end,

  ["a closed monitor tells nothing, not even of what it has seen already, and leaves no descriptor"] = function()
    local _, path = directory_with("app.lua")
    local seen, handle = watch(path)
    write(path, "y")
    brood.sleep(0.02)
    handle:close()
    handle:close()
    stays(seen, 0)
    for _, target in pairs(s.fds()) do
      lu.assertNotStrContains(target, "inotify")
    end
  end,

  ["it does not keep a script alive, and a forked child has nothing of it"] = function()
    local _, path = directory_with("app.lua")
    local script = s.write_file("script.lua", ([[
      local monitor = require "brood.spinner.monitor"
      local told = 0
      local handle = assert(monitor.watch(%q, nil, function() told = told + 1 end))
      local worker = require("brood.worker").fork()
      if worker:is_child() then
        for name in require("lfs").dir("/proc/self/fd") do
          local to = require("luv").fs_readlink("/proc/self/fd/" .. name) or ""
          if to:find("inotify") then error("the child has " .. to) end
        end
        handle:close()
        worker:exit(0)
        return
      end
      worker:on("exit", function(code) print("child", code) end)
    ]]):format(path))
    local result = s.run { s.binary, "exec", script }
    lu.assertEquals(result.code, 0, result.stderr)
    lu.assertStrContains(result.stdout, "child\t0")
  end,

  ["where the kernel watches no more it looks every second, and says so once"] = function()
    local dir = s.temp_dir()
    s.write_file(dir .. "/lib/a.lua", "1")
    local directories = require "brood.spinner.directories"
    local E = require "brood.error"
    local real, lines = directories.watch, {}
    local log = require "brood.log"
    local warn = log.warn
    directories.watch = function() return nil, E.new("ENOSPC", "watch: no space left on device") end
    log.warn = function(text) table.insert(lines, text) end
    local ok, seen = pcall(watch, { dir, dir .. "/lib/a.lua" })
    directories.watch, log.warn = real, warn
    lu.assertTrue(ok, tostring(seen))
    lu.assertEquals(#lines, 1)
    lu.assertStrContains(lines[1], "every second")
    write(dir .. "/lib/a.lua", "22")
    one_more(seen, 1)
    local n = quiet(seen)
    s.write_file(dir .. "/lib/new/b.lua", "1")
    one_more(seen, n + 1)
    n = quiet(seen)
    os.remove(dir .. "/lib/new/b.lua")
    one_more(seen, n + 1)
  end,

  ["its function may wait, and what it raises is logged and does no harm"] = function()
    local _, path = directory_with("app.lua")
    local script = s.write_file("script.lua", ([[
      local monitor, brood, uv = require "brood.spinner.monitor", require "brood", require "luv"
      local n = 0
      assert(monitor.watch(%q, nil, function()
        n = n + 1
        brood.sleep(0.01)
        if n == 1 then error("the first") end
        print("told", n)
        os.exit(0)
      end))
      for i = 1, 40 do
        local file = io.open(%q, "w")
        file:write(i)
        file:close()
        brood.sleep(0.25)
      end
    ]]):format(path, path))
    local result = s.run { s.binary, "exec", script }
    lu.assertEquals(result.stdout, "told\t2\n", result.stderr)
    lu.assertStrContains(result.stderr, "the first")
  end,
}
