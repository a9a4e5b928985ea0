--- Handles by the number of their job. Numbers come and go in a row, and a Lua table whose keys do so is built anew
--- again and again; so handles stand in an array, by the number's remainder, and only what finds its place taken is
--- in a table of the usual kind.
local job = require "brood.pool.job"
local new_table = require "table.new"

local SEQ, ENDING = job.SEQ, job.ENDING

local M = {}

local FIRST, MOST = 4096, 2 ^ 20 -- places in the array

---@class brood.Numbered
---@field near table<integer, brood.Job|false> by the remainder of the number
---@field far table<integer, brood.Job> by the number: the place of these was taken
---@field size integer of near
---@field strays integer how many were put into far
local Numbered = {}
Numbered.__index = Numbered

---@param mode? "v" handles that nobody else has are dropped
---@return brood.Numbered
function M.new(mode)
  local meta = mode and { __mode = mode } or nil
  return setmetatable({
    near = setmetatable(new_table(FIRST, 0), meta), far = setmetatable({}, meta), size = FIRST, strays = 0, weak = meta,
  }, Numbered)
end

--- The handle with this number.
---@param seq integer
---@return brood.Job?
function Numbered:get(seq)
  local handle = self.near[seq % self.size]
  if handle and handle[SEQ] == seq then
    return handle
  end
  return self.far[seq]
end

local function grow(self)
  local old, size = self.near, self.size * 4
  local near, far = new_table(size, 0), {}
  for _, list in ipairs { old, self.far } do
    for _, handle in pairs(list) do
      local at = handle[SEQ] % size
      if near[at] then
        far[handle[SEQ]] = handle
      else
        near[at] = handle
      end
    end
  end
  self.near, self.far, self.size, self.strays = near, far, size, 0
end

---@param seq integer
---@param handle brood.Job
function Numbered:put(seq, handle)
  local near, at = self.near, seq % self.size
  local there = near[at]
  if not there or there[SEQ] == seq or self.weak and there[ENDING] then
    near[at] = handle
    return
  end
  self.far[seq] = handle
  self.strays = self.strays + 1
  if self.strays > self.size / 2 and self.size < MOST and not self.weak then
    grow(self)
  end
end

---@param seq integer
function Numbered:drop(seq)
  local near, at = self.near, seq % self.size
  local there = near[at]
  if there and there[SEQ] == seq then
    near[at] = nil
  elseif next(self.far) ~= nil then
    self.far[seq] = nil
  end
end

return M
