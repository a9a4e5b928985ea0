--- A list without one of its items; the list itself stays as it is. Pure.

---@generic T
---@param list T[]
---@param unwanted T
---@return T[]
return function(list, unwanted)
  local rest = {}
  for _, item in ipairs(list) do
    rest[#rest + 1] = item ~= unwanted and item or nil
  end
  return rest
end
