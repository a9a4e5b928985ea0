--- Rooms of brood's own that are loaded when they are first used: what few processes ever need is not in the memory of
--- all. What stands in their place looks and is called like the room itself.
local M = {}

local passing = {} -- names

--- A room that stays once it is loaded.
---@param name string
---@return any
function M.room(name)
  local meta = {}
  function meta.__index(_, key)
    local room = require(name)
    meta.__index = room -- from now on it is found there
    return room[key]
  end
  function meta.__call(_, ...)
    return require(name)(...)
  end
  return setmetatable({}, meta)
end

local function look_each_time(name)
  return setmetatable({}, {
    __index = function(_, key)
      return require(name)[key]
    end,
    __call = function(_, ...)
      return require(name)(...)
    end,
  })
end

--- One that is needed now and then, and goes after a start. It must keep nothing in itself.
---@param name string
---@return any
function M.passing(name)
  passing[name] = true
  return look_each_time(name)
end

--- They go, and come back when they are used again.
function M.forget()
  for name in pairs(passing) do
    package.loaded[name] = nil
  end
end

return M
