--- What a master does with a wish (a reload, an upgrade, another number of workers) while an earlier one is
--- under way: two are never decided at once, and the last one wins. Pure: nothing is started here.
local M = {}

--- How signals that have arrived together are taken, whatever each of them does; others come after these, by name.
M.weight = { "TERM", "INT", "QUIT", "USR2", "HUP", "WINCH", "TTOU", "TTIN", "USR1" }

---@alias brood.WishKind "reload"|"upgrade"|"scale"|"drain"

---@class brood.WishState
---@field starting? boolean whether the master does not serve yet
---@field current? "reload"|"upgrade" what is under way and may still fail as a whole
---@field rolling? boolean whether a reload that is decided still replaces workers

---@alias brood.WishVerdict
---| "now" beside whatever runs
---| "replace" the current one is taken back, and this one takes its place
---| "join" the same is under way already
---| "wait"

-- A reload that only replaces workers is superseded by the next one when that one is decided, so it does not wait. The
-- number of workers is nothing that could be half done; but workers that an upgrade may still need stay until
-- it is decided.
local verdicts = {
  reload = function(state)
    if state.current == "reload" then
      return "replace"
    end
    return (state.starting or state.current) and "wait" or "now"
  end,
  upgrade = function(state)
    if state.current == "upgrade" then
      return "join"
    end
    return (state.starting or state.current or state.rolling) and "wait" or "now"
  end,
  scale = function()
    return "now"
  end,
  drain = function(state)
    return state.current == "upgrade" and "wait" or "now"
  end,
}

--- What to do with a wish.
---@param state brood.WishState
---@param kind brood.WishKind
---@return brood.WishVerdict
function M.decide(state, kind)
  return verdicts[kind](state)
end

--- Put a wish behind those that wait. One of its kind that waited already is given up for it; who waits for that one
--- waits for this one.
---@param queue brood.Wish[]
---@param wish brood.Wish gets the waiters of the one that it replaces
---@return brood.Wish[] queue
function M.enqueue(queue, wish)
  local list, waiters = {}, {}
  for _, other in ipairs(queue) do
    if other.kind == wish.kind then
      for _, done in ipairs(other.waiters) do
        waiters[#waiters + 1] = done
      end
    else
      list[#list + 1] = other
    end
  end
  for _, done in ipairs(wish.waiters) do
    waiters[#waiters + 1] = done
  end
  wish.waiters = waiters
  list[#list + 1] = wish
  return list
end

--- The first of those that wait which can be granted now, and the others.
---@param state brood.WishState
---@param queue brood.Wish[]
---@return brood.Wish? wish, brood.Wish[] queue
function M.next(state, queue)
  local found, rest = nil, {}
  for _, wish in ipairs(queue) do
    if not found and M.decide(state, wish.kind) == "now" then
      found = wish
    else
      rest[#rest + 1] = wish
    end
  end
  return found, rest
end

--- Names of signals in the order in which they are acted on.
---@param noted table<string, any> by name
---@return string[]
function M.in_order(noted)
  local list, known = {}, {}
  for _, name in ipairs(M.weight) do
    known[name] = true
    list[#list + 1] = noted[name] and name or nil
  end
  local others = {}
  for name in pairs(noted) do
    others[#others + 1] = not known[name] and name or nil
  end
  table.sort(others)
  for _, name in ipairs(others) do
    list[#list + 1] = name
  end
  return list
end

return M
