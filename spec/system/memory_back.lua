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

  ["before a long wait the program's own pages are given back, but for those that were written to"] = function()
    local program = s.script [[
      local ffi = require "ffi"
      ffi.cdef "int mprotect(void *, size_t, int); int luaopen_debug(void *);"
      local brood, core = require "brood", require "brood.core"
      local code = ffi.cast("uint8_t *", ffi.cast("void *", ffi.C.luaopen_debug)) -- it will not be called again
      local page = ffi.cast("void *", ffi.cast("uintptr_t", code) / 4096 * 4096)
      assert(ffi.C.mprotect(page, 8192, 7) == 0)
      code[0] = 0xcc
      assert(ffi.C.mprotect(page, 8192, 5) == 0)
      print("written " .. io.open("/proc/self/statm"):read("*a"):match "^%d+ %d+ (%d+)")
      brood.sleep(0.01)
      core.release_memory()
      brood.sleep(2)
      print("there is " .. code[0])
    ]]
    local function shared() -- pages of files, and of memory that is shared
      return tonumber((s.read_file(("/proc/%d/statm"):format(program.pid)) or ""):match "^%d+ %d+ (%d+)")
    end
    local before = tonumber(program:expect "written (%d+)")
    if not os.getenv "BROOD_SANITIZED" then
      s.wait(function() return (shared() or before) < before * 0.7 end, 2 * s.slow, "its pages to be given back")
    end
    program:expect "there is 204"
    lu.assertEquals(program:finish().code, 0)
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

  ["a heap of any size is given back, by steps, and then there is rest"] = function()
    local result = s.script([[
      local brood, quiet = require "brood", require "brood.quiet"
      local function held() return tonumber(io.open("/proc/self/status"):read("*a"):match "RssAnon:%s*(%d+)") end
      local kept, garbage = {}, {}
      for i = 1, 200 do
        kept[i] = {}
        for j = 1, 1000 do kept[i][j] = { j } end
      end
      for i = 1, 200 do
        garbage[i] = {}
        for j = 1, 1000 do garbage[i][j] = { j, { j } } end
      end
      garbage = nil
      local before = held()
      quiet.note()
      for _ = 1, 500 do
        brood.sleep(0.01)
        if held() < before - 8192 then break end
      end
      print(held() < before - 8192, #kept, kept[200][1000][1])
    ]]):finish()
    lu.assertEquals(result.stdout, "true\t200\t1000\n")
  end,

  ["a worker of a pool holds no more after its jobs than before"] = function()
    local pool = require("brood.pool").new {
      max_processes = 1, max_jobs_per_process = false,
      worker = function(job)
        local list = {}
        for i = 1, job.data do
          list[i] = { i }
        end
        return list[1] and require("luv").os_getpid()
      end,
    }
    local pid = pool:run(10)
    local before = held(pid)
    for _ = 1, 5 do
      lu.assertEquals(pool:run(100000), pid)
    end
    local ok, err = pcall(s.wait, function() return held(pid) < before + 1536 end)
    pool:exit()
    lu.assertTrue(ok, err)
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
