local log_to = require "spec.support.log_to"

---Nothing of what the log says while fn runs is written: it is returned.
---@param fn fun()
---@return string
return function(fn)
  local lines = {}
  log_to(function(_, line)
    table.insert(lines, line)
  end, fn)
  return table.concat(lines, "\n")
end
