--- `brood init`: a config and an app that serve at once, and never over somebody's files.
local lu = require "luaunit"
local s = require "spec.support"
local uv = require "luv"

local function init(args, cwd)
  return s.brood({ "init", unpack(args or {}) }, { cwd = cwd }):finish()
end

return {
  ["what it writes serves at once"] = function()
    local dir = s.temp_dir()
    local result = init({}, dir)
    lu.assertEquals({ result.code, result.stderr }, { 0, "" })
    lu.assertStrContains(result.stdout, "wrote brood.lua and app.lua\n\n    brood run\n")
    lu.assertEquals(s.brood({ "check" }, { cwd = dir }):finish().code, 0)
    local program = s.brood({ "run", "-l", "127.0.0.1:0", "-w", "1", "--control", "unix:c.sock" }, { cwd = dir })
    local answer = s.get(program:expect("serve ([^,\n]+)\n"))
    lu.assertEquals(answer.status, 200)
    lu.assertStrContains(answer.body, "Hello from worker")
    program:stop()
  end,

  ["a directory is made, and the next command named"] = function()
    local dir = s.temp_dir()
    local result = init({ "a/b c" }, dir)
    lu.assertEquals(result.code, 0)
    lu.assertStrContains(result.stdout, "wrote a/b c/brood.lua and a/b c/app.lua\n\n    brood run 'a/b c'/brood.lua\n")
    lu.assertStrContains(s.read_file(dir .. "/a/b c/brood.lua"), "\n  -- workers = ")
    lu.assertEquals(s.brood({ "check", "a/b c/brood.lua" }, { cwd = dir }):finish().code, 0)
  end,

  ["the next command takes no directory for an option"] = function()
    local dir = s.temp_dir()
    local result = init({ "--", "-x" }, dir)
    lu.assertEquals(result.code, 0)
    lu.assertStrContains(result.stdout, "\n    brood run ./-x/brood.lua\n")
    lu.assertEquals(s.brood({ "check", "./-x/brood.lua" }, { cwd = dir }):finish().code, 0)
  end,

  ["nothing is ever overwritten, and then nothing is written"] = function()
    for _, name in ipairs { "brood.lua", "app.lua" } do
      local dir = s.temp_dir()
      s.write_file(dir .. "/" .. name, "mine")
      local result = init({ dir })
      lu.assertEquals({ result.code, result.stdout }, { 1, "" })
      lu.assertEquals(result.stderr,
        ("brood init: %s/%s: it exists, and is not overwritten; nothing was written\n"):format(dir, name))
      lu.assertEquals(s.read_file(dir .. "/" .. name), "mine")
      lu.assertFalse(s.exists(dir .. "/" .. (name == "app.lua" and "brood.lua" or "app.lua")))
    end
  end,

  ["not even a symlink to nowhere is followed"] = function()
    local dir = s.temp_dir()
    assert(uv.fs_symlink(dir .. "/elsewhere", dir .. "/app.lua"))
    lu.assertEquals(init({}, dir).code, 1)
    lu.assertFalse(s.exists(dir .. "/elsewhere"))
  end,

  ["a place that cannot be written to is said"] = function()
    local dir = s.temp_dir()
    s.write_file(dir .. "/file", "")
    local places = { file = "it is no directory", ["file/below"] = "it is no directory", ["/proc/x"] = "" }
    for place, words in pairs(places) do
      local result = init({ place }, dir)
      lu.assertEquals({ result.code, result.stdout }, { 1, "" })
      lu.assertStrContains(result.stderr, ("brood init: %s: %s"):format(place, words))
    end
  end,

  ["wrong usage is status 2, and its help is there"] = function()
    lu.assertEquals(init({ "a", "b" }).code, 2)
    lu.assertEquals(init({ "--force" }).code, 2)
    lu.assertStrContains(init({ "--help" }).stdout, "usage: brood init [DIR]")
  end,
}
