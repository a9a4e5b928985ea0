--- What a worker that is a program does and takes of the machine, together with what it has started itself: a shell in
--- front of the server, a server's own processes.
local files = require "brood.files"
local folder = require "brood.folder"
local memory = require "brood.cluster.memory"

local M = {}

local function threads(pid)
  return folder.entries(("/proc/%d/task"):format(pid))
end

-- Each thread has the children that it has started.
local function add(list, pid)
  list[#list + 1] = pid
  for _, thread in ipairs(threads(pid)) do
    local text = files.read(("/proc/%d/task/%s/children"):format(pid, thread.name)) or ""
    for child in text:gmatch "%d+" do
      add(list, tonumber(child))
    end
  end
  return list
end

--- Whether a process, or one that it has started, computes or waits for a disk at this moment: one that serves waits
--- for somebody to come.
---@param pid integer
---@return boolean
function M.is_busy(pid)
  for _, one in ipairs(add({}, pid)) do
    local state = (files.read(("/proc/%d/stat"):format(one)) or ""):match "%) (%a)"
    if state == "R" or state == "D" then
      return true
    end
  end
  return false
end

--- Whether a process and what it has started take more than so much. done(exceeds, bytes): nil where it has just ended.
---@param pid integer
---@param limit number bytes
---@param done fun(exceeds: boolean?, bytes: number?)
function M.exceeds(pid, limit, done)
  local pids = add({}, pid)
  if pids[2] then
    return memory.all_exceed(pids, limit, done)
  end
  memory.exceeds(pid, limit, done)
end

return M
