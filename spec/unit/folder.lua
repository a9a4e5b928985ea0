--- brood.folder: what is in a folder, read again and again by whoever looks at /proc or watches files.
local folder = require "brood.folder"
local lu = require "luaunit"
local s = require "spec.support"
local uv = require "luv"

local CALLS = 10000
local ENOUGH = 1024 -- KiB: what so many calls that each kept something would exceed by far

local function held()
  return tonumber(s.read_file "/proc/self/smaps_rollup":match "\nPss_Anon:%s*(%d+)" or 0)
end

return {
  ["each entry has its name and its type, also where there are more than are read at once"] = function()
    local dir = s.temp_dir()
    for i = 1, 200 do
      s.write_file(("%s/file%d"):format(dir, i), "")
    end
    uv.fs_mkdir(dir .. "/below", 448)
    uv.fs_symlink("file1", dir .. "/symlink")
    local kinds, count = {}, 0
    for _, entry in ipairs(folder.entries(dir)) do
      kinds[entry.name], count = entry.type, count + 1
    end
    lu.assertEquals({ count, kinds.file1, kinds.file200, kinds.below, kinds.symlink },
      { 202, "file", "file", "directory", "link" })
  end,

  ["one that cannot be read has none, and the reason is told"] = function()
    local entries, why = folder.entries "/no/such/folder"
    lu.assertEquals(entries, {})
    lu.assertStrContains(why, "ENOENT")
    lu.assertEquals(select("#", folder.entries(s.temp_dir())), 2)
    lu.assertNil(select(2, folder.entries(s.temp_dir())))
  end,

  ["nothing is kept of a call, be there such a folder or not"] = function()
    local function call_often()
      for _ = 1, CALLS do
        folder.entries "/proc/self/task"
        folder.entries "/no/such/folder"
      end
      collectgarbage()
      collectgarbage()
    end
    call_often()
    local before = held()
    call_often()
    lu.assertTrue(held() - before < ENOUGH, held() - before)
  end,
}
