--- Everything a spec needs, in one table: `local s = require "spec.support"`. Waiting (s.wait), temp dirs (s.temp_dir),
--- programs (s.brood, s.start, s.run), the process table (s.fds, s.children), sockets (s.connect), faults (s.faults).
--- All of it waits by turning the loop, never by blocking it, and never by a bare sleep.
local uv = require "luv"

local M = {
  root = debug.getinfo(1, "S").source:match("^@(.*)/spec/support/init.lua$") or ".",
  binary = os.getenv("BROOD_BINARY") or uv.exepath(),
  slow = os.getenv("BROOD_SANITIZED") and 4 or 1, -- how many times longer everything may take
}

for _, part in ipairs { "wait", "temp", "proc", "program", "socket" } do
  for name, value in pairs(require("spec.support." .. part)) do
    M[name] = value
  end
end

---What a test leaves for later is undone when it ends, the last first; a leftover found then fails the test.
function M.cleanup()
  local problems = {}
  for _, part in ipairs { "socket", "program", "temp" } do
    local ok, err = pcall(require("spec.support." .. part).cleanup)
    if not ok then
      table.insert(problems, tostring(err))
    end
  end
  if #problems > 0 then
    error(table.concat(problems, "; "), 0)
  end
end

return setmetatable(M, {
  __index = function(_, name)
    if name == "faults" then
      return require "spec.support.faults"
    end
  end,
})
