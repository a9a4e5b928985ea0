--- A value as an error message shows it: short, on one line.

---@param value any
---@return string
return function(value)
  if type(value) == "string" then
    local text = #value > 60 and value:sub(1, 57) .. "..." or value
    return '"' .. text:gsub('[%c"\\]', function(c)
      return c:match("%c") and ("\\%03d"):format(c:byte()) or "\\" .. c
    end) .. '"'
  elseif type(value) == "table" then
    return next(value) == nil and "an empty table" or "a table"
  elseif type(value) == "number" then
    return ("%.14g"):format(value)
  elseif type(value) == "boolean" or value == nil then
    return tostring(value)
  end
  return "a " .. type(value)
end
