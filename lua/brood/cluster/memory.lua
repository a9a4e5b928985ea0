--- What a worker takes of the machine's memory: what it has mapped, which costs nothing to read, and
--- only where that is too much its share of it (PSS), which the kernel takes long to count: off the loop.
local files = require "brood.files"
local log = require "brood.log"
local uv = require "luv"

local M = {}

local ENOUGH = 4096 -- bytes of smaps_rollup, which has one of each line
local page, told

-- Both are the same number of pages, one in bytes; what changes in between is much less than its double.
local function page_size()
  if not page then
    local pages = tonumber(files.read("/proc/self/statm"):match "^%d+ (%d+)")
    page = 2 ^ math.floor(math.log(uv.resident_set_memory() / pages) / math.log(2) + 0.5)
  end
  return page
end

-- done(text): nil where it cannot be read.
local function read_slowly(path, done)
  uv.fs_open(path, "r", 0, function(_, fd)
    if not fd then
      return done()
    end
    uv.fs_read(fd, ENOUGH, 0, function(_, text)
      uv.fs_close(fd, function()
        done(text)
      end)
    end)
  end)
end

local function tell_once(path)
  if not told then
    told = true
    log.warn(("max_memory: %s cannot be read: what processes share is counted for each of them"):format(path))
  end
end

--- Whether a process takes more than so much. done(exceeds, bytes): nil where it has just ended.
---@param pid integer
---@param limit number bytes
---@param done fun(exceeds: boolean?, bytes: number?)
function M.exceeds(pid, limit, done)
  local text = files.read(("/proc/%d/statm"):format(pid))
  local resident = text and tonumber(text:match "^%d+ (%d+)")
  if not resident or resident * page_size() <= limit then
    return done(resident and false)
  end
  local path = ("/proc/%d/smaps_rollup"):format(pid)
  read_slowly(path, function(rollup)
    local share = rollup and tonumber(rollup:match "\nPss:%s+(%d+) kB")
    if not share and rollup ~= "" and files.read(("/proc/%d/statm"):format(pid)) then
      tell_once(path)
      return done(true, resident * page_size())
    end
    done(share and share * 1024 > limit, share and share * 1024)
  end)
end

--- Whether several processes together take more than so much. done(exceeds, bytes).
---@param pids integer[]
---@param limit number bytes
---@param done fun(exceeds: boolean, bytes: number)
function M.all_exceed(pids, limit, done)
  local resident = 0
  for _, pid in ipairs(pids) do
    local text = files.read(("/proc/%d/statm"):format(pid))
    resident = resident + (text and tonumber(text:match "^%d+ (%d+)") or 0) * page_size()
  end
  if resident <= limit then
    return done(false, resident)
  end
  local total, left = 0, #pids
  for _, pid in ipairs(pids) do
    M.exceeds(pid, 0, function(_, bytes)
      total, left = total + (bytes or 0), left - 1
      if left == 0 then
        done(total > limit, total)
      end
    end)
  end
end

return M
