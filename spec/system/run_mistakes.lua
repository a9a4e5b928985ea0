--- What `brood run` refuses: a config with mistakes (status 1), a wrong command line (status 2).
local lu = require "luaunit"
local s = require "spec.support"

local function refused(args, options)
  local result = s.brood(args, options):finish()
  lu.assertEquals(result.stdout, "")
  return result.code, result.stderr
end

local function config(text)
  return refused { "run", s.write_file("brood.lua", "return " .. text) }
end

return {
  ["all mistakes of a config are listed, by key, with status 1"] = function()
    local code, text = config [[{
      app = "app.lua", worker = 2, listen = { "nowhere:x" }, graceful_timeout = "soon", env = { A = {} },
      before_fork = "x" }]]
    lu.assertEquals(code, 1)
    lu.assertStrContains(text, "brood.lua has 5 mistakes")
    for _, part in ipairs {
      "`worker` (did you mean `workers`?)", "`listen[1]`", "`graceful_timeout`", "`env.A`", "`before_fork`",
    } do
      lu.assertStrContains(text, part)
    end
  end,

  ["a key that comes later is refused by name, never ignored"] = function()
    for name, value in pairs {
      command = "{ 'sleep', '1' }", timeout = 5, preload = "true", daemonize = "true", access_log = "'-'",
      max_requests = 5, rollout = "{ surge = 2 }", signals = "{ TERM = 'quit' }", pools = "{ a = {} }", services = "{}",
      clusters = "{ b = { app = 'b.lua' } }", backends = "{}", before_exec = "function() end", stderr_path = "'x'",
    } do
      local code, text = config(("{ app = 'app.lua', %s = %s }"):format(name, value))
      lu.assertEquals(code, 1, name)
      lu.assertStrContains(text, ("`%s` is not available yet"):format(name))
    end
  end,

  ["a config that is no table says what it is"] = function()
    local code, text = config "42"
    lu.assertEquals(code, 1)
    lu.assertStrContains(text, "must return a table, got 42")
    code, text = config "{}"
    lu.assertEquals(code, 1)
    lu.assertStrContains(text, "`app` is missing")
  end,

  ["wrong usage is status 2, one line and a hint"] = function()
    for _, args in ipairs {
      { "--frobnicate" }, { "-w", "none", "-s", "app.lua" }, { "-p", "70000", "-s", "app.lua" },
      { "-l", "nonsense:x:y", "-s", "a" },
      { "run", "a.lua", "b.lua" }, { "-q", "-v" }, { "--log-level", "loud" }, { "reload" }, { "exec" }, { "statsu" },
      { "-c" }, { "-D", "-s", "app.lua" },
    } do
      local code, text = refused(args)
      lu.assertEquals(code, 2, table.concat(args, " ") .. ": " .. text)
      lu.assertStrContains(text, "Try 'brood")
    end
  end,

  ["a mistake in the environment names the variable"] = function()
    local app = s.write_file("app.lua", "return function() end")
    local code, text = refused({ "-s", app }, { env = { WEB_CONCURRENCY = "many" } })
    lu.assertEquals(code, 1)
    lu.assertStrContains(text, "WEB_CONCURRENCY")
    code, text = refused({ "-s", app }, { env = { PORT = "99999" } })
    lu.assertEquals(code, 1)
    lu.assertStrContains(text, "PORT")
  end,
}
