--- The stdin of a child with `stdin = "pipe"`: written to and closed, with each
--- call answered once, whatever becomes of the child meanwhile. It belongs to a run.
local E = require "brood.error"
local uv = require "luv"

local M = {}

---@class brood.Input
---@field handle userdata
---@field closing boolean? it closes once all is written
local Input = {}
Input.__index = Input

local function closed(self)
  return E.new("closed", "the stdin of %s is closed", self.name)
end

--- done() once the pipe has taken the data.
---@param data string
---@param done fun(err: brood.Error?)
function Input:write(data, done)
  if self.closing or self.handle:is_closing() then
    return done(closed(self))
  end
  local ok, why, code = self.handle:write(data, function(err)
    if err == "ECANCELED" then
      return done(closed(self)) -- the child ended first
    end
    done(err and E.new(err, "writing to %s: %s", self.name, err) or nil)
  end)
  if not ok then
    done(E.new(code or "error", "writing to %s: %s", self.name, why))
  end
end

--- done() once all that was written is out and the child reads the end of file.
---@param done fun()
function Input:finish(done)
  if self.closing or self.handle:is_closing() then
    return done()
  end
  self.closing = true
  local function over()
    self:close()
    done()
  end
  -- A pipe knows no shutdown, but libuv tries it only after the last write.
  if not self.handle:shutdown(over) then
    over()
  end
end

--- Close now; what is not written is lost.
function Input:close()
  if not self.handle:is_closing() then
    self.handle:close()
  end
end

--- The writing end of a pipe, which from now on belongs to the input.
---@param name string for messages
---@param fd integer
---@return brood.Input?, brood.Error? err the descriptor is then still the caller's
function M.new(name, fd)
  local self = setmetatable({ name = name, handle = uv.new_pipe(false) }, Input)
  local ok, why, code = self.handle:open(fd)
  if not ok then
    self.handle:close()
    return nil, E.new(code, "opening its stdin: %s", why)
  end
  return self
end

return M
