--- The modules that an app has brought along where it is preloaded into a script: loaded again with the app, as they
--- may have changed, and put back where that fails. Modules that the script had itself stay what they are.
local M = {}

-- Of brood there is one.
local function is_own(name)
  return name == "brood" or name:find "^brood%." ~= nil
end

--- The app is about to be loaded.
---@param brought table<string, any> by the app that was loaded before; changed
---@return fun(ok: boolean) settle to be called when it has been, or has failed
function M.begin(brought)
  local former, there = {}, {}
  for name, module in pairs(brought) do
    former[name], brought[name] = module, nil
    package.loaded[name] = nil
  end
  for name in pairs(package.loaded) do
    there[name] = true
  end
  return function(ok)
    for name, module in pairs(package.loaded) do
      if not there[name] and not is_own(name) then
        brought[name] = module
      end
    end
    for name, module in pairs(ok and {} or former) do
      brought[name], package.loaded[name] = module, module
    end
  end
end

return M
