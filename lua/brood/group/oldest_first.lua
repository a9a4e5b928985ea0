--- The members of a group, those that go as well; a list, so that what is done with one may end others.

---@param group brood.Group
---@return brood.Member[] members by id, which is their age
return function(group)
  local list = {}
  for _, member in pairs(group.members) do
    list[#list + 1] = member
  end
  table.sort(list, function(a, b)
    return a.id < b.id
  end)
  return list
end
