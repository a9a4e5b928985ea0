--- The start of a Lua child that a template forks: asking for it, and what becomes of that. Where the template is of
--- no use the child is forked as ever; from its birth on it is a child like any other.
local core = require "brood.core"
local E = require "brood.error"
local environment = require "brood.process.environment"
local fork = require "brood.fork"
local identity = require "brood.process.identity"
local spawn = require "brood.process.spawn"

local M = {}

local NO_FILES = { readers = {}, discard = function() end } -- it has the template's, which are ours

-- It is our child; but one that has died at once may have been reaped with the orphans.
local function adopt(self, run, pid)
  local proc, err = core.process.adopt(pid, run.grouped)
  if proc then
    run.proc = proc
    return nil
  elseif err.code == "ESRCH" then
    return nil, true
  end
  fork.wait_for_end(pid)
  return E.of(self.name, err)
end

-- done(err), or done(nil, true) when nothing has come of it: the template is gone, or the child before it had begun.
-- Returns false where the template is of no use now.
local function ask(self, run, id, done)
  local over
  local function settle(...)
    if over then
      over()
      over = nil
      done(...)
    end
  end
  run.on_end = function()
    settle(nil, true)
  end
  run.peer:handle("born", function(pid)
    if over then
      settle(adopt(self, run, pid))
    end
  end)
  local order = self.options.order
  order.identity = id
  over = self.options.template:ask(order, run.child_channel, {
    failed = function(err)
      settle(E.of(self.name, err))
    end,
    lost = function()
      run.peer:read_now()
      settle(nil, true)
    end,
  })
  return over ~= nil
end

--- Forget what was made for a start that has come to nothing.
---@param run table
function M.start_over(run)
  run.on_end = nil
  run.peer:close()
  run.peer = nil
end

--- Start the child. On failure nothing of it is left.
---@param self brood.Process with the options `template` and `order`, and none for stdin, stdout and stderr
---@param run table direct: the template was lost
---@param later fun(err: brood.Error?, vain: boolean?) where "later" is returned: when it is there, or not; vain: it is
--- to be started over, without the template
---@return true|"later"|nil ok, brood.Error? err
function M.start(self, run, later)
  if run.direct then
    return spawn.start(self, run)
  end
  local id, err = identity(self.options)
  if not id then
    return nil, E.of(self.name, err)
  end
  run.grouped = self.options.kill_group
  local ok
  ok, err = spawn.open_channel(run)
  if ok then
    ok, err = spawn.attach(self, run, NO_FILES)
  end
  if not ok then
    spawn.abandon(run, NO_FILES)
    return nil, E.of(self.name, err)
  end
  local asked = ask(self, run, id, later)
  core.fd.close(run.child_channel)
  run.child_channel = nil
  if asked then
    return "later"
  end
  M.start_over(run)
  return spawn.start(self, run)
end

--- In a process that was forked by a template: what is to become of it.
---@param self brood.Process
---@param channel integer
---@param id table uid, gid, user as looked up by the master
---@return table plan for process.child
function M.plan(self, channel, id)
  local o = self.options
  return {
    name = self.name, main = o.main, id = id, master = core.process.parent(), channel = channel, options = o,
    stdio = { fds = {}, opened = {} }, env = environment.changes(self, {}), grouped = o.kill_group, announced = true,
  }
end

return M
