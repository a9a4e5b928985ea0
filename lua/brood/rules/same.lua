--- Whether two values are the same, tables by what is in them: how a reload finds out what it need not touch. Pure.

-- equal(a, b) has the last word on two that are not equal, and not both tables.
local function same(a, b, equal)
  if a == b then
    return true
  elseif type(a) ~= "table" or type(b) ~= "table" then
    return equal ~= nil and equal(a, b)
  end
  for key, value in pairs(a) do
    if not same(value, b[key], equal) then
      return false
    end
  end
  for key in pairs(b) do
    if a[key] == nil then
      return false
    end
  end
  return true
end

---@type fun(a: any, b: any, equal?: fun(a: any, b: any): boolean): boolean
return same
