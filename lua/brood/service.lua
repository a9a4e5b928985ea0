--- `brood.service(name)`: a service of the config, in the master and in every process that it has started.

--- The service of that name. Raises where there is none, and says which there are.
---@param name string
return function(name)
  local known = package.loaded["brood.spinner.named"]
  local found = known and known.find(name)
  if found then
    return found
  end
  local names = known and known.names() or {}
  local which = names[1] and "the services are: " .. table.concat(names, ", ") or "there are no services"
  error(("brood.service: this process knows of no service '%s'; %s"):format(tostring(name), which), 2)
end
