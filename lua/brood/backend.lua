--- Backends: programs that speak HTTP on a Unix socket and run only while they are used. What one does is in the
--- modules beside this one, which are loaded when one is made.
local M = {}

-- What Process will refuse is refused here, where whoever is to blame is known.
local function check(given, level)
  local fields = require("brood.rules.backend_options").fields
  local checked = require("brood.options").check(level + 1, given, fields, "Backend.new")
  if type(checked.port) == "number" and checked.size > 1 then
    error("Backend.new: option 'port' must be true where `size` is more than 1: each program needs a port of its own",
      level + 1)
  end
  require("brood.process.spawn").check({
    command = checked.command, user = checked.user, group = checked.group, limits = checked.limits,
    umask = checked.umask, stdout = checked.stdout, stderr = checked.stderr,
  }, level + 1, "Backend.new")
  return checked
end

--- A backend; its first request starts it. Options, and what they are without a word: see the reference.
---
---     local backend = Backend.new { command = { "node", "app.js" } }
---     return function(req, res) assert(backend:proxy(req, res)) end
---
---@param given brood.BackendOptions
---@return brood.Backend
function M.new(given)
  local checked = check(given, 2)
  return M.make(checked, {})
end

--- A backend whose options are normalised already, for brood's own rooms.
---@private
---@param checked table as rules/backend_options has them
---@param inner? { name: string?, environ: table<string, string>? } environ: in place of our own environment
---@return brood.Backend
function M.make(checked, inner)
  return require("brood.backend.object").new(checked, inner or {})
end

return M
