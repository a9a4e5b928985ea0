--- Chaos over fifty services: for some seconds they are killed, stopped, started, restarted and touched, their files
--- change and the config is read again, all at once. At the end each is what was wanted last, there is one of each, and
--- nothing is left when the master has gone. BROOD_CHAOS_SEED and BROOD_CHAOS_SECONDS repeat a run, or make it longer.
-- time limit: 240 s
local brood = require "brood"
local http = require "brood.http"
local lu = require "luaunit"
local s = require "spec.support"
local services = require "spec.support.services"
local uv = require "luv"

local T = {}

local COUNT = 50
local SECONDS = tonumber(os.getenv "BROOD_CHAOS_SECONDS") or 6
local SEED = tonumber(os.getenv "BROOD_CHAOS_SEED") or os.time() % 100000

-- Listens where it is told to, and does nothing else.
local LISTENER = [[
use IO::Socket::INET;
my $socket = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => $ENV{PORT}, Listen => 5, ReuseAddr => 1)
  or die "cannot listen";
sleep 1000 while 1;
]]

local function comes_after(i)
  return i > 10 and i <= COUNT and i % 4 == 0 and i - 9 or nil
end

local function entry(i)
  local more = {}
  if i % 5 == 0 then
    more[1] = ('port = true, tandem = %s'):format(tostring(i % 10 == 0))
  end
  if i % 3 == 0 then
    more[#more + 1] = ('monitor = "watched%d"'):format(i % 6)
  end
  if comes_after(i) then
    more[#more + 1] = ('after = { "s%d" }'):format(comes_after(i))
  end
  more[#more + 1] = "fault_timeout = 0.3, restart_tolerance = " .. (i % 7 == 0 and 60 or 0)
  return ('s%d = { command = { "perl", here .. "/%s", "s%d" }, attempts = 2, timeout = 20, %s },'):format(i,
    i % 5 == 0 and "listener.pl" or "noting.pl", i, table.concat(more, ", "))
end

-- Services of ours that a worker of the chaos touches and starts: what POST cannot ask for.
local POKER = [[
local brood = require "brood"
math.randomseed(%d)
while true do
  local service = brood.service("s" .. math.random(1, %d))
  if service.state == "ready" then service:touch() end
  brood.sleep(0.005)
end]]

local function config()
  local list = {}
  for i = 1, COUNT do
    list[i] = entry(i)
  end
  return "services = {\n" .. table.concat(list, "\n") .. '\npoker = { script = "poker.lua", restart_tolerance = 0 } },'
end

-- Those that run, by name: from their command lines.
local function running(dir)
  local found = {}
  for _, stat in ipairs(s.processes()) do
    local words = stat.state ~= "Z" and s.cmdline(stat.pid) or {}
    if words[1] == "perl" and words[2]:find(dir, 1, true) == 1 then
      found[words[3]] = (found[words[3]] or 0) + 1
    end
  end
  return found
end

local PATIENCE = 60 -- seconds that an answer may take: one that comes after another waits while that starts, again

-- Many ask at once: who finds no place in the queue of the control server's socket comes again.
local function call(master, name, what)
  while true do
    local answer, err = http.request {
      socket = master.control, method = "POST", path = ("/services/%s/%s"):format(name, what),
      timeout = PATIENCE * s.slow,
    }
    if answer then
      return answer.status, brood.json.decode(answer.body)
    elseif err.code ~= "EAGAIN" then
      error(("%s %s is not answered: %s\n%s"):format(what, name, err, brood.json.encode(master:services(name))), 0)
    end
    brood.sleep(0.02)
  end
end

T["fifty services in chaos are in the end what was wanted last"] = function()
  print(("chaos over %d services for %g s: BROOD_CHAOS_SEED=%d"):format(COUNT, SECONDS, SEED))
  math.randomseed(SEED)
  local files = { ["listener.pl"] = LISTENER, ["poker.lua"] = POKER:format(SEED, COUNT) }
  for i = 0, 5 do
    files["watched" .. i] = ""
  end
  local master = services.start(config(), { files = files }):started()
  local deadline, wanted, over, refused = uv.hrtime() + SECONDS * 1e9, {}, 0, {}
  local done = { kills = 0, calls = 0, changes = 0, hups = 0 }

  -- Each service is asked by one after the other, so that there is a last word.
  for i = 1, COUNT do
    local name = "s" .. i
    wanted[name] = true
    brood.async(function()
      while uv.hrtime() < deadline do
        local what = ({ "stop", "start", "restart", "start" })[math.random(1, 4)]
        local status, body = call(master, name, what)
        if status ~= 200 then
          refused[#refused + 1] = ("%s %s: %d %s"):format(what, name, status, body.error)
        end
        wanted[name] = what ~= "stop"
        done.calls = done.calls + 1
        brood.sleep(math.random() * 1.5)
      end
      over = over + 1
    end)
  end
  brood.async(function()
    while uv.hrtime() < deadline do
      local ok, list = pcall(master.services, master)
      local pids = {}
      for _, service in pairs(ok and list or {}) do
        pids[#pids + 1] = service.pid
      end
      for _ = 1, 5 do
        local pid = pids[math.random(1, #pids)]
        if pid then
          uv.kill(pid, ({ "sigkill", "sigterm", "sigsegv" })[math.random(1, 3)])
          done.kills = done.kills + 1
        end
      end
      brood.sleep(0.05)
    end
    over = over + 1
  end)
  brood.async(function()
    while uv.hrtime() < deadline do
      s.write_file(master.dir .. "/watched" .. math.random(0, 5), tostring(math.random()))
      done.changes = done.changes + 1
      if math.random() < 0.05 then
        master.program:kill "HUP"
        done.hups = done.hups + 1
      end
      brood.sleep(0.1)
    end
    over = over + 1
  end)
  s.wait(function() return over == COUNT + 2 end, SECONDS + 90 * s.slow, "the end of the chaos")

  local wrong
  s.wait(function()
    wrong = {}
    local list, alive = master:services(), running(master.dir)
    for name, up in pairs(wanted) do
      local state, count = list[name].state, alive[name] or 0
      -- A start of one that comes after it starts it, whatever was wanted of it before.
      up = up or comes_after(tonumber(name:match "%d+") + 9) and state == "ready"
      if state ~= (up and "ready" or "stopped") or count ~= (up and 1 or 0) then
        wrong[#wrong + 1] = ("%s is %s and there are %d, wanted %s"):format(name, state, count, tostring(up))
      end
    end
    return not wrong[1]
  end, 60 * s.slow, function()
    return ("what was wanted (seed %d); %s\n%s"):format(SEED, table.concat(wrong, "\n"), master:log():sub(-3000))
  end)
  master:becomes("poker", "ready")
  lu.assertNil(master:log():find("lua/brood/", 1, true), "the log tells of a mistake of brood's")
  lu.assertEquals((master:over "QUIT"), 0)
  lu.assertEquals(running(master.dir), {})
  for _, text in ipairs(refused) do
    local known = text:find "^%a*start .*faulted" or text:find "^%a*start .* comes after .* stopped"
    lu.assertNotNil(known, text)
  end
  print(("%d calls, %d kills, %d changes of files, %d reloads"):format(done.calls, done.kills, done.changes, done.hups))
end

return T
