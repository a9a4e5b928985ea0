--- JSON by lua-cjson: encode and decode return nil and an error where they cannot; null is `json.null`.
local cjson = require("cjson.safe").new()
local E = require "brood.error"

cjson.decode_max_depth(200)
cjson.encode_sparse_array(true)

local M = { null = cjson.null }

--- The JSON text of a value.
---@param value any
---@return string? text, brood.Error? err
function M.encode(value)
  local text, why = cjson.encode(value)
  if text == nil then
    return nil, E.new("json", "cannot encode as JSON: %s", why)
  end
  if text:find("\\/", 1, true) then
    text = text:gsub("\\(.)", { ["/"] = "/" }) -- it may be escaped, and nobody expects it
  end
  return text
end

--- The value of a JSON text.
---@param text string
---@return any value, brood.Error? err
function M.decode(text)
  local value, why = cjson.decode(text)
  if value == nil then
    return nil, E.new("json", "cannot decode JSON: %s", why)
  end
  return value
end

return M
