#!/usr/bin/env -S brood exec
-- A stack for development: an API in node and a page in Python that asks it, a free port each, started again when their
-- files are saved, their output in one terminal. Ctrl-C ends all of it.
local Spinner = require "brood.spinner"

local here = arg[0]:match "^(.*)/" or "."
local first = tonumber(os.getenv "FIRST_PORT") or 7000

local spinner = Spinner.new {
  ports = { first, first + 99 },
  cwd = here,
  idle = false, -- nobody has to ask for them: they run until we end
}

local function start(options)
  local port, err = spinner:start(options)
  if not port then
    print(err) -- it is tried again when its file is saved
    port = spinner:get(options.name).port
  end
  spinner:get(options.name):on("restarted", function(now)
    print(("%s runs again, on port %d"):format(options.name, now))
  end)
  return port
end

local api = start { name = "api", command = { "node", "api.js" }, monitor = here .. "/api.js" }

local web = start {
  name = "web", command = { "python3", "-u", "web.py" }, monitor = { here .. "/web.py", here .. "/page.html" },
  after = "api", env = { API = ("http://127.0.0.1:%d/"):format(api or first) },
}

print(("open http://127.0.0.1:%d/"):format(web or first + 1))
