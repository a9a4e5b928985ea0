--- Running text in lines of a terminal's width.

---@param text string
---@param indent? string what each line begins with
---@param width? integer of the whole line
---@return string[] lines
return function(text, indent, width)
  indent, width = indent or "", width or 80
  local lines, line = {}, nil
  for word in text:gmatch("%S+") do
    if line and #line + 1 + #word <= width then
      line = line .. " " .. word
    else
      lines[#lines + 1] = line
      line = indent .. word
    end
  end
  lines[#lines + 1] = line
  return lines
end
