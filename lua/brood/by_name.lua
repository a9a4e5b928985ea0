--- What a master has by name, as each of its processes sees it: in the master a name leads to the thing itself, in a
--- process that it has started to what speaks to it from there. What can be asked of either is the business of whoever
--- keeps the names.
local core = require "brood.core"

local generation = core.generation

---@class brood.ByName
---@field put fun(named: table): table what has a `name`, and in the master `own`, the thing itself
---@field get fun(name: string): table? also one that is hidden
---@field target fun(named: table): table the thing itself, or what speaks to it from here
---@field find fun(name: string): table?
---@field own fun(name: string): any in the master: the thing itself
---@field remove fun(name: string, own: any) one is no more
---@field hide fun(name: string, hidden: boolean) one is leaving: who asks for it by name does not find it
---@field names fun(): string[] sorted

--- A list of names. What is kept in an object is read raw: its __index may well ask for the target.
---@param client string the module whose new(named) makes what speaks to one from another process
---@return brood.ByName
return function(client)
  local known = {}
  local M = {}

  function M.put(named)
    rawset(named, "born", rawget(named, "own") and generation() or -1)
    known[named.name] = named
    return named
  end

  function M.get(name)
    return known[name]
  end

  function M.target(named)
    local now = generation()
    if rawget(named, "born") == now then
      return rawget(named, "own")
    elseif rawget(named, "far_born") ~= now then
      rawset(named, "far", require(client).new(named))
      rawset(named, "far_born", now)
    end
    return rawget(named, "far")
  end

  function M.find(name)
    local found = known[name]
    return found and not rawget(found, "hidden") and found or nil
  end

  function M.own(name)
    local found = known[name]
    return found and rawget(found, "own")
  end

  function M.remove(name, own)
    if known[name] and rawget(known[name], "own") == own then
      known[name] = nil
    end
  end

  function M.hide(name, hidden)
    if known[name] then
      rawset(known[name], "hidden", hidden)
    end
  end

  function M.names()
    local list = {}
    for name in pairs(known) do
      list[#list + 1] = M.find(name) and name
    end
    table.sort(list)
    return list
  end

  return M
end
