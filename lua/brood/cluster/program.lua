--- A worker of a cluster that is a program in any language (`command`): it finds the cluster's sockets from descriptor
--- 3 on, as LISTEN_FDS says, and serves on them beside the others. This file knows what such a process is made of, when
--- it counts as ready, and how it is told to go. When one is made, and what becomes of it, is the group's business.
---
--- brood sees none of its requests: there is no scoreboard place, no count and no watch over its loop.
local clock = require "brood.clock"
local E = require "brood.error"
local lines = require("brood.lazy").room "brood.child.lines"
local linger = require "brood.cluster.linger"
local log = require "brood.log"
local merged = require "brood.rules.merged"
local Process = require "brood.process"
local ready_when = require "brood.process.ready"
local timer = require "brood.timer"
local tree = require "brood.cluster.tree"
local untaken = require "brood.cluster.untaken"

local QUICK = 2 -- seconds that one which serves nobody yet has before KILL
-- Seconds that the first worker of a kind must have lived to count as ready, where it says nothing itself, and how many
-- more it may still be busy with its start: most that cannot serve end before. The others of that kind are then
-- believed at once, as long as none of them ends that young.
local PROOF, BUSY, LOOK = 1, 4, 0.1
local SILENT = 5 -- seconds after which it is worth a line that one has not said its word

local M = {}

-- What trying again cannot mend: there is no such program.
local FINAL = { ENOENT = true, EACCES = true, ENOEXEC = true, ENOTDIR = true, EISDIR = true }

--- Whether a start that failed with this fails again as long as nobody changes anything.
---@param err brood.Error
---@return boolean
function M.is_final(err)
  return FINAL[err.code] == true
end

-- ---- what it is made of ---------------------------------------------------------------------------------------------

-- Whoever starts us as a daemon does not wait for what we start: what it prints goes by way of the master until then.
local function stream(master, key, file)
  if master and master.state ~= "ready" and master.config.daemonize and not master.config[key] then
    return function(line)
      file:write(line, "\n")
      file:flush()
    end
  end
end

local texts = {
  notify = "it has not sent READY=1 to NOTIFY_SOCKET",
  line = 'it has not said {"ready": true} on BROOD_CHANNEL_FD',
}

local silent = {
  notify = "has not said READY=1 yet",
  line = 'has not said {"ready": true} yet',
  channel = "is not ready yet",
}

local function where(how)
  return type(how) == "table" and "nothing answers there yet" or texts[how]
end

-- Whether it says itself when it serves.
local function own_word(how)
  return how == "notify" or how == "channel" or how == "line"
end

local function new_process(self, member)
  local o = member.generation.options
  local how = o.ready or "spawn"
  local known = how == "notify" or how == "channel" -- to the process
  return Process.new({
    name = ("%s worker %d"):format(self.name, member.id),
    command = o.command, cwd = o.working_directory, umask = o.umask, user = o.user, group = o.group,
    limits = o.limits,
    env = merged({
      BROOD_CLUSTER = self.name, BROOD_WORKER_ID = tostring(member.id), BROOD_WORKER_SLOT = tostring(member.slot),
    }, o.env),
    stdout = stream(self.master, "stdout_path", io.stdout), stderr = stream(self.master, "stderr_path", io.stderr),
    ready = known and how or "spawn", watchdog = how == "notify" and o.watchdog or nil,
    stop_signal = o.stop_signal or "TERM", stop_timeout = o.graceful_timeout, start_timeout = o.start_timeout,
  }, {
    sockets = member.generation.sockets:named(self.name), limit_name = "graceful_timeout",
    ready = not known and "told" or nil, -- by what is below
    where = function()
      return where(how)
    end,
    attach = how == "line" and function(process, run)
      return lines.attach(process, run, process, function(err)
        process:fail(err)
      end)
    end or nil,
  })
end

-- ---- when it is ready -----------------------------------------------------------------------------------------------

-- It has lived for a while, or others like it have; and something answers where it was to be looked at.
local function await(member, process)
  local generation, run = member.generation, process.run
  local how = generation.options.ready
  local left, cancel = 1, nil
  local function one_more()
    left = left - 1
    if left == 0 and process.run == run and run.on_ready then
      run.on_ready()
    end
  end
  if type(how) == "table" then
    left = left + 1
    cancel = ready_when.wait(how, run, one_more)
  end
  local limit = generation.options.start_timeout
  local wait = math.min(PROOF, limit and limit / 2 or PROOF)
  local patience = limit and math.min(BUSY, limit / 4) or BUSY
  local waiting
  local function look()
    if not generation.proven and patience > 0 and process.pid and tree.is_busy(process.pid) then
      patience = patience - LOOK
      waiting = timer.after(LOOK, look):unref()
      return
    end
    generation.proven = true
    one_more()
  end
  waiting = timer.after(generation.proven and 0 or wait, look):unref()
  return function()
    waiting:cancel()
    if cancel then
      cancel()
    end
  end
end

-- Its author may not know that it has to say anything: of each cluster one is told of before start_timeout is over.
local function tell_silence(self, member, process)
  local generation, silence = member.generation, nil
  local o = generation.options
  local wait = math.min(SILENT, o.start_timeout and o.start_timeout / 2 or SILENT)
  process:on("starting", function()
    silence = timer.after(wait, function()
      if generation.told_silence then
        return
      end
      generation.told_silence = true
      log.info(("%s: worker %d runs, and %s (%s)"):format(self.name, member.id, silent[o.ready],
        o.start_timeout and ("start_timeout %g s"):format(o.start_timeout) or "there is no start_timeout"))
    end):unref()
  end)
  for _, event in ipairs { "ready", "stopping", "stopped" } do
    process:on(event, function()
      if silence then
        silence:cancel()
        silence = nil
      end
    end)
  end
end

local function watch_start(self, member, process)
  if own_word(member.generation.options.ready) then
    return tell_silence(self, member, process)
  end
  local give_up
  process:on("starting", function()
    give_up = await(member, process)
  end)
  for _, event in ipairs { "stopping", "stopped" } do
    process:on(event, function()
      if give_up then
        give_up()
        give_up = nil
      end
    end)
  end
  process:on("exit", function()
    -- What dies as soon as it is there is not believed any more.
    if not member.reason and clock.unix() - process.started_at < PROOF + BUSY then
      member.generation.proven = nil
    end
  end)
end

-- ---- the process ----------------------------------------------------------------------------------------------------

--- Make the process of a member that is a program.
---@param self brood.Cluster
---@param member brood.Member with a generation
---@return brood.Process
function M.make(self, member)
  member.is_program = true
  local process = new_process(self, member)
  watch_start(self, member, process)
  process:on("stopping", function()
    member.pid = process.pid
    if member.ready_at then
      linger.told(self, member)
    elseif process.run.failure or own_word(member.generation.options.ready) then
      process:hurry(process.options.stop_signal, QUICK, "it serves nobody yet")
    end
  end)
  process:on("ready", function()
    local generation = member.generation
    if not generation.untaken then
      generation.untaken = true
      untaken.watch(self, generation)
    end
  end)
  process:on("message", function(value)
    self:emit("message", member.worker, value)
  end)
  return process
end

--- What `worker:send` answers where nobody listens.
---@param member brood.Member
---@return brood.Error
function M.deaf(member)
  return E.new("program", '%s is a program, and has no channel for messages: ready = "line" gives it one',
    member.process.name or ("worker %d"):format(member.id))
end

--- The master's stdout and stderr were opened anew: a program writes on to what it has.
---@param self brood.Cluster
---@param paths table<integer, string> what they are
function M.keep_files(self, paths)
  local path = paths[1] or paths[2]
  if path then
    log.info(("%s: its programs write on to the files that they have: a reload (HUP) gives them %s"):format(self.name,
      path))
  end
end

return M
