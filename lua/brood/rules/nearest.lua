--- The known name that a mistyped one probably meant.
local M = {}

--- How many letters must be changed, added, left out or swapped with their neighbour to get from a to b.
---@param a string
---@param b string
---@return integer
function M.distance(a, b)
  local before, row = nil, {}
  for j = 0, #b do
    row[j] = j
  end
  for i = 1, #a do
    local next_row = { [0] = i }
    for j = 1, #b do
      local cost = a:byte(i) == b:byte(j) and 0 or 1
      local best = math.min(row[j] + 1, next_row[j - 1] + 1, row[j - 1] + cost)
      if before and j > 1 and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j) then
        best = math.min(best, before[j - 2] + 1)
      end
      next_row[j] = best
    end
    before, row = row, next_row
  end
  return row[#b]
end

-- "startTimeout" and "start-timeout" are start_timeout to a reader.
local function letters(name)
  return (name:lower():gsub("[-_ ]", ""))
end

-- "prio" is priority: the shortest name that begins so.
local function beginning(wanted, names)
  local best
  for _, name in ipairs(#wanted >= 3 and names or {}) do
    local longer = letters(name):sub(1, #wanted) == wanted
    if longer and (not best or #name < #best or #name == #best and name < best) then
      best = name
    end
  end
  return best
end

--- The nearest of `names`, or nil where none is near enough to be meant.
---@param word any
---@param names string[]
---@return string?
function M.find(word, names)
  if type(word) ~= "string" or #word > 64 then
    return nil
  end
  local wanted = letters(word)
  local best, best_distance = nil, math.max(1, math.floor(#wanted * 0.4)) + 1
  for _, name in ipairs(names) do
    local far = M.distance(wanted, letters(name))
    if far < best_distance or far == best_distance and best and name < best then
      best, best_distance = name, far
    end
  end
  return best or beginning(wanted, names)
end

--- What is said of it behind a message.
---@param meant? string
---@return string
function M.hint(meant)
  return meant and (" (did you mean '%s'?)"):format(meant) or ""
end

return M
