--- The test runner: `brood exec spec/run.lua [NAME]`. Each spec file runs in a process, a session and a temp dir of
--- its own, some at a time; NAME picks files by path, or tests by their sentence. A file fails that crashes, hangs, or
--- leaves a process, a socket or a file behind. The last line is `N passed, N failed`.
---
--- The runner must stay whole when the runtime under test does not: plain system calls through ffi, no loop, no luv.
local ffi = require "ffi"
local lfs = require "lfs"
local bit = require "bit"

ffi.cdef [[
  int fork(void); int setsid(void); int execve(const char *, char *const *, char *const *); void _exit(int);
  int waitpid(int, int *, int); int kill(int, int); int getpid(void);
  int prctl(int, unsigned long, unsigned long, unsigned long, unsigned long);
  int open(const char *, int, ...); int close(int); int dup2(int, int); int chdir(const char *);
  char *mkdtemp(char *); char *realpath(const char *, char *); void free(void *);
  long readlink(const char *, char *, size_t);
  typedef struct { unsigned long bits[16]; } spec_set; struct spec_pollfd { int fd; short events, revents; };
  int sigemptyset(spec_set *); int sigaddset(spec_set *, int); int sigprocmask(int, const spec_set *, spec_set *);
  int signalfd(int, const spec_set *, int); int poll(struct spec_pollfd *, unsigned long, int);
  void (*signal(int, void (*)(int)))(int); int sched_getaffinity(int, size_t, void *);
  typedef struct { long s, ns; } spec_time; int clock_gettime(int, spec_time *); extern char **environ;
]]
local C = ffi.C

local SIGHUP, SIGINT, SIGPIPE, SIGTERM, SIGKILL = 1, 2, 13, 15, 9
local TIME_LIMIT = 120 -- seconds a file; a comment "-- time limit: 200 s" near its top asks for another
local END_LIMIT = 5 -- seconds from its last test to its end
local LEAK_GRACE = 1.5 -- seconds in which what was told to end may do so
local slow = os.getenv("BROOD_SANITIZED") and 4 or 1

local function now()
  local t = ffi.new("spec_time")
  C.clock_gettime(1, t)
  return tonumber(t.s) + tonumber(t.ns) / 1e9
end

local function real_path(path)
  local resolved = C.realpath(path, nil)
  if resolved == nil then
    return nil
  end
  local text = ffi.string(resolved)
  C.free(resolved)
  return text
end

local function read(path)
  local file = io.open(path, "r")
  local text = file and file:read("*a")
  if file then
    file:close()
  end
  return text
end

local function binary_path()
  local buffer = ffi.new("char[4096]")
  local n = C.readlink("/proc/self/exe", buffer, 4096)
  return ffi.string(buffer, n)
end

local function cpu_count()
  local mask, n = ffi.new("unsigned char[128]"), 0
  if C.sched_getaffinity(0, 128, mask) < 0 then
    return 2
  end
  for i = 0, 127 do
    for shift = 0, 7 do
      n = n + bit.band(bit.rshift(mask[i], shift), 1)
    end
  end
  return math.max(n, 2)
end

local root = real_path((arg[0]:match("^(.*)/spec/run.lua$") or "."))
local binary = os.getenv("BROOD_BINARY") or binary_path()
local filter = arg[1] ~= "" and arg[1] or nil

---- which files -----------------------------------------------------------------------------------------------------

local function lua_files(dir)
  local names = {}
  if lfs.attributes(dir, "mode") == "directory" then
    for name in lfs.dir(dir) do
      if name:find("%.lua$") then
        table.insert(names, name)
      end
    end
  end
  table.sort(names)
  return names
end

local function find_files()
  local files = {}
  for _, room in ipairs { "faults", "system", "unit" } do -- the slow ones first
    local dir = root .. "/spec/" .. room
    for _, name in ipairs(lua_files(dir)) do
      local path = dir .. "/" .. name
      local text = read(path) or ""
      local short = "spec/" .. room .. "/" .. name
      if not filter or short:find(filter, 1, true) or text:find(filter, 1, true) then
        local limit = tonumber(text:sub(1, 2000):match("%-%- time limit: (%d+) s")) or TIME_LIMIT
        table.insert(files, { path = path, name = short, limit = limit * slow })
      end
    end
  end
  return files
end

---- starting one ----------------------------------------------------------------------------------------------------

local function c_strings(list)
  local array = ffi.new("const char *[?]", #list + 1)
  for i, text in ipairs(list) do
    array[i - 1] = text
  end
  return array, list -- the list anchors the strings
end

local function environment_for(spec)
  local drop = {
    PORT = true, WEB_CONCURRENCY = true, LISTEN_FDS = true, LISTEN_PID = true, LISTEN_FDNAMES = true,
    NOTIFY_SOCKET = true, NO_COLOR = true, MAKEFLAGS = true, MFLAGS = true, MAKELEVEL = true, LUAUNIT_OUTPUT = true,
  }
  local set = {
    TMPDIR = spec.dir, XDG_RUNTIME_DIR = spec.dir, HOME = spec.dir, PWD = spec.dir,
    BROOD_BINARY = binary, BROOD_SPEC_ID = spec.id, BROOD_SPEC_STATUS = spec.base .. ".status",
    BROOD_FAULTS = os.getenv("BROOD_FAULTS") or root .. "/build/faults.so",
    BROOD_LUA = os.getenv("BROOD_LUA") and real_path(os.getenv("BROOD_LUA")),
  }
  local list = {}
  local i = 0
  while C.environ[i] ~= nil do
    local entry = ffi.string(C.environ[i])
    local name = entry:match("^[^=]*")
    if not drop[name] and set[name] == nil then
      table.insert(list, entry)
    end
    i = i + 1
  end
  for name, value in pairs(set) do
    table.insert(list, name .. "=" .. value)
  end
  return list
end

local no_signals = ffi.new("spec_set")
C.sigemptyset(no_signals)
local runner_pid = C.getpid()

local function start(spec)
  local env, env_anchor = c_strings(environment_for(spec))
  local argv, argv_anchor = c_strings { binary, "exec", root .. "/spec/support/one.lua", spec.path, filter or "" }
  spec.started = now()
  local pid = C.fork()
  if pid == 0 then
    C.setsid()
    C.prctl(1, SIGTERM, 0, 0, 0) -- PR_SET_PDEATHSIG: a killed runner leaves nothing
    local input, output = C.open("/dev/null", 0), C.open(spec.base .. ".out", 1089, ffi.cast("int", 384))
    C.dup2(input, 0)
    C.dup2(output, 1)
    C.dup2(output, 2)
    C.signal(SIGPIPE, ffi.cast("void (*)(int)", 0))
    C.sigprocmask(2, no_signals, nil)
    C.chdir(spec.dir)
    C.execve(binary, ffi.cast("char *const *", argv), ffi.cast("char *const *", env))
    C._exit(127)
  end
  assert(pid > 0, "fork failed")
  spec.pid = pid
  spec.anchors = { env_anchor, argv_anchor } -- until after the fork, at least
end

---- what it left behind ---------------------------------------------------------------------------------------------

-- Processes of a spec: of its session, or with its id in their environment (a daemon has left the session), or
-- orphans that came to the runner: all its other children are specs.
local running = {}

local function is_orphan(pid, ppid, session, env)
  return ppid == runner_pid and not running[pid] and not running[session]
    and not env:find("BROOD_SPEC_ID=", 1, true)
end

local function processes_of(spec)
  local found = {}
  for name in lfs.dir("/proc") do
    local stat = name:find("^%d+$") and read("/proc/" .. name .. "/stat")
    local comm, state, ppid, _, session = (stat or ""):match("^%d+ %((.*)%) (%a) (%d+) (%d+) (%d+)")
    if state and state ~= "Z" and state ~= "X" and tonumber(name) ~= spec.pid then
      local env = read("/proc/" .. name .. "/environ") or ""
      if tonumber(session) == spec.pid or env:find("BROOD_SPEC_ID=" .. spec.id .. "\0", 1, true)
          or is_orphan(tonumber(name), tonumber(ppid), tonumber(session), env) then
        local command = (read("/proc/" .. name .. "/cmdline") or ""):gsub("%z", " "):sub(1, 120)
        table.insert(found, { pid = tonumber(name), what = comm .. ": " .. command })
      end
    end
  end
  return found
end

local function kill_all_of(spec)
  for _ = 1, 20 do
    local found = processes_of(spec)
    if #found == 0 then
      return
    end
    for _, process in ipairs(found) do
      C.kill(process.pid, SIGKILL)
    end
    C.poll(nil, 0, 10)
  end
end

-- Remove a tree; returns the names of what was in it.
local function remove_tree(dir, prefix, names)
  for name in lfs.dir(dir) do
    if name ~= "." and name ~= ".." then
      local path = dir .. "/" .. name
      local mode = lfs.symlinkattributes(path, "mode")
      if mode == "directory" then
        table.insert(names, prefix .. name .. "/")
        remove_tree(path, prefix .. name .. "/", names)
      else
        table.insert(names, prefix .. name .. (mode == "socket" and " (socket)" or ""))
        os.remove(path)
      end
    end
  end
  lfs.rmdir(dir)
  return names
end

---- what it said ----------------------------------------------------------------------------------------------------

local function unescape(text)
  return (text:gsub("\\(.)", { n = "\n", t = "\t", ["\\"] = "\\" }))
end

local function read_status(spec)
  local passed, failures, current, done, skipped = 0, {}, nil, false, 0
  for line in (read(spec.base .. ".status") or ""):gmatch("[^\n]+") do
    local word, name, message = line:match("^(%a+)\t?([^\t]*)\t?(.*)$")
    name = unescape(name or "")
    if word == "start" then
      current = name
    elseif word == "pass" then
      passed, current = passed + 1, nil
    elseif word == "skip" then
      skipped, current = skipped + 1, nil
    elseif word == "fail" then
      table.insert(failures, { name = name, message = unescape(message) })
      current = nil
    elseif word == "done" then
      done = true
    end
  end
  return { passed = passed, failures = failures, current = current, done = done, skipped = skipped }
end

local function describe_end(status)
  if bit.band(status, 0x7f) == 0 then
    return "exit status " .. bit.rshift(bit.band(status, 0xff00), 8)
  end
  return "signal " .. bit.band(status, 0x7f)
end

local function judge(spec, wait_status)
  local result = read_status(spec)
  local function fail(name, message)
    table.insert(result.failures, { name = name, message = message })
  end
  if spec.late then
    fail(result.current or "(after the last test)", spec.late)
  elseif not result.done then
    fail(result.current or "(before the first test)", "the process ended in it: " .. describe_end(wait_status))
  elseif wait_status ~= 0 then
    fail("(the end)", "the spec's process ended with " .. describe_end(wait_status))
  end
  local deadline = now() + LEAK_GRACE * slow
  local left = processes_of(spec)
  while #left > 0 and not spec.late and now() < deadline do
    C.poll(nil, 0, 20)
    left = processes_of(spec)
  end
  for _, process in ipairs(left) do
    if not spec.late then
      fail("(processes)", ("left behind: %d %s"):format(process.pid, process.what))
    end
  end
  kill_all_of(spec)
  local files = remove_tree(spec.dir, "", {})
  if #files > 0 and not spec.late and result.done then
    fail("(files)", "left behind in its temp dir: " .. table.concat(files, ", "))
  end
  result.output = read(spec.base .. ".out") or ""
  os.remove(spec.base .. ".out")
  os.remove(spec.base .. ".status")
  return result
end

local function print_indented(text, mark)
  for line in (text:gsub("\n+$", "") .. "\n"):gmatch("(.-)\n") do
    print(mark .. line)
  end
end

local function print_result(spec, result)
  local failed = #result.failures
  if result.passed + failed == 0 then
    return
  end
  local skipped = result.skipped > 0 and (", " .. result.skipped .. " skipped") or ""
  print(("%-5s %-44s %3d passed, %d failed%s  %5.1f s"):format(
    failed == 0 and "ok" or "FAIL", spec.name, result.passed, failed, skipped, now() - spec.started))
  for _, failure in ipairs(result.failures) do
    print("    " .. failure.name)
    print_indented(failure.message:gsub(root .. "/", ""), "      ")
  end
  if failed > 0 and result.output ~= "" then
    print("    its output:")
    print_indented(result.output:sub(-8000), "      | ")
  end
  io.stdout:flush()
end

---- the run ---------------------------------------------------------------------------------------------------------

-- Signals come by a fd, so that an interrupted run ends what it started.
local function open_signals()
  local set = ffi.new("spec_set")
  C.sigemptyset(set)
  for _, signal in ipairs { SIGHUP, SIGINT, SIGTERM } do
    C.sigaddset(set, signal)
  end
  C.sigprocmask(0, set, nil)
  return C.signalfd(-1, set, 2048 + 524288)
end

local function watch_limits()
  for _, spec in pairs(running) do
    local age = now() - spec.started
    if not spec.done_at and (read(spec.base .. ".status") or ""):find("\ndone\n", 1, true) then
      spec.done_at = now()
    end
    if age > spec.limit then
      spec.late = ("hung: not over after %g s"):format(spec.limit)
    elseif spec.done_at and now() - spec.done_at > END_LIMIT * slow then
      spec.late = "its tests are over, but a handle, a timer or a child of theirs keeps the process running"
    end
    if spec.late then
      C.kill(spec.pid, SIGKILL)
    end
  end
end

local function reap(on_end)
  local status = ffi.new("int[1]")
  while true do
    local pid = C.waitpid(-1, status, 1)
    if pid <= 0 then
      return
    end
    if running[pid] then
      local spec = running[pid]
      running[pid] = nil
      on_end(spec, status[0])
    end
  end
end

local function interrupt(base)
  for _, spec in pairs(running) do
    C.kill(spec.pid, SIGKILL)
    kill_all_of(spec)
  end
  remove_tree(base, "", {})
  print("interrupted")
  os.exit(130)
end

local function run(files)
  local base = ffi.string(C.mkdtemp(ffi.new("char[64]", "/tmp/brood-XXXXXX")))
  local jobs = tonumber(os.getenv("JOBS")) or cpu_count() + 1 -- most of their time they wait
  local count, next_file = 0, 1
  local passed, failed = 0, 0
  local signals = ffi.new("struct spec_pollfd[1]", { { open_signals(), 1, 0 } })
  C.prctl(36, 1, 0, 0, 0) -- PR_SET_CHILD_SUBREAPER: what a spec orphans comes here
  while count > 0 or next_file <= #files do
    while count < jobs and next_file <= #files do
      local spec = files[next_file]
      spec.base = base .. "/" .. next_file
      spec.dir, spec.id = spec.base, base:match("[^/]*$") .. "-" .. next_file
      spec.base = spec.base .. ".run"
      lfs.mkdir(spec.dir)
      start(spec)
      running[spec.pid] = spec
      count, next_file = count + 1, next_file + 1
    end
    if C.poll(signals, 1, 10) > 0 then
      interrupt(base)
    end
    watch_limits()
    reap(function(spec, status)
      count = count - 1
      local result = judge(spec, status)
      print_result(spec, result)
      passed, failed = passed + result.passed, failed + #result.failures
    end)
  end
  remove_tree(base, "", {})
  return passed, failed
end

local files = find_files()
local passed, failed = run(files)
assert(C.getpid() == runner_pid)
if passed + failed == 0 then
  print("no test" .. (filter and (" matches '" .. filter .. "'") or " was found"))
end
print(("%d passed, %d failed"):format(passed, failed))
os.exit((failed > 0 or passed == 0) and 1 or 0)
