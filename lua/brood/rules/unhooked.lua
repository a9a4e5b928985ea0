--- What is worth knowing of workers that are programs, in a config with after_fork: a hook is Lua, and there is none in
--- them. Whoever gives up root there, and nowhere else, leaves them root. It changes nothing.

---@param worker any of a pool, or a cluster
---@param after_fork function? the config's hook
---@param user any the config's
---@param where? string where a user is set, instead of at the top level
---@return string? what
return function(worker, after_fork, user, where)
  if type(worker) == "table" and worker.command and after_fork and user == nil then
    return "after_fork does not run for programs, which stay the user that brood is: set `user` (and `group`) "
      .. (where or "at the top level")
  end
end
