--- What crosses process borders without a channel: the scoreboard, sd_notify messages; and giving up privileges.
local lu = require "luaunit"
local core = require "brood.core"
local posix = require "brood.posix"
local s = require "spec.support"

local T = {}

T["a child's counters are seen by its parent"] = function()
  local board = assert(core.scoreboard.create(4))
  local pid = posix.fork()
  if pid == 0 then
    board:attach(2)
    board:set(2, "requests", 41)
    board:add(2, "requests")
    board:set(2, "request", "GET /" .. ("x"):rep(300))
    core.exit(0)
  end
  posix.waitpid(pid)
  lu.assertEquals(board:get(2, "requests"), 42)
  lu.assertEquals(#board:get(2, "request"), 127)
  lu.assertEquals(board:get(1, "requests"), 0)
  lu.assertEquals(board:add(1, "active", 3), 3)
  lu.assertEquals(board:add(1, "active", -2), 1)
end

T["attaching clears what the slot's former owner left"] = function()
  local board = assert(core.scoreboard.create(1))
  board:set(1, "requests", 7)
  local pid = posix.fork()
  if pid == 0 then
    board:attach(1)
    core.exit(0)
  end
  posix.waitpid(pid)
  lu.assertEquals(board:get(1, "requests"), 0)
end

T["the loop of a forked child does not write into its parent's slot"] = function()
  local program = s.script [[
    local brood, core, posix = require "brood", require "brood.core", require "brood.posix"
    local board = core.scoreboard.create(1)
    board:attach(1)
    brood.sleep(0.001)
    local pid = posix.fork()
    if pid == 0 then
      board:set(1, "turn_started", 123456)
      brood.sleep(0.02)
      core.exit(board:get(1, "turn_started") == 123456 and 0 or 1)
    end
    print(posix.waitpid(pid))
  ]]
  lu.assertStrMatches(program:finish().stdout, "%d+\texited\t0\n")
end

T["a slot or field that does not exist raises"] = function()
  local board = core.scoreboard.create(2)
  lu.assertErrorMsgContains("no such slot", board.get, board, 3, "requests")
  lu.assertErrorMsgContains("no such slot", board.get, board, 0, "requests")
  lu.assertErrorMsgContains("no such field", board.get, board, 1, "nothing")
end

T["a notify message arrives with its sender's pid and group, as the kernel vouches"] = function()
  local n = assert(core.notify.open())
  local got
  assert(n:watch(function(...)
    got = { ... }
  end))
  local pid = posix.fork()
  if pid == 0 then
    core.process.new_group()
    core.notify.send(n:path(), "READY=1\nSTATUS=fine")
    require("brood").sleep(100) -- so that its group can be looked up
  end
  s.wait(function()
    return got
  end, 5, "the message")
  lu.assertEquals(got, { "READY=1\nSTATUS=fine", pid, pid, posix.getuid() })
  posix.kill(pid, "KILL")
  posix.waitpid(pid)
  n:close()
end

T["systemd-notify's way works too: an abstract name in NOTIFY_SOCKET"] = function()
  local n = assert(core.notify.open())
  lu.assertStrMatches(n:path(), "@%x+")
  local texts = {}
  n:watch(function(text)
    texts[#texts + 1] = text
  end)
  for i = 1, 40 do -- more than are read in one go
    assert(core.notify.send(n:path(), "N=" .. i))
    if i % 5 == 0 then
      s.wait(function()
        return #texts == i
      end, 5, "message " .. i)
    end
  end
  n:close()
  local ok, err = core.notify.send(n:path(), "X=1")
  lu.assertNil(ok)
  lu.assertEquals(err.code, "ECONNREFUSED")
end

T["a notify socket that is not watched is collected with all it holds"] = function()
  local before = s.fd_count()
  for _ = 1, 20 do
    core.notify.open()
  end
  collectgarbage()
  collectgarbage()
  lu.assertEquals(s.fd_count(), before)
end

-- Run fn in a child; what it returns is its exit code.
local function in_child(fn)
  local pid = posix.fork()
  if pid == 0 then
    local ok, code = pcall(fn)
    core.exit(ok and code or 99)
  end
  return select(3, posix.waitpid(pid))
end

T["privileges are given up for good, groups included"] = function()
  if posix.getuid() ~= 0 then
    lu.skip "needs root"
  end
  lu.assertEquals(in_child(function()
    assert(core.privileges.drop(65534, 65534, "nobody"))
    assert(not posix.setuid(0))
    assert(not posix.setgid(0))
    assert(posix.getuid() == 65534 and posix.getgid() == 65534)
    assert(s.status_field("self", "Groups"):match "^65534%s*$")
    return 0
  end), 0)
end

T["a drop that is refused says at which step"] = function()
  if posix.getuid() ~= 0 then
    lu.skip "needs root"
  end
  lu.assertEquals(in_child(function()
    assert(core.privileges.drop(65534, 65534))
    local ok, err = core.privileges.drop(1, 1)
    assert(not ok and err.code == "EPERM" and err.message:find("supplementary groups", 1, true))
    assert(core.privileges.drop(65534, 65534)) -- what we are already is no drop
    return 0
  end), 0)
end

T["users and groups are looked up by name or number, unknown names are errors"] = function()
  local root = core.privileges.lookup_user "root"
  lu.assertEquals({ root.uid, root.gid, root.name, root.dir }, { 0, 0, "root", "/root" })
  lu.assertEquals(core.privileges.lookup_user(0).name, "root")
  lu.assertEquals(core.privileges.lookup_user "54321", { uid = 54321 })
  lu.assertEquals(core.privileges.lookup_group("root").gid, 0)
  local user, err = core.privileges.lookup_user "no-such-user"
  lu.assertNil(user)
  lu.assertEquals({ err.message, err.code }, { "there is no user 'no-such-user'", "ENOENT" })
  lu.assertItemsEquals(core.privileges.groups("root", 0), { 0 })
end

T["a limit that we set is what our programs get"] = function()
  lu.assertEquals(in_child(function()
    assert(core.privileges.set_limit("nofile", 123, 456))
    local text = require("spec.support.core_spawn").output { "/bin/sh", "-c", "ulimit -n; ulimit -Hn" }
    return text == "123\n456\n" and 0 or 1
  end), 0)
  local ok, err = core.privileges.set_limit("nofile", 10, 5)
  lu.assertNil(ok)
  lu.assertStrContains(err.message, "set limit nofile")
end

T["signals are known by name"] = function()
  local process = core.process
  lu.assertEquals(process.signal_number "TERM", 15)
  lu.assertEquals(process.signal_number "sigkill", 9)
  lu.assertNil(process.signal_number "NONSENSE")
  lu.assertEquals({ process.signal_name(15), process.signal_name(34), process.signal_name(99) },
    { "TERM", "RTMIN+0", "99" })
end

return T
