-- What Child.run runs: over when the function is, or when it raises.
require("brood.child").once("doubler", function()
  local number = tonumber(arg[1]) or error { message = ("'%s' is no number"):format(arg[1]), code = "ENUMBER" }
  print(("once:   %d, twice, is %d"):format(number, 2 * number))
end)
