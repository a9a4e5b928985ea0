--- Pools whose worker is a program in Python that a spec writes, and what is asked of them again and again.
--- `cleanup` is to be the suite's teardown.
local lu = require "luaunit"
local Pool = require "brood.pool"
local s = require "spec.support"

local M = {}
local made = {}

-- What each program below begins with: lines in, `say` out.
local HEAD = [[
import json, os, signal, sys, time
def say(**what):
    sys.stdout.write(json.dumps(what) + "\n"); sys.stdout.flush()
def jobs():
    while True:
        line = sys.stdin.readline()
        if not line: return
        yield json.loads(line)
]]

-- Not a wrapper that looks for it each time.
local python

---A pool of one such program; `env`, `cwd` and `ready` are the worker's, other options the pool's.
---@param text string Python behind the head above: `jobs()` yields, `say` answers
---@param options? table
---@return brood.Pool
function M.program(text, options)
  python = python or s.run({ "python3", "-c", "import sys; print(sys.executable)" }).stdout:match "^[^\n]+"
  local path = s.write_file("worker.py", HEAD .. text)
  local all = { worker = { command = { python, path } }, max_processes = 1, respawn_delay = 0 }
  for name, value in pairs(options or {}) do
    if name == "env" or name == "cwd" or name == "ready" then
      all.worker[name] = value
    else
      all[name] = value
    end
  end
  local pool = Pool.new(all)
  table.insert(made, pool)
  return pool
end

M.ECHO = "for job in jobs(): say(success=job['data'])\n"

---The job fails with this code, and a text that matches: its error.
---@return brood.Error
function M.fails(pool, data, code, pattern, options)
  local result, err = pool:run(data, options)
  lu.assertNil(result)
  lu.assertEquals(err.code, code, tostring(err))
  lu.assertStrMatches(tostring(err), pattern)
  return err
end

M.logged = require "spec.support.logged"

---A pool that is to be ended with the others.
---@param pool brood.Pool
---@return brood.Pool
function M.keep(pool)
  table.insert(made, pool)
  return pool
end

---End all of them.
function M.cleanup()
  for i = #made, 1, -1 do
    made[i]:exit()
    made[i] = nil
  end
end

return M
