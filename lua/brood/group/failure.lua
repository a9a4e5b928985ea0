--- What the log says of a member that could not start. Many that fail in one way, again and
--- again, tell it in full once. It decides nothing.
local E = require "brood.error"
local log = require "brood.log"

---@param self brood.Group
---@param member brood.Member
---@param err brood.Error
return function(self, member, err)
  local text, own = E.text(err), ("%s worker %d"):format(self.name, member.id)
  local named = text:sub(1, #own) == own
  local what = named and text:sub(#own + 1) or text
  if what == self.last_failure and err.traceback then
    text = tostring(err):match("^[^\n]*"):gsub(":$", "") .. " (as before)"
  end
  self.last_failure = what
  log.error(named and text or ("%s: worker %d: %s"):format(self.name, member.id, text))
end
