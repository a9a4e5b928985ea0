--- USR2: a new master beside the old one, on the same sockets, and what each of them has while both live
--- (brood.master.upgrade for the old one, brood.master.predecessor for the new one).
local lu = require "luaunit"
local s = require "spec.support"
local upgrade = require "spec.support.upgrade"
local uv = require "luv"

local function start(options)
  options = options or {}
  options.app = options.app or upgrade.APP
  return upgrade.start(options)
end

local function copy_of_brood(dir)
  local path = dir .. "/bin/brood"
  s.write_file(dir .. "/bin/README", "")
  assert(uv.fs_copyfile(s.binary, path .. ".new"))
  assert(uv.fs_rename(path .. ".new", path))
  return path
end

local function executable(pid)
  return uv.fs_readlink(("/proc/%d/exe"):format(pid))
end

return {
  ["both masters serve, until the old one is told to go"] = function()
    local m = start { config = 'on_start = function(_, why) note("why", why) end,' }
    local old, at = m:pid(), m:address()
    local new = m:upgrade()
    lu.assertEquals(m:file "run.pid", new .. "\n")
    lu.assertEquals(m:file "run.pid.oldbin", old .. "\n")
    s.wait(function()
      local set = m:who_answers(20)
      return set[old] and set[new]
    end, 10, "answers of both")
    m:finish(old)
    lu.assertEquals(m:who_answers(), { [new] = true })
    lu.assertFalse(s.exists(m.dir .. "/run.pid.oldbin"))
    lu.assertEquals(m:file "run.pid", new .. "\n")
    lu.assertEquals(m:address(), at)
    lu.assertEquals(m:notes(), "why start\nwhy upgrade\n")
    m:over()
    lu.assertFalse(s.exists(m.dir .. "/run.pid"))
    lu.assertEquals({ m.program:wait() }, { 0 })
  end,

  ["TERM ends the old one as well, and the new one stays"] = function()
    local m = start()
    local old = m:pid()
    local new = m:upgrade()
    m:finish(old, "TERM")
    lu.assertEquals(m:who_answers(10), { [new] = true })
    m:over()
  end,

  ["a new one that is told to go leaves the old one as it was"] = function()
    local m = start()
    local old = m:pid()
    local new = m:upgrade()
    m:finish(new)
    lu.assertEquals(m:file "run.pid", old .. "\n")
    lu.assertFalse(s.exists(m.dir .. "/run.pid.oldbin"))
    lu.assertEquals(m:who_answers(10), { [old] = true })
    local _, status = m:ask "/status"
    lu.assertEquals({ status.pid, status.new_pid }, { old })
    m:logged(("info  %%[%d%%] the new master %%(pid %d%%) has ended as it was told; this master goes on"):format(old,
      new))
    m:over()
  end,

  ["the control server is the new master's, and the old one's again when that has gone"] = function()
    local m = start()
    local old = m:pid()
    local new = m:upgrade()
    local _, status = m:ask "/status"
    lu.assertEquals({ status.pid, status.old_pid }, { new, old })
    m:finish(new)
    _, status = m:ask "/status"
    lu.assertEquals(status.pid, old)
    new = m:upgrade(old)
    m:finish(old)
    _, status = m:ask "/status"
    lu.assertEquals({ status.pid, status.old_pid }, { new })
    m:over()
    lu.assertFalse(s.exists(m.control))
  end,

  ["the control server answers a wish for an upgrade once the new master serves, or with why it does not"] = function()
    local m = start()
    local old = m:pid()
    local function ask()
      local socket = s.connect("unix:" .. m.control)
      socket:send "POST /upgrade HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
      return socket:response()
    end
    s.write_file(m.dir .. "/app.lua", "error 'not this one'")
    local response = ask()
    lu.assertEquals(response.status, 500)
    lu.assertStrContains(response.body, "not this one")
    s.write_file(m.dir .. "/app.lua", upgrade.APP)
    response = ask()
    local new = m:pid()
    table.insert(m.masters, new)
    lu.assertEquals({ response.status, response.body:match '"new_pid":(%d+)' }, { 200, tostring(new) })
    response = ask()
    lu.assertEquals(response.status, 409)
    lu.assertStrContains(response.body, ("the old master (pid %d) is still there"):format(old))
    m:over()
  end,

  ["ten upgrades in a row leave as many descriptors as one, and no process"] = function()
    local m = start {
      config = 'listen = { "127.0.0.1:0", "unix:app.sock", { address = "127.0.0.1:0", reuseport = true } },',
    }
    local counts = {}
    for i = 1, 10 do
      local old = m:pid()
      local new = m:upgrade()
      m:finish(old)
      m:get()
      s.wait(function()
        counts[i] = s.fd_count(new)
        return i == 1 or counts[i] == counts[1]
      end, 5, function()
        return ("%d descriptors in place of %d: %s"):format(counts[i], counts[1], lu.prettystr(s.fds(new)))
      end)
    end
    lu.assertEquals(s.get("unix:" .. m.dir .. "/app.sock").body, tostring(m:pid()))
    m:over()
    lu.assertFalse(s.exists(m.dir .. "/app.sock"))
  end,

  ["the new master is whatever program has been put in the place of the old one's"] = function()
    local dir = s.temp_dir()
    local binary = copy_of_brood(dir)
    local m = start { binary = binary }
    local old = m:pid()
    local first = uv.fs_stat(("/proc/%d/exe"):format(old)).ino
    copy_of_brood(dir)
    local new = m:upgrade()
    lu.assertEquals(executable(new), binary)
    lu.assertNotEquals(uv.fs_stat(("/proc/%d/exe"):format(new)).ino, first)
    m:over()
  end,

  ["a program that has been deleted is run again, and found again when it is back"] = function()
    local dir = s.temp_dir()
    local binary = copy_of_brood(dir)
    local m = start { binary = "brood", env = { PATH = dir .. "/bin:" .. os.getenv "PATH" } }
    local old = m:pid()
    uv.fs_unlink(binary)
    local new = m:upgrade()
    lu.assertStrContains(executable(new), "(deleted)")
    lu.assertEquals(s.stat(new).name, "brood")
    lu.assertEquals(s.cmdline(new)[1]:match "^brood: master ", "brood: master ")
    m:finish(old)
    copy_of_brood(dir)
    local newest = m:upgrade(new)
    lu.assertEquals(executable(newest), binary)
    m:over()
  end,

  ["it is started in the directory of the start, by its name: a moved symlink is followed"] = function()
    local dir = s.temp_dir()
    for _, release in ipairs { "one", "two" } do
      s.write_file(("%s/%s/app.lua"):format(dir, release),
        ('return function(_, res) res:finish "%s" end'):format(release))
      s.write_file(("%s/%s/brood.lua"):format(dir, release), ([[
        return { app = "app.lua", listen = "127.0.0.1:0", workers = 1, pidfile = %q, control = false }
      ]]):format(dir .. "/run.pid"))
    end
    assert(uv.fs_symlink(dir .. "/one", dir .. "/current"))
    local p = s.brood({ "run", "brood.lua" }, { cwd = dir .. "/current", env = { PWD = dir .. "/current" } })
    local at = p:expect("workers serve (%S+)\n")
    lu.assertEquals(s.get(at).body, "one")
    assert(uv.fs_symlink(dir .. "/two", dir .. "/next"))
    assert(uv.fs_rename(dir .. "/next", dir .. "/current"))
    p:kill "USR2"
    local new = tonumber((p:expect "the new master %(pid (%d+)%) serves"))
    p:kill "QUIT"
    p:wait()
    lu.assertEquals(s.get(at).body, "two")
    lu.assertEquals(uv.fs_readlink(("/proc/%d/cwd"):format(new)), dir .. "/two")
    uv.kill(new, "sigquit")
    s.gone({ new }, 10)
  end,

  ["a directory of the start that has been removed keeps nobody from an upgrade, twice in a row"] = function()
    local gone = s.temp_dir() .. "/gone"
    assert(uv.fs_mkdir(gone, 493))
    local m = upgrade.start { workers = 1, cwd = gone }
    local pid = m:pid()
    assert(uv.fs_rmdir(gone))
    for _ = 1, 2 do
      local new = m:upgrade()
      m:finish(pid)
      pid = new
    end
    lu.assertEquals(m:get().status, 200)
    lu.assertStrContains(m:log(), "/gone is gone, where brood was started: the new master is started in /")
    m:finish(pid)
  end,

  ["neither workers nor what hooks start see the variables of an upgrade"] = function()
    local m = start {
      app = [[
        return function(_, res)
          local list = {}
          for name in pairs(require("brood.posix").environ()) do list[#list + 1] = name end
          table.sort(list)
          res:finish(table.concat(list, " "))
        end]],
      config = [[on_start = function()
        local out = require("brood.process").run { "env" }
        note("started: " .. out.stdout:gsub("\n", " "))
      end,]],
    }
    local old = m:pid()
    m:upgrade()
    m:finish(old)
    for _, text in ipairs { m:get().body, m:notes() } do
      for _, name in ipairs { "LISTEN_", "BROOD_UPGRADE", "BROOD_CHANNEL", "NOTIFY_SOCKET" } do
        lu.assertNotStrContains(text, name)
      end
    end
    lu.assertStrContains(m:get().body, "BROOD_BINARY")
    m:over()
  end,

  ["what a config sets in the environment is not passed on, what before_exec sets is"] = function()
    local m = start {
      env = { GIVEN = "at the start" },
      before = [[
        local uv = require "luv"
        local found = ("%s, %s"):format(os.getenv "BY_CONFIG" or "unset", os.getenv "BY_HOOK" or "unset")
        uv.os_setenv("BY_CONFIG", "set")
        uv.os_setenv("GIVEN", "changed")]],
      config = [[
        on_start = function() note(found, os.getenv "GIVEN") end,
        before_exec = function(master)
          note("before_exec", master.pid, require("luv").os_getpid())
          require("luv").os_setenv("BY_HOOK", "set")
        end,]],
    }
    local old = m:pid()
    m:upgrade()
    lu.assertEquals(m:notes(), ("unset, unset changed\nbefore_exec %d %d\nunset, set changed\n"):format(old, old))
    m:over()
  end,

  ["hooks of the new master see the old one's pid, and may tell it to go"] = function()
    local m = start {
      config = [[worker_ready = function(master)
        note("old", master.old_pid)
        if master.old_pid then posix.kill(master.old_pid, "QUIT") end
      end,]],
    }
    local old = m:pid()
    local new = m:upgrade()
    s.gone({ old }, 10)
    s.wait(function()
      return m:who_answers(4)[new]
    end)
    lu.assertEquals(m:who_answers(10), { [new] = true })
    lu.assertStrContains(m:notes(), "old nil\nold nil\nold " .. old)
    m:over()
  end,

  ["WINCH and HUP on the old one back out, and nobody is without an answer meanwhile"] = function()
    local m = start()
    local old = m:pid()
    local new = m:upgrade()
    m:signal(old, "WINCH")
    s.wait(function()
      return not m:who_answers(10)[old]
    end, 10, "an old master without workers")
    s.write_file(m.dir .. "/brood.lua", "return {") -- meant for the new one
    m:signal(old, "HUP")
    s.wait(function()
      return m:who_answers(20)[old]
    end, 10, "answers of the old master")
    m:logged(("the workers of this master come back %%(HUP%%), .* serve beside those of the new one %%(pid %d%%): "
      .. "QUIT to %d ends the new one\n"):format(new, new))
    lu.assertEquals(m:who_answers(40), { [old] = true, [new] = true })
    m:finish(new)
    lu.assertEquals(m:who_answers(10), { [old] = true })
    lu.assertEquals(#m:ready(2), 2)
    m:over()
  end,

  ["an old master that was drained has its workers again when the new one goes"] = function()
    local m = start()
    local old = m:pid()
    local new = m:upgrade()
    m:signal(old, "WINCH")
    s.wait(function()
      return not m:who_answers(10)[old]
    end, 10, "an old master without workers")
    m:finish(new)
    lu.assertEquals(#m:ready(2), 2)
    lu.assertEquals(m:who_answers(10), { [old] = true })
    m:over()
  end,

  ["a kept connection to the master that goes may ask once more, whichever that is"] = function()
    for _, leaves in ipairs { "old", "new" } do
      local m = start()
      local masters = { old = m:pid() }
      masters.new = m:upgrade()
      local kept = {}
      s.wait(function()
        local socket = s.connect(m:address())
        socket:send "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
        kept[socket:response().body] = socket
        return kept[tostring(masters[leaves])]
      end, 10, "a connection to the " .. leaves .. " master")
      local socket = kept[tostring(masters[leaves])]
      m:signal(masters[leaves], "QUIT")
      m:logged "stopping gracefully"
      s.wait(function()
        socket:send "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
        local response = socket:response()
        lu.assertEquals(response.body, tostring(masters[leaves]))
        return response.headers.connection == "close"
      end)
      s.gone({ masters[leaves] }, 10)
      m:over()
    end
  end,

  ["a connection that is kept for nobody is closed: the other master has gone as well"] = function()
    local m = start()
    local old = m:pid()
    local socket = s.connect(m:address())
    socket:send "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    lu.assertEquals(socket:response().body, tostring(old))
    local new = m:upgrade()
    m:signal(old, "QUIT")
    m:logged "stopping gracefully"
    lu.assertFalse(socket.eof)
    m:signal(new, "QUIT")
    s.gone({ old, new }, 10)
  end,

  ["what the new config names no more is the old one's alone, and ends with it"] = function()
    local m = start { config = 'listen = { "127.0.0.1:0", "unix:one.sock" },' }
    local old = m:pid()
    local text = s.read_file(m.dir .. "/brood.lua"):gsub("one%.sock", "two.sock")
    s.write_file(m.dir .. "/brood.lua", text)
    local new = m:upgrade()
    lu.assertEquals(s.get("unix:" .. m.dir .. "/one.sock").body, tostring(old))
    lu.assertEquals(s.get("unix:" .. m.dir .. "/two.sock").body, tostring(new))
    m:finish(old)
    lu.assertFalse(s.exists(m.dir .. "/one.sock"))
    lu.assertEquals(s.get("unix:" .. m.dir .. "/two.sock").body, tostring(new))
    m:over()
  end,

  ["a socket file stays through the end of either, and goes with the last"] = function()
    local m = start { config = 'listen = { "unix:app.sock", "127.0.0.1:0" },' }
    local old, path = m:pid(), "unix:" .. m.dir .. "/app.sock"
    m:finish(m:upgrade())
    lu.assertEquals(s.get(path).body, tostring(old))
    local new = m:upgrade(old)
    m:finish(old)
    lu.assertEquals(s.get(path).body, tostring(new))
    m:over()
    lu.assertFalse(s.exists(m.dir .. "/app.sock"))
  end,

  ["both told to go at once leave nothing behind"] = function()
    for _, first in ipairs { 1, 2, 1, 2 } do
      local m = start { config = 'listen = { "unix:app.sock", "127.0.0.1:0" },' }
      m:upgrade()
      m:signal(m.masters[first], "QUIT")
      m:signal(m.masters[3 - first], "QUIT")
      s.gone(m.masters, 10)
      for _, name in ipairs { "app.sock", "control.sock", "run.pid", "run.pid.oldbin" } do
        lu.assertFalse(s.exists(m.dir .. "/" .. name), name)
      end
    end
  end,

  ["an old master that is killed leaves the new one all that was its own"] = function()
    local m = start { config = 'listen = { "unix:app.sock", "127.0.0.1:0" },' }
    local old = m:pid()
    local new = m:upgrade()
    m:finish(old, "KILL")
    s.wait(function()
      return not s.exists(m.dir .. "/run.pid.oldbin")
    end)
    s.wait(function()
      local _, status = m:ask "/status"
      return status.pid == new and status.old_pid == nil
    end)
    local newest = m:upgrade(new)
    m:finish(new)
    lu.assertEquals(s.get("unix:" .. m.dir .. "/app.sock").body, tostring(newest))
    m:over()
  end,

  ["a supervisor hears which process is the main one"] = function()
    local core = require "brood.core"
    local notify, heard = assert(core.notify.open()), ""
    notify:watch(function(text)
      heard = heard .. text .. ";"
    end)
    local m = start { env = { NOTIFY_SOCKET = notify:path() } }
    local old = m:pid()
    local new = m:upgrade()
    s.wait(function() return heard:find("MAINPID=" .. new, 1, true) end)
    m:finish(new)
    s.wait(function() return heard:find("MAINPID=" .. old, 1, true) end)
    local newest = m:upgrade(old)
    m:finish(old)
    s.wait(function() return heard:find("MAINPID=" .. newest, 1, true) end)
    lu.assertNotStrContains(heard, "STOPPING=1")
    m:over()
    notify:close()
  end,

  ["sockets of their own stay the workers', and more of them are made for more workers"] = function()
    local m = start { config = 'listen = { address = "127.0.0.1:0", reuseport = true },' }
    local old, at = m:pid(), m:address()
    local text = s.read_file(m.dir .. "/brood.lua"):gsub("workers = 2", "workers = 3")
    s.write_file(m.dir .. "/brood.lua", text)
    local new = m:upgrade()
    m:finish(old)
    m:logged("3 of 3 workers serve " .. at:gsub("%p", "%%%0"))
    lu.assertEquals(m:who_answers(), { [new] = true })
    m:over()
  end,
}
