--- So many of something, in English: "1 worker", "2 workers". Pure.

---@param n integer
---@param noun string one of them
---@return string
return function(n, noun)
  return ("%d %s%s"):format(n, noun, n == 1 and "" or "s")
end
