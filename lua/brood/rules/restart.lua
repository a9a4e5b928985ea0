--- When to start again what has ended: capped exponential backoff with jitter,
--- forgotten after stable running; and when so many ends within so long mean
--- that starting again is hopeless. The time and the randomness are arguments.
local M = {}

---@class brood.RestartPolicy
---@field delay? number seconds before the first delayed restart (0.1)
---@field max_delay? number seconds no delay exceeds (30)
---@field factor? number each delay is so many times the one before (2)
---@field jitter? number 0 to 1: a delay is spread by so much of itself, both ways (0.2)
---@field immediate? integer so many exits in a row are answered without any delay (0)
---@field stable_after? number seconds of running after which the row is forgotten (10)
---@field max_exits? integer|false so many exits within `window` mean faulted; false: never (false)
---@field window? number seconds (60)

---@class brood.RestartState
---@field policy brood.RestartPolicy
---@field row integer exits in a row without stable running in between
---@field exits number[] when the latest were, on `clock`
---@field clock number seconds since the first exit, never going backwards
---@field last number? the caller's time at the last exit

local defaults = {
  delay = 0.1, max_delay = 30, factor = 2, jitter = 0.2, immediate = 0,
  stable_after = 10, max_exits = false, window = 60,
}

--- A new policy with nothing remembered.
---@param policy? brood.RestartPolicy
---@return brood.RestartState
function M.new(policy)
  local full = {}
  for name, default in pairs(defaults) do
    local given = policy and policy[name]
    if given == nil then
      given = default
    end
    full[name] = given
  end
  return { policy = full, row = 0, exits = {}, clock = 0 }
end

--- Forget all exits: somebody has asked for a start by hand.
---@param state brood.RestartState
function M.reset(state)
  state.row, state.exits = 0, {}
end

-- A clock that was set back stands still for one exit, and goes on from where it is then.
local function advance(state, now)
  if state.last and now > state.last then
    state.clock = state.clock + (now - state.last)
  end
  state.last = now
  return state.clock
end

-- Only so many exits are kept as can matter.
local function too_many(state, clock)
  local max, window = state.policy.max_exits, state.policy.window
  if not max then
    return false
  end
  local kept = {}
  for _, at in ipairs(state.exits) do
    if clock - at < window then
      kept[#kept + 1] = at
    end
  end
  kept[#kept + 1] = clock
  while #kept > max do
    table.remove(kept, 1)
  end
  state.exits = kept
  return #kept >= max
end

--- The delay of the nth restart in a row, before jitter.
---@param policy brood.RestartPolicy a full one
---@param nth integer 1 for the first
---@return number seconds
function M.delay(policy, nth)
  nth = nth - policy.immediate
  if nth < 1 or policy.delay <= 0 then
    return 0
  end
  return math.min(policy.max_delay, policy.delay * policy.factor ^ (nth - 1))
end

--- It has ended: what to do. Failed starts count as exits with an uptime of 0.
---@param state brood.RestartState changed
---@param now number seconds on any clock
---@param uptime number seconds for which it had been ready
---@param rand? number 0 to 1, from the caller's generator (0.5: no jitter)
---@return {action: "restart"|"faulted", delay: number?}
function M.exited(state, now, uptime, rand)
  local policy = state.policy
  local clock = advance(state, now)
  state.row = uptime >= policy.stable_after and 1 or state.row + 1
  if too_many(state, clock) then
    return { action = "faulted" }
  end
  local spread = 1 + policy.jitter * (2 * (rand or 0.5) - 1)
  local delay = math.min(policy.max_delay, M.delay(policy, state.row) * spread)
  return { action = "restart", delay = delay }
end

return M
