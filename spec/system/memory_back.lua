--- Memory that was used once and is not any more goes back to the kernel: after a start, and when traffic has ceased.
local core = require "brood.core"
local lu = require "luaunit"
local masters = require "spec.support.master"
local s = require "spec.support"

-- KiB of anonymous memory that a process holds.
local function held(pid)
  return tonumber((s.read_file(("/proc/%d/status"):format(pid)) or ""):match "RssAnon:%s*(%d+)")
end

-- What one answer leaves over is more than a worker has otherwise.
local APP = [[
return function(req, res)
  local list = {}
  for i = 1, req.path == "/much" and 100000 or 0 do
    list[i] = { i }
  end
  res:finish(tostring(#list))
end
]]

return {
  ["what is free in the heap is given back, and the heap is as good as before"] = function()
    local pid = require("brood.posix").getpid()
    local kept, garbage = {}, {}
    for i = 1, 200000 do
      garbage[i] = { i }
      if i % 1000 == 0 then
        kept[#kept + 1] = { i, ("text %d"):format(i) }
      end
    end
    lu.assertEquals(#garbage, 200000)
    garbage = nil -- luacheck: ignore 311
    collectgarbage()
    collectgarbage()
    local before = held(pid)
    core.release_memory()
    local after = held(pid)
    if not os.getenv "BROOD_SANITIZED" then
      lu.assertTrue(after < before - 4096, ("%d KiB before, %d after"):format(before, after))
    end
    local more = {}
    for i = 1, 50000 do
      more[i] = { i, tostring(i) }
    end
    for i, one in ipairs(kept) do
      lu.assertEquals(one, { i * 1000, ("text %d"):format(i * 1000) })
    end
    lu.assertEquals(more[50000], { 50000, "50000" })
  end,

  ["a process does not grow by giving memory back again and again"] = function()
    local pid = require("brood.posix").getpid()
    core.release_memory()
    local before = held(pid)
    for _ = 1, 100 do
      core.release_memory()
    end
    lu.assertTrue(held(pid) < before + 1024, ("%d KiB before, %d after"):format(before, held(pid)))
  end,

  ["a worker holds no more after its traffic than before"] = function()
    local master = masters.start { workers = 1, app = APP }
    lu.assertEquals(master:get("/").body, "0")
    local pid = master:pids()[1]
    local before = held(pid)
    for _ = 1, 5 do
      lu.assertEquals(master:get("/much").body, "100000")
    end
    s.wait(function() return held(pid) < before + 1536 end)
    lu.assertEquals(master:get("/").body, "0")
  end,
}
