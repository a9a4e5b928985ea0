-- The log of deployments, and which release this is.
local M = {}

-- The text of the file RELEASE, which a deployment writes.
function M.release()
  local file = io.open "RELEASE"
  local text = file and file:read "*l" or "unknown"
  if file then
    file:close()
  end
  return text
end

function M.note(...)
  local log = assert(io.open("deploy.log", "a"))
  log:write(os.date "!%Y-%m-%dT%H:%M:%SZ ", string.format(...), "\n")
  log:close()
end

return M
