--- A table made of others; they stay as they are, and what is in them is shared.

---@param first table
---@param second? table whose fields beat those of the first
---@return table
return function(first, second)
  local result = {}
  for key, value in pairs(first) do
    result[key] = value
  end
  for key, value in pairs(second or {}) do
    result[key] = value
  end
  return result
end
