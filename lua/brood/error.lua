--- Error values: what a function that can fail returns as its second result.
--- An error is a table with `message` and `code`, and reads like its message
--- wherever text is expected. It never raises by itself.
local core = require "brood.core"

---@class brood.Error
---@field message string what went wrong, with the culprit named
---@field code string a word or an errno name: "timeout", "exit", "EADDRINUSE", ...
---@field traceback? string where it was raised, when it was
local M = {}

--- A new error. Without arguments for it, `fmt` is taken as it is.
---@param code string
---@param fmt string
---@return brood.Error
function M.new(code, fmt, ...)
  local message = select("#", ...) > 0 and fmt:format(...) or fmt
  return setmetatable({ message = message, code = code }, core.error_meta)
end

--- The same failure with the culprit named: "NAME: what went wrong".
---@param name string
---@param err brood.Error
---@return brood.Error
function M.of(name, err)
  return M.new(err.code, "%s: %s", name, err.message)
end

--- The error as it was raised: tables stay what they are, with code "error" where they have none, as text has it.
---@param value any what `error` was called with
---@param traceback? string
---@return brood.Error
function M.from(value, traceback)
  if type(value) ~= "table" then
    value = setmetatable({ message = tostring(value), code = "error" }, core.error_meta)
  elseif getmetatable(value) == nil then
    setmetatable(value, core.error_meta)
    value.message = value.message ~= nil and M.describe(value.message) or "(error object without a message)"
    value.code = value.code == nil and "error" or value.code
  end
  if traceback and rawget(value, "traceback") == nil and getmetatable(value) == core.error_meta then
    value.traceback = traceback
  end
  return value
end

--- What `tostring` says; what is raised by a value of somebody else's making is not.
---@param value any
---@return string
function M.describe(value)
  local ok, text = pcall(tostring, value)
  return ok and text ~= nil and tostring(text) or ("a %s that cannot be shown"):format(type(value))
end

--- Text for a log: the traceback where there is one, else the message.
---@param err any
---@return string
function M.text(err)
  if type(err) == "table" and type(rawget(err, "traceback")) == "string" then
    return rawget(err, "traceback")
  end
  return M.describe(err)
end

return M
