--- Several things under way at once, and one function to call when all of them are over.
local M = {}

---@class brood.Join
local Join = {}
Join.__index = Join

--- One more thing to wait for: the function to call at its end.
---@return fun(err: any)
function Join:branch()
  self.waiting = self.waiting + 1
  local over = false
  return function(err)
    if over then
      return
    end
    over = true
    self.first = self.first or err
    self.waiting = self.waiting - 1
    if self.waiting == 0 then
      self.done(self.first)
    end
  end
end

--- A join; done(err) comes once, with the first error. Its own end is a branch as
--- well: call `all_begun` when there are no more to come.
---@param done fun(err: any)
---@return brood.Join
function M.new(done)
  local self = setmetatable({ waiting = 0, done = done }, Join)
  self.all_begun = self:branch()
  return self
end

--- Call call(item, over) for all of a list at once; done(err) with the first error when all are over.
---@generic T
---@param list T[]
---@param call fun(item: T, over: fun(err: any))
---@param done fun(err: any)
function M.each(list, call, done)
  local all = M.new(done)
  for _, item in ipairs(list) do
    call(item, all:branch())
  end
  all.all_begun()
end

return M
