--- The files of an upgrade's sockets, when one of both masters is reloaded or somebody has removed them: neither takes
--- from the other what that one still serves, and what nobody serves is gone in the end
--- (brood.master.handover).
local lu = require "luaunit"
local s = require "spec.support"
local upgrade = require "spec.support.upgrade"
local uv = require "luv"

local LISTEN = 'pidfile = "run.pid", listen = { "127.0.0.1:0", "unix:app.sock" },'
local WITHOUT = 'pidfile = "run.pid", listen = { "127.0.0.1:0" }, '
local MOVED = 'control = "unix:moved.sock",'
local FILES = { "run.pid", "run.pid.oldbin", "control.sock", "moved.sock", "app.sock" }

-- Masters, and the pids of the first and, after an upgrade, of the second.
local function start()
  local m = upgrade.start { app = upgrade.APP, config = LISTEN }
  return m, m:pid()
end

local function start_both()
  local m, old = start()
  return m, old, m:upgrade()
end

local function reload(m, pid, config)
  m:write { config = config }
  local before = m:count "reloaded in"
  m:signal(pid, "HUP")
  m:logged("reloaded in", before)
end

local function files(m)
  local list = {}
  for _, name in ipairs(FILES) do
    list[#list + 1] = s.exists(m.dir .. "/" .. name) and name or nil
  end
  return table.concat(list, " ")
end

local function over(m)
  m:over()
  lu.assertEquals(files(m), "", m:log())
end

local function inode(m, name)
  return assert(uv.fs_lstat(m.dir .. "/" .. name)).ino
end

-- Whose control server that is.
local function control_of(m, name)
  local response = s.get(("unix:%s/%s"):format(m.dir, name), "/status")
  return require("brood").json.decode(response.body).pid
end

-- This master answers at each of the sockets; the other one may be about to leave it.
local function answers(m, pid, ...)
  for _, name in ipairs { ... } do
    local found
    s.wait(function()
      found = name == "app.sock" and tonumber(s.get("unix:" .. m.dir .. "/app.sock").body) or control_of(m, name)
      return found == pid
    end, 10 * s.slow, function()
      return ("an answer of %d at %s, in place of %s:\n%s"):format(pid, name, tostring(found), m:log())
    end)
  end
end

return {
  ["an old master that is reloaded without a socket, and with another control socket, leaves both to the new one"] =
  function()
    local m, old, new = start_both()
    local before = { inode(m, "app.sock"), inode(m, "control.sock") }
    reload(m, old, WITHOUT .. MOVED)
    lu.assertEquals({ inode(m, "app.sock"), inode(m, "control.sock") }, before)
    answers(m, new, "app.sock", "control.sock")
    answers(m, old, "moved.sock")
    m:finish(old)
    answers(m, new, "app.sock", "control.sock")
    lu.assertEquals(files(m), "run.pid control.sock app.sock")
    over(m)
  end,

  ["so does one that has no control socket any more"] = function()
    local m, old, new = start_both()
    reload(m, old, LISTEN .. "control = false,")
    answers(m, new, "control.sock")
    m:finish(old)
    answers(m, new, "control.sock")
    over(m)
  end,

  ["what was left to a new master is removed when that one goes, however it does"] = function()
    for _, signal in ipairs { "QUIT", "KILL" } do
      local m, old, new = start_both()
      reload(m, old, WITHOUT .. MOVED)
      m:finish(new, signal)
      lu.assertEquals(files(m), "run.pid moved.sock", m:log())
      answers(m, old, "moved.sock")
      over(m)
    end
  end,

  ["an old master that is back at an address which both had left keeps it when the new one goes"] = function()
    local m, old, new = start_both()
    reload(m, old, WITHOUT)
    reload(m, new, WITHOUT)
    reload(m, old, LISTEN)
    answers(m, old, "app.sock")
    m:finish(new)
    answers(m, old, "app.sock")
    over(m)
  end,

  ["both told to go after such a reload leave nothing behind"] = function()
    for _, first in ipairs { 1, 2 } do
      local m, old = start_both()
      reload(m, old, WITHOUT .. MOVED)
      m:signal(m.masters[first], "QUIT")
      m:signal(m.masters[3 - first], "QUIT")
      s.gone(m.masters, 10)
      lu.assertEquals(files(m), "", m:log())
    end
  end,

  ["a new master that is reloaded without them leaves them to the old one, whose control server answers again"] =
  function()
    for _, stays in ipairs { "old", "new" } do
      local m, old, new = start_both()
      reload(m, new, WITHOUT .. MOVED)
      answers(m, old, "app.sock", "control.sock")
      answers(m, new, "moved.sock")
      if stays == "old" then
        m:finish(new)
        answers(m, old, "app.sock", "control.sock")
        lu.assertEquals(files(m), "run.pid control.sock app.sock", m:log())
      else
        m:finish(old)
        answers(m, new, "moved.sock")
        lu.assertEquals(files(m), "run.pid moved.sock", m:log())
      end
      over(m)
    end
  end,

  ["a new master makes socket files anew that somebody has removed"] = function()
    local m, old = start()
    os.remove(m.dir .. "/app.sock")
    os.remove(m.control)
    local new = m:upgrade()
    answers(m, new, "app.sock", "control.sock")
    m:finish(old)
    answers(m, new, "app.sock", "control.sock")
    over(m)
  end,

  ["a pidfile that a hook of each master has read is as locked as before"] = function()
    local READS = 'worker_ready = function(m) io.open(m.pidfile):close() note "read" end,'
    local m = upgrade.start { app = upgrade.APP, workers = 1, config = READS }
    local old = m:pid()
    m:noted "read"
    local new = m:upgrade()
    s.wait(function()
      return select(2, m:notes():gsub("read", "")) >= 2
    end, 10 * s.slow, "a second reader")
    for name, pid in pairs { ["run.pid"] = new, ["run.pid.oldbin"] = old } do
      local free, err = require("brood.core").pidfile.open(m.dir .. "/" .. name)
      lu.assertNil(free)
      lu.assertStrContains(err.message, ("held by the running process %d"):format(pid))
    end
    m:finish(new)
    lu.assertEquals(m:pid(), old)
    over(m)
  end,
}
