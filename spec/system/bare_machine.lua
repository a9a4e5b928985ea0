--- The binary copied alone: nothing but libc beside it, no Lua files, no Debian packages.
local lu = require "luaunit"
local s = require "spec.support"
local uv = require "luv"

local function make_dirs(path)
  local at = ""
  for part in path:gmatch("[^/]+") do
    at = at .. "/" .. part
    uv.fs_mkdir(at, 493)
  end
end

local function copy(from, to)
  make_dirs(to:match("^(.*)/"))
  assert(uv.fs_copyfile(from, to))
end

-- A root with the binary, the loader and the libraries it names, and nothing else.
local function bare_root()
  local root = s.temp_dir()
  copy(s.binary, root .. "/brood")
  local listing = s.run({ "ldd", s.binary }).stdout
  local libraries = {}
  for path in listing:gmatch("(/[^%s)]+)") do
    copy(assert(uv.fs_realpath(path)), root .. path)
    if not path:match("ld%-linux") then
      libraries[#libraries + 1] = path:match("[^/]+$")
    end
  end
  make_dirs(root .. "/tmp")
  make_dirs(root .. "/dev")
  s.write_file(root .. "/dev/null", "")
  return root, libraries
end

return {
  ["it needs libc alone, and serves, with its control server, in an empty root"] = function()
    lu.skipIf(uv.os_get_passwd().uid ~= 0, "only root may chroot")
    lu.skipIf(os.getenv("BROOD_SANITIZED") ~= nil, "the sanitizers need libraries of their own")
    local root, libraries = bare_root()
    table.sort(libraries)
    for _, name in ipairs(libraries) do
      lu.assertStrMatches(name, "lib[cm]%.so%.6")
    end
    s.write_file(root .. "/app.lua", 'return function(_, res) res:finish("bare\\n") end')
    local p = s.start {
      "chroot", root, "/brood", "-s", "/app.lua", "-l", "127.0.0.1:0", "-w", "1", "--control", "/tmp/c.sock",
    }
    local port = p:expect("serve 127%.0%.0%.1:(%d+)")
    lu.assertEquals(s.get("127.0.0.1:" .. port).body, "bare\n")
    lu.assertEquals(s.get("unix:" .. root .. "/tmp/c.sock", "/health").status, 200)
    lu.assertEquals(p:stop(), 0)
  end,
}
