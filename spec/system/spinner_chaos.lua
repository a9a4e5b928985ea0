--- Fifty services, and for some seconds everything that can happen to them, at random and from a seed that a failure
--- names: afterwards each is as it was last wanted, every call was answered once, and nothing is left behind.
-- time limit: 180 s
local lu = require "luaunit"
local s = require "spec.support"
local sp = require "spec.support.spinner"
local uv = require "luv"

local SERVICES = 50
local SECONDS = tonumber(os.getenv "CHAOS_SECONDS") or 8
local seed = tonumber(os.getenv "CHAOS_SEED") or tonumber(uv.hrtime() % 1000000)

local function random(n)
  return math.random(n)
end

-- What they run: some ignore TERM, some have children, some listen, some die by themselves now and then.
local function options(i, dir)
  local file = ("%s/%d"):format(dir, i)
  s.write_file(file, "0")
  local kind = i % 6
  local o = {
    name = "s" .. i, monitor = file, port = false, restart_tolerance = 0, stop_timeout = 0.3, fault_timeout = 0,
    tandem = i % 4 == 0, timeout = 20,
  }
  if kind == 0 then
    o.command = { "sh", "-c", "trap '' TERM; sleep 600 & sleep 600 & wait; wait" }
  elseif kind == 1 then
    o.command = { "sleep", "600" }
  elseif kind == 2 then
    o.command, o.port = sp.server(), i % 12 == 2 and "socket" or true
  elseif kind == 3 then
    o.command, o.after = { "sleep", "600" }, { "s1" }
  elseif kind == 4 then
    o.command = { "sh", "-c", ("sleep 0.%d; exit 1"):format(i) }
  else
    o.command, o.idle = { "sleep", "600" }, 0.5
  end
  return o, file
end

return {
  teardown = sp.cleanup,

  [("fifty services in chaos (CHAOS_SEED=%d CHAOS_SECONDS=%d)"):format(seed, SECONDS)] = function()
    math.randomseed(seed)
    local spinner, dir = sp.new(), s.temp_dir()
    local all, wanted, calls, groups = {}, {}, {}, {}
    for i = 1, SERVICES do
      local o, file = options(i, dir)
      all[i] = { name = o.name, file = file, options = o }
      spinner:start(o, function() end)
      spinner:get(o.name):on("state", function()
        local pid = spinner:get(o.name).pid
        groups[pid or 0] = true
      end)
      wanted[o.name] = true
    end
    local function call(method, name)
      local one = { what = method .. " " .. name, answers = 0 }
      table.insert(calls, one)
      spinner[method](spinner, name, function() one.answers = one.answers + 1 end)
    end
    local deadline = uv.hrtime() + SECONDS * 1e9
    while uv.hrtime() < deadline do
      local one = all[random(SERVICES)]
      local what = random(7)
      if what == 1 and one.name ~= "s1" then -- those that come after it start it as well
        call("stop", one.name)
        wanted[one.name] = false
      elseif what <= 3 then
        call("start", one.name)
        wanted[one.name] = true
      elseif what == 4 then
        call("restart", one.name)
        wanted[one.name] = true
      elseif what == 5 then
        call("touch", one.name)
      elseif what == 6 then
        s.write_file(one.file, tostring(uv.hrtime()))
      else
        local pid = spinner:get(one.name).pid
        if pid then
          uv.kill(pid, random(2) == 1 and "sigkill" or "sigterm")
        end
      end
      require("brood").sleep(random(10) / 1000)
    end
    s.wait(function()
      for _, one in ipairs(calls) do
        if one.answers == 0 then
          return false
        end
      end
      return true
    end, 30, "the answers to all calls")
    for _, one in ipairs(calls) do
      lu.assertEquals(one.answers, 1, one.what)
    end
    -- Those that die again and again are on their way at any moment; those that are idle may have been stopped.
    s.wait(function()
      for i, one in ipairs(all) do
        local state = spinner:get(one.name).state
        local right = wanted[one.name] and (state == "ready" or i % 6 == 4 and state ~= "stopped"
          or i % 6 == 5 and state == "stopped") or not wanted[one.name] and state == "stopped"
        if not right then
          return false
        end
      end
      return true
    end, 30, function()
      local text = {}
      for _, one in ipairs(all) do
        local service = spinner:get(one.name)
        text[#text + 1] = ("%s %s %s %s"):format(one.name, tostring(wanted[one.name]), service.state,
          tostring(service.error))
      end
      return "the wanted states:\n" .. table.concat(text, "\n")
    end)
    spinner:stop_all()
    lu.assertEquals(s.children(), {})
    for group in pairs(groups) do
      lu.assertTrue(group == 0 or not pcall(uv.kill, -group, 0) or uv.kill(-group, 0) ~= 0, group)
    end
    lu.assertEquals({ spinner.live, spinner.socket_folder }, { 0 })
  end,
}
