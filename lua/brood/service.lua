--- `brood.service(name)`: a service of the config, in the master and in every process that it has started.

-- A script that the master has started was told in its environment.
local function names_told()
  local text = os.getenv "BROOD_SERVICES"
  local named = text and require "brood.spinner.named"
  if named then
    named.adopt(text)
  end
  return named
end

--- The service of that name. Raises where there is none, and says which there are; and in a process that no master has
--- started.
---@param name string
---@return brood.NamedService
return function(name)
  local known = package.loaded["brood.spinner.named"] or names_told()
  local found = known and known.find(name)
  if found then
    return found
  end
  local names = known and known.names() or {}
  local which = names[1] and "the services are: " .. table.concat(names, ", ")
    or (require("brood").worker and "its master's config has no services"
      or "no master has started it with a config that has services")
  error(("brood.service: this process knows of no service '%s'; %s"):format(tostring(name), which), 2)
end
