-- A service made of parts: started in order, stopped in reverse, by a Child.main as well as alone.
local brood = require "brood"
local Child = require "brood.child"
local http = require "brood.http"
local Lifecycle = require "brood.lifecycle"
local Process = require "brood.process"

local address = arg[1] or "127.0.0.1:8080"
local life = Lifecycle.new "app"
local say = function(...) print(...) io.stdout:flush() end

-- A part may be a process of its own: stopping it is the last thing that happens.
local database = Process.new { name = "database", command = { "sleep", "1000" } }
life:add("database", function() assert(database:start()) end, function() assert(database:stop()) end,
  { start_timeout = "10s", stop_timeout = "10s" })

-- It may take a while, and say so when it is done.
local cache = {}
life:add("cache", function(done)
  brood.async(function()
    brood.sleep("50ms")
    cache.greeting = "hello\n"
    done()
  end)
end)

local server = http.server(function(_, res)
  res:finish(cache.greeting)
end)
life:add("server", function()
  assert(server:listen(address))
  say("listening on " .. tostring((server:address())))
end, function()
  server:close()
end)

-- With an argument more, the last part cannot be started: what ran is stopped, in reverse.
if arg[2] == "broken" then
  life:add("mailer", function() error { message = "no mail server", code = "ENOMAIL" } end)
end

for _, event in ipairs { "start", "stop", "online", "offline" } do
  life:on(event, function(item) say(item and ("%-7s %s"):format(event, item.title) or event) end)
end

Child.main("app", function(done) life:start(done) end, function(done) life:stop(done) end)
