--- Whether a method is called as it is meant: with a colon, and in the process that its object belongs to. What a fork
--- has copied is its parent's: the children, sockets and timers behind it are. It only refuses, and changes nothing.
local options = require "brood.options"

local M = {}

--- From now on these methods of a class raise, at their caller's line, where they are not.
---@param class table
---@param noun string what such an object is called: "cluster"
---@param names string[] of the methods
---@param is_one fun(self: any): boolean whether it is such an object at all
---@param is_foreign? fun(self: table): any whether it belongs to the process that this one was forked from
function M.guard(class, noun, names, is_one, is_foreign)
  for _, name in ipairs(names) do
    local method, what = class[name], noun .. ":" .. name
    class[name] = function(self, ...)
      if not is_one(self) then
        error(options.no_self(what), 2)
      elseif is_foreign and is_foreign(self) then
        error(("%s: the %s belongs to the process that this one was forked from"):format(what, noun), 2)
      end
      return method(self, ...) -- a tail call: it is the caller's line that is blamed for other mistakes, too
    end
  end
end

return M
