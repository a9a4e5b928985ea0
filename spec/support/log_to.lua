---What the log says while fn runs goes to write(level, text, former), former(level, text) being what would have written
---it.
---@param write fun(level: string, text: string, former: fun(level: string, text: string))
---@param fn fun()
return function(write, fn)
  local log = require("brood.core").log
  local former = log.write
  log.write = function(level, text)
    write(level, text, former)
  end
  local ok, err = pcall(fn)
  log.write = former
  if not ok then
    error(err, 0)
  end
end
