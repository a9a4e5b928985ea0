--- Masters that are upgraded: from the signal to the pid of the new one, and to the end of all of them.
local master = require "spec.support.master"
local s = require "spec.support"
local uv = require "luv"

local M = {}

---@class spec.Upgraded: spec.Master
local Upgraded = setmetatable({}, { __index = master.class })
Upgraded.__index = Upgraded

M.class = Upgraded

---Start a master with a pidfile, and wait until it serves.
---@param options? table as for spec.support.master
---@return spec.Upgraded
function M.start(options)
  options = options or {}
  options.config = 'pidfile = "run.pid",\n' .. (options.config or "")
  local self = setmetatable(master.start(options), Upgraded)
  self.masters = { self.program.pid }
  self:address()
  return self
end

---@param name string of a file beside the config
---@return string?
function Upgraded:file(name)
  return s.read_file(self.dir .. "/" .. name)
end

---The pid of the master that is in charge.
---@return integer
function Upgraded:pid()
  return tonumber(self:file "run.pid") or error("there is no pidfile\n" .. self:log(), 2)
end

---@param pid integer
---@param signal string
function Upgraded:signal(pid, signal)
  uv.kill(pid, "sig" .. signal:lower())
end

-- How often the log says so.
local function count(self, pattern)
  return select(2, self:log():gsub(pattern, ""))
end

---Wait until the log says it once more than so often.
---@param pattern string
---@param times? integer 0
function Upgraded:logged(pattern, times)
  s.wait(function()
    return count(self, pattern) > (times or 0)
  end, 15, function()
    return ("'%s' in the log:\n%s"):format(pattern, self:log())
  end)
end

---@param pattern string
---@return integer
function Upgraded:count(pattern)
  return count(self, pattern)
end

---USR2 to a master (the one in charge), and wait until the new one serves: its pid.
---@param pid? integer
---@return integer
function Upgraded:upgrade(pid)
  pid = pid or self:pid()
  local before = count(self, "serves beside this one")
  self:signal(pid, "USR2")
  self:logged("serves beside this one", before)
  local new
  for found in self:log():gmatch "the new master %(pid (%d+)%) serves beside" do
    new = tonumber(found)
  end
  table.insert(self.masters, new)
  return new
end

---A signal to a master, and wait until it is gone; and until the others have seen that.
---@param pid integer
---@param signal? string QUIT
function Upgraded:finish(pid, signal)
  local heard = count(self, "is gone\n") + count(self, "this master goes on")
  local other = 0
  for _, known in ipairs(self.masters) do
    other = other + (known ~= pid and s.alive(known) and 1 or 0)
  end
  self:signal(pid, signal or "QUIT")
  s.gone({ pid }, 15)
  if other > 0 then
    s.wait(function()
      return count(self, "is gone\n") + count(self, "this master goes on") > heard
    end, 10, function()
      return "a word about the end of " .. pid .. " in:\n" .. self:log()
    end)
  end
end

---End all that are left.
function Upgraded:over()
  for i = #self.masters, 1, -1 do
    if s.alive(self.masters[i]) then
      uv.kill(self.masters[i], "sigquit")
    end
  end
  s.gone(self.masters, 15)
end

---The pids of the masters that workers answering have, of n new connections: a set.
---@param n? integer 40
---@return table<integer, true>
function Upgraded:who_answers(n)
  local set = {}
  for _ = 1, n or 40 do
    local response = self:get()
    set[tonumber(response.body)] = true
  end
  return set
end

---What each worker answers: the pid of its master.
M.APP = 'return function(_, res) res:finish(tostring(require("brood.posix").getppid())) end'

return M
