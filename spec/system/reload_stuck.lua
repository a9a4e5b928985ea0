--- A reload that does not end by itself, because something of it waits for ever: it holds up neither a stop nor the
--- next reload.
local lu = require "luaunit"
local masters = require "spec.support.master"
local s = require "spec.support"

local GOOD = 'return function(req, res) res:finish("good") end'

local IN_FORCE = 'signals = { CONT = function(m) note("in force", m.config.env.WHICH) end }, env = { WHICH = "old" }'

-- What never comes to its end: a hook, a config, a worker on trial, an app that is preloaded.
local stuck = {
  { config = "on_start = function() note 'waits' brood.sleep(1000) end" },
  { before = 'require("luv").fs_close(require("luv").fs_open(CONFIG_DIR .. "/waits", "w", 420))'
    .. ' require("brood").sleep(1000)' },
  { config = "before_fork = function() note 'waits' brood.sleep(1000) end" },
  { config = "start_timeout = false", app = 'io.open("waits", "w"):close() require("brood").sleep(1000)' },
  { config = "preload = true, start_timeout = false",
    app = 'io.open("waits", "w"):close() require("brood").sleep(1000)' },
}

-- A master for each of them, with a reload that will not end by itself; go_on(master, descriptors before).
local function each_stuck(go_on)
  for _, what in ipairs(stuck) do
    local master = masters.start { app = GOOD, config = IN_FORCE }
    local change = {}
    for key, value in pairs(what) do
      change[key] = value:gsub("CONFIG_DIR", ("%q"):format(master.dir))
    end
    master:ready(2)
    local fds = s.fd_count(master.program.pid)
    master:write(change)
    master.program:kill "HUP"
    s.wait(function()
      return master:notes():find "waits" or s.exists(master.dir .. "/waits")
    end, 10)
    go_on(master, fds)
  end
end

local function stops_at_once(signal)
  return function()
    each_stuck(function(master)
      local code, _, seconds = master:stop(signal)
      lu.assertEquals(code, 0)
      lu.assertTrue(seconds < 3 * s.slow, seconds)
    end)
  end
end

return {
  ["a hook or a config that suspends for ever does not hold up QUIT"] = stops_at_once "QUIT",

  ["a hook or a config that suspends for ever does not hold up TERM"] = stops_at_once "TERM",

  ["a hook or a config that suspends for ever does not hold up the next reload"] = function()
    each_stuck(function(master, fds)
      local ok, log = master:hup { app = GOOD, config = IN_FORCE }
      lu.assertTrue(ok, log)
      master:settled(fds)
    end)
  end,
}
