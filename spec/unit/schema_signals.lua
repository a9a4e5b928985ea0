--- rules/schema_signals: what `signals` may say, whichever way a signal is written.
local configs = require "spec.support.configs"
local lu = require "luaunit"

local context = configs.context "/srv"

local function of(signals)
  return configs.effective({ app = "app.lua", signals = signals }, context).signals
end

local function complaints(signals)
  return (configs.complaints({ app = "app.lua", signals = signals }, context))
end

local function plain(signals)
  local list = {}
  for name, action in pairs(of(signals)) do
    list[name] = action
  end
  return list
end

return {
  ["a signal is named with SIG or without, in any case, or by its number"] = function()
    lu.assertEquals(plain { SIGTERM = "quit", usr1 = "reopen", [12] = "upgrade", sigwinch = false },
      { TERM = "quit", USR1 = "reopen", USR2 = "upgrade", WINCH = false })
  end,

  ["a function is an action as well"] = function()
    local function fn() end
    lu.assertIs(of({ HUP = fn }).HUP, fn)
  end,

  ["one signal by two names is a mistake, and so is an action that is none"] = function()
    lu.assertEquals(complaints { TERM = "quit", SIGTERM = "quit" },
      { "'signals.TERM' is the same signal as 'signals.SIGTERM'" })
    lu.assertEquals(complaints { USR1 = "reopen", [10] = "quit" },
      { "'signals.USR1' is the same signal as 'signals[10]'" })
    lu.assertStrContains(complaints({ TERM = "explode" })[1], "signals.TERM: expected")
  end,

  ["what nobody can catch, and what the runtime needs itself, is refused with the reason"] = function()
    lu.assertEquals(complaints { KILL = "quit", [19] = "quit", CHLD = "reload" }, {
      "'signals[19]' cannot be caught by anybody", "'signals.CHLD' is the runtime's own",
      "'signals.KILL' cannot be caught by anybody",
    })
  end,

  ["an unknown name is answered with the nearest one"] = function()
    lu.assertEquals(complaints { TREM = "quit" }, { "unknown key 'signals.TREM' (did you mean 'TERM'?)" })
  end,

  ["a list is no table of signals, though 1 is the number of one"] = function()
    lu.assertEquals(complaints { "quit" },
      { 'signals: expected a table from names of signals to actions (like { TERM = "quit" }), got a table: '
        .. "1 is no signal's name" })
    lu.assertStrContains(complaints("quit")[1], 'got "quit"')
  end,
}
