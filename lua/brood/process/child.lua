--- The forked child of a process whose `main` is a Lua function: what happens
--- between the fork and the call of that function, in this order. It runs with signals
--- still waiting, so that none meets a half-made child; the function itself runs without that.
local brood = require "brood"
local boot = require "brood.boot"
local core = require "brood.core"
local E = require "brood.error"
local log = require "brood.log"
local supervised = require "brood.supervised"
local task = require "brood.task"
local uv = require "luv"

local M = {
  worker = nil, ---@type brood.Worker? in a child: its line to its parent, whether or not its users know of one
}

-- Copies first, above everything, so that no target is overwritten before it was read. What was opened for this
-- alone is closed; a descriptor of the user's may be of use to main as well.
local function arrange_stdio(pairs_, opened)
  local copies = {}
  for i, pair in ipairs(pairs_) do
    if pair[1] ~= pair[2] then
      copies[i] = assert(core.fd.dup_above(pair[1], 10))
    end
  end
  for i, pair in ipairs(pairs_) do
    if copies[i] then
      assert(core.posix.dup2(copies[i], pair[2]))
      core.fd.close(copies[i])
    end
  end
  for _, fd in ipairs(opened) do
    core.fd.close(fd)
  end
end

local function apply(o, env)
  for name, value in pairs(env) do
    if value then
      uv.os_setenv(name, value)
    elseif os.getenv(name) then
      uv.os_unsetenv(name)
    end
  end
  if o.umask then
    core.posix.umask(o.umask)
  end
  for _, limit in ipairs(o.limits or {}) do
    assert(core.privileges.set_limit(limit.name, limit.soft, limit.hard))
  end
  if o.cwd then
    local ok, err = core.posix.chdir(o.cwd) -- assert would raise the third value, the number, in place of the reason
    if not ok then
      error(err, 0)
    end
  end
end

--- Give up privileges for good, if the options ask for it.
---@param id table uid, gid, user as looked up in the master
function M.drop(id)
  if id.uid or id.gid then
    assert(core.privileges.drop(id.uid or core.posix.getuid(), id.gid or core.posix.getgid(), id.user))
  end
end

--- The master may die at any moment: an alarm behind our own handling, after privileges were dropped (that clears it).
---@param seconds number how long it may go on after that
---@param master integer the master's pid
function M.guard_master(seconds, master)
  local ok, err = core.process.own_master_death(seconds, master)
  if not ok and err.code == "ESRCH" then
    core.exit(1) -- it died before we could ask to be told
  elseif not ok then
    error(err, 0)
  end
end

local function fail(worker, err)
  err = E.from(err)
  if worker then
    worker.peer:post("failed", err)
    worker.peer:flush_blocking(1)
  else
    log.error(E.text(err))
  end
  supervised.exit(1)
end

--- Become the child that `plan` describes.
---@param plan table name, main, id, master, channel, stdio (brood.Stdio), options, grouped,
--- env (what is other than ours), announced (the master does not know of it yet)
function M.run(plan)
  local o = plan.options
  local worker
  boot.main(function()
    local ok, result = xpcall(function()
      arrange_stdio(plan.stdio.fds, plan.stdio.opened)
      worker = require("brood.worker").attach(plan.channel)
      if plan.announced then
        assert(worker.peer:post("born", worker.pid)) -- first: until then it ends with its template's group
      end
      if plan.grouped then
        assert(core.process.new_group())
      end
      brood.worker, M.worker = worker, worker
      apply(o, plan.env)
      -- Before privileges go: the after_fork of a cluster, which may have given them up itself.
      if not (o.prepare and o.prepare(worker)) then
        M.drop(plan.id)
      end
      M.guard_master(o.guard or o.stop_timeout or 30, plan.master)
      core.unblock_signals()
      if o.ready == "spawn" then
        worker:ready() -- all that it was asked to be, it is
      end
      return plan.main(worker)
    end, task.on_raise)
    if not ok then
      fail(worker, result)
    end
    return result
  end)
end

return M
