--- A `current` symlink that moves to another release: pidfile, control socket and Unix sockets follow it at the next
--- reload or upgrade, what was made in the old release is found there again, and a clean end leaves nothing
--- in either.
local core = require "brood.core"
local lu = require "luaunit"
local s = require "spec.support"
local upgrade = require "spec.support.upgrade"
local uv = require "luv"

local FILES = { "run.pid", "run.pid.oldbin", "control.sock", "brood.sock", "app.sock" }
local LISTEN = 'listen = { "127.0.0.1:0", "unix:app.sock" },\n'
local ALL = "run.pid control.sock app.sock"

-- The config of the second one is written when the symlink moves there.
local function point(base, release)
  uv.fs_symlink(release, base .. "/next")
  assert(uv.fs_rename(base .. "/next", base .. "/current"))
end

local function start(options)
  options = options or {}
  local base = s.temp_dir()
  for _, name in ipairs { "r1", "r2", "shared" } do
    assert(uv.fs_mkdir(base .. "/" .. name, 493))
  end
  point(base, "r1")
  options.dir, options.app = base .. "/current", upgrade.APP
  options.config = LISTEN .. (options.config or "")
  local m = upgrade.start(options)
  m.base, m.release_config = base, 'pidfile = "run.pid",\n' .. options.config
  return m
end

local function release(m, name, more, app)
  point(m.base, name)
  m:write { config = m.release_config .. (more or ""), app = app or upgrade.APP }
end

-- Which of the files are in a release.
local function files(m, name)
  local list = {}
  for _, file in ipairs(FILES) do
    list[#list + 1] = s.exists(("%s/%s/%s"):format(m.base, name, file)) and file or nil
  end
  return table.concat(list, " ")
end

local function are(m, r1, r2)
  lu.assertEquals({ r1 = files(m, "r1"), r2 = files(m, "r2") }, { r1 = r1, r2 = r2 }, m:log())
end

local function holder_of(m, path)
  local free, err = core.pidfile.open(m.base .. "/" .. path)
  lu.assertNil(free)
  return tonumber(err.message:match "held by the running process (%d+)")
end

-- The pid of the master whose control server, and whose workers, answer in a release.
local function answers(m, name, control)
  local folder = ("unix:%s/%s/"):format(m.base, name)
  local status = require("brood").json.decode(s.get(folder .. (control or "control.sock"), "/status").body)
  return { status.pid, tonumber(s.get(folder .. "app.sock").body) }
end

local function hups(m)
  local ok, text = m:hup()
  lu.assertTrue(ok, text)
end

local function fails_to_upgrade(m, pid)
  m:signal(pid, "USR2")
  m:logged "the upgrade has failed"
end

-- All that there was in the old release is the old master's, in the new one there is nothing.
local function all_in_first(m, pid)
  are(m, ALL, "")
  lu.assertEquals(s.read_file(m.base .. "/r1/run.pid"), pid .. "\n")
  lu.assertEquals(holder_of(m, "r1/run.pid"), pid)
  lu.assertEquals(answers(m, "r1"), { pid, pid })
end

local function all_in_second(m, pid)
  are(m, "", ALL)
  lu.assertEquals(s.read_file(m.base .. "/current/run.pid"), pid .. "\n")
  lu.assertEquals(holder_of(m, "r2/run.pid"), pid)
  lu.assertEquals(answers(m, "current"), { pid, pid })
end

-- From wherever it is now: the next reload brings it to the new release, and its end leaves nothing.
local function follows_and_ends(m, pid)
  release(m, "r2")
  hups(m)
  all_in_second(m, pid)
  m:over()
  are(m, "", "")
end

return {
  ["a reload makes all of it in the new release, and leaves nothing in the old one"] = function()
    local m = start()
    local pid = m:pid()
    all_in_first(m, pid)
    follows_and_ends(m, pid)
  end,

  ["there and back again, by reloads"] = function()
    local m = start()
    local pid = m:pid()
    for _ = 1, 3 do
      release(m, "r2")
      hups(m)
      all_in_second(m, pid)
      release(m, "r1")
      hups(m)
      all_in_first(m, pid)
    end
    m:over()
    are(m, "", "")
  end,

  ["reloads that follow the symlink leave no descriptor behind"] = function()
    local m = start()
    local pid, counts = m:pid(), {}
    for i = 1, 6 do
      release(m, i % 2 == 0 and "r1" or "r2")
      hups(m)
      m:ready(2)
      s.wait(function() -- the first count may have some of the workers that were just going
        counts[i] = s.fd_count(pid)
        return counts[i] <= counts[1]
      end, 10 * s.slow, function()
        return ("%d descriptors in place of %d: %s"):format(counts[i], counts[1], lu.prettystr(s.fds(pid)))
      end)
    end
    m:over()
  end,

  ["a master that ends without a reload removes what it made in the old release"] = function()
    for _, signal in ipairs { "TERM", "QUIT" } do
      local m = start()
      m:ready(2)
      release(m, "r2")
      lu.assertEquals(m:stop(signal), 0)
      are(m, "", "")
    end
  end,

  ["so does one whose release has been renamed"] = function()
    local m = start()
    m:ready(2)
    assert(uv.fs_rename(m.base .. "/r1", m.base .. "/r0"))
    lu.assertEquals(files(m, "r0"), ALL)
    lu.assertEquals(m:stop "TERM", 0)
    lu.assertEquals(files(m, "r0"), "")
  end,

  ["and one whose release has been deleted ends as well as any"] = function()
    local m = start()
    local pid = m:pid()
    m:ready(2)
    release(m, "r2")
    lu.assertEquals(os.execute(("rm -r %s/r1"):format(m.base)), 0)
    hups(m)
    all_in_second(m, pid)
    m:over()
    are(m, "", "")
  end,

  ["the control socket beside the pidfile, which no config names, moves with it"] = function()
    local m = start { config = "control = nil,\n" }
    local pid = m:pid()
    are(m, "run.pid brood.sock app.sock", "")
    release(m, "r2")
    hups(m)
    are(m, "", "run.pid brood.sock app.sock")
    lu.assertEquals(answers(m, "current", "brood.sock"), { pid, pid })
    m:over()
    are(m, "", "")
  end,

  ["a reload that fails leaves all where it was, and the new release as it found it"] = function()
    for what, with in pairs {
      ["not today"] = { 'on_start = function() error "not today" end,\n' },
      ["no app"] = { "", 'error "no app"' },
    } do
      local m = start()
      local pid = m:pid()
      release(m, "r2", with[1], with[2])
      local ok, text = m:hup()
      lu.assertFalse(ok)
      lu.assertStrContains(text, what)
      all_in_first(m, pid)
      follows_and_ends(m, pid)
    end
  end,

  ["a pidfile in the new release that another process holds fails the reload, which says who"] = function()
    local m = start()
    local pid = m:pid()
    local other = assert(core.pidfile.open(m.base .. "/r2/run.pid"))
    release(m, "r2")
    local ok, text = m:hup()
    lu.assertFalse(ok)
    lu.assertStrContains(text, ("held by the running process %d"):format(core.posix.getpid()))
    are(m, ALL, "run.pid")
    lu.assertEquals(answers(m, "r1"), { pid, pid })
    other:close()
    follows_and_ends(m, pid)
  end,

  ["a pidfile that somebody has deleted is written again by a reload, and goes when that fails"] = function()
    local m = start()
    local pid = m:pid()
    os.remove(m.dir .. "/run.pid")
    lu.assertFalse((m:hup { config = m.release_config .. 'on_start = function() error "no" end,\n' }))
    lu.assertFalse(s.exists(m.dir .. "/run.pid"))
    m:write { config = m.release_config }
    hups(m)
    all_in_first(m, pid)
    m:over()
    are(m, "", "")
  end,

  ["a control socket that somebody has deleted is there again after a reload"] = function()
    local m = start()
    local pid = m:pid()
    os.remove(m.control)
    hups(m)
    all_in_first(m, pid)
    m:over()
    are(m, "", "")
  end,

  ["what lies in a folder that all releases share stays the same file"] = function()
    local m = start { config = 'pidfile = "../shared/run.pid", control = "unix:../shared/control.sock",\n' ..
      'listen = { "127.0.0.1:0", "unix:../shared/app.sock" },\n' }
    local function inodes()
      local list = {}
      for _, name in ipairs { "run.pid", "control.sock", "app.sock" } do
        list[name] = assert(uv.fs_lstat(m.base .. "/shared/" .. name)).ino
      end
      return list
    end
    local before = inodes()
    release(m, "r2")
    m.control = m.base .. "/shared/control.sock"
    hups(m)
    lu.assertEquals(inodes(), before)
    lu.assertEquals(holder_of(m, "shared/run.pid"), m.program.pid)
    m:over()
    lu.assertEquals(files(m, "shared"), "")
  end,

  ["a path that is written otherwise and leads to the same pidfile leaves it locked and in place"] = function()
    local m = start()
    local pid = m:pid()
    hups(m)
    local ok, text = m:hup { config = LISTEN .. 'pidfile = "../r1/run.pid",\n' }
    lu.assertTrue(ok, text)
    all_in_first(m, pid)
    m:over()
    are(m, "", "")
  end,

  ["an upgrade: the old master keeps its own in the old release, the new one has all in the new one"] = function()
    local m = start()
    local old = m:pid()
    release(m, "r2")
    local new = m:upgrade(old)
    are(m, "run.pid.oldbin control.sock app.sock", ALL)
    lu.assertEquals(s.read_file(m.base .. "/r1/run.pid.oldbin"), old .. "\n")
    lu.assertEquals(m:file "run.pid", new .. "\n")
    lu.assertEquals({ holder_of(m, "r1/run.pid.oldbin"), holder_of(m, "r2/run.pid") }, { old, new })
    lu.assertEquals({ answers(m, "r1"), answers(m, "current") }, { { old, old }, { new, new } })
    m:finish(old)
    all_in_second(m, new)
    m:over()
    are(m, "", "")
  end,

  ["backing out of an upgrade leaves all as it was in the old release"] = function()
    local m = start()
    local old = m:pid()
    release(m, "r2")
    for _ = 1, 2 do
      local new = m:upgrade(old)
      m:finish(new)
      all_in_first(m, old)
    end
    follows_and_ends(m, old)
  end,

  ["an upgrade that fails leaves all as it was in the old release"] = function()
    local m = start()
    local old = m:pid()
    release(m, "r2", "", 'error "not this one"')
    fails_to_upgrade(m, old)
    all_in_first(m, old)
    follows_and_ends(m, old)
  end,

  ["a new master that is killed leaves no pidfile in the new release, and its sockets are in nobody's way"] = function()
    local m = start()
    local old = m:pid()
    release(m, "r2")
    m:finish(m:upgrade(old), "KILL")
    are(m, ALL, "control.sock app.sock")
    lu.assertEquals(holder_of(m, "r1/run.pid"), old)
    lu.assertEquals(answers(m, "r1"), { old, old })
    s.wait(function() -- its workers have gone after it
      return not pcall(s.get, "unix:" .. m.dir .. "/app.sock")
    end, 10 * s.slow)
    follows_and_ends(m, old)
  end,

  ["an old master that is killed: its pidfile is removed from the old release"] = function()
    local m = start()
    local old = m:pid()
    release(m, "r2")
    local new = m:upgrade(old)
    m:finish(old, "KILL")
    s.wait(function()
      return not s.exists(m.base .. "/r1/run.pid.oldbin")
    end, 10 * s.slow)
    lu.assertEquals(answers(m, "current"), { new, new })
    m:over()
    os.remove(m.base .. "/r1/control.sock")
    os.remove(m.base .. "/r1/app.sock")
    are(m, "", "")
  end,

  ["a new master that is reloaded after the symlink has moved, and then is alone, has left nothing behind"] = function()
    local m = start()
    local old = m:pid()
    local new = m:upgrade()
    lu.assertEquals(files(m, "r1"), "run.pid run.pid.oldbin control.sock app.sock")
    release(m, "r2")
    local before = m:count "reloaded in"
    m:signal(new, "HUP")
    m:logged("reloaded in", before)
    lu.assertEquals(files(m, "r2"), ALL)
    lu.assertEquals(answers(m, "current"), { new, new })
    lu.assertEquals(s.read_file(m.base .. "/r1/run.pid.oldbin"), old .. "\n")
    m:finish(old)
    all_in_second(m, new)
    m:over()
    are(m, "", "")
  end,

  ["an old master that has left its sockets to the new one, and outlives it, removes what that leaves"] = function()
    local m = start()
    local old = m:pid()
    local new = m:upgrade()
    release(m, "r2")
    local before = m:count "reloaded in"
    m:signal(old, "HUP")
    m:logged("reloaded in", before)
    are(m, "run.pid run.pid.oldbin control.sock app.sock", "control.sock app.sock")
    m:finish(new)
    are(m, "run.pid", "control.sock app.sock")
    lu.assertEquals(answers(m, "current"), { old, old })
    m:over()
    are(m, "", "")
  end,

  ["a reload of the old master while a new one is there leaves both pidfiles alone"] = function()
    local m = start()
    local old = m:pid()
    local new = m:upgrade()
    local before = m:count "reloaded in"
    m:signal(old, "HUP")
    m:logged("reloaded in", before)
    lu.assertEquals({ m:file "run.pid", m:file "run.pid.oldbin" }, { new .. "\n", old .. "\n" })
    m:finish(new)
    all_in_first(m, old)
    m:over()
    are(m, "", "")
  end,
}
