---Nothing of what the log says while fn runs is written: it is returned.
---@param fn fun()
---@return string
return function(fn)
  local log, lines = require("brood.core").log, {}
  local write = log.write
  log.write = function(_, line)
    table.insert(lines, line)
  end
  local ok, err = pcall(fn)
  log.write = write
  if not ok then
    error(err, 0)
  end
  return table.concat(lines, "\n")
end
