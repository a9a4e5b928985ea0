--- A pool whose workers a template forks, with each system call on the way failing in turn: the jobs are done, by
--- workers that the master forks itself if need be, and nothing is left of any of them.
local each = require("spec.support.fault_try").each

local POOL = [[
local Pool = require "brood.pool"
try(function()
  local pool = Pool.new {
    worker = function(job) return job.data end, max_processes = 1, max_jobs_per_process = 1, respawn_delay = 0.01,
  }
  local ok, err
  for i = 1, 3 do
    ok, err = pool:run(i)
    if ok ~= i then
      break
    end
  end
  pool:exit()
  return ok == 3 or nil, err
end)
]]

local T = {}

for _, case in ipairs {
  { "fork", "EAGAIN" }, { "fork", "ENOMEM" }, { "vfork", "EAGAIN" }, { "sendmsg", "EAGAIN" },
  { "socketpair", "EMFILE" }, { "pidfd_open", "EMFILE" }, { "setpgid", "EPERM" }, { "prctl", "EINVAL" },
} do
  local call, errno = unpack(case)
  T[("a pool with a template when %s fails with %s"):format(call, errno)] = function()
    each(POOL, call, errno, "copes")
  end
end

return T
