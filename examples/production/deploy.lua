-- The log of deployments, and which release this is.
local brood = require "brood"

local M = {}

-- Of this release's folder, whichever one is the current directory.
local here = debug.getinfo(1, "S").source:match "^@(.*/)" or ""

-- The text of the file RELEASE, which a deployment writes.
function M.release()
  local file = io.open(here .. "RELEASE")
  local text = file and file:read "*l" or "unknown"
  if file then
    file:close()
  end
  return text
end

-- Into deploy.log, or the log where there is no folder for logs.
function M.note(...)
  local text, logs = string.format(...), os.getenv "LOGS_DIRECTORY"
  if not logs then
    return brood.log.info(text)
  end
  local log = assert(io.open(logs .. "/deploy.log", "a"))
  log:write(os.date "!%Y-%m-%dT%H:%M:%SZ ", text, "\n")
  log:close()
end

return M
