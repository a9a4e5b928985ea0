--- The table that the benchmarks print: one aligned line per figure and peer. It measures nothing.
local M = {}

local LINE = "%-46s %12s %12s %7s  %s\n"

---@param list number[]
---@return number?
function M.median(list)
  local sorted = { unpack(list) }
  table.sort(sorted)
  local n = #sorted
  if n == 0 then
    return nil
  end
  return (sorted[math.floor((n + 1) / 2)] + sorted[math.floor(n / 2) + 1]) / 2
end

-- Three digits that count, and a comma in thousands.
local function number(value)
  if value >= 1000 then
    local text, n = ("%.0f"):format(value), 1
    while n > 0 do
      text, n = text:gsub("^(%d+)(%d%d%d)", "%1,%2")
    end
    return text
  end
  return (value >= 100 and "%.0f" or value >= 10 and "%.1f" or "%.2f"):format(value)
end

function M.head()
  io.stdout:write(LINE:format("median of the rounds", "brood", "peer", "ratio", ""))
end

---@param text string
function M.note(text)
  io.stdout:write("  (", text, ")\n")
end

--- One figure.
---@param name string with its unit
---@param ours number[] what each round gave
---@param peer string who it is compared with
---@param theirs number[]? nil: not measured; a string in `missing` says why
---@param missing? string
function M.line(name, ours, peer, theirs, missing)
  local a, b = M.median(ours), M.median(theirs or {})
  local ratio = a and b and b > 0 and ("%.2f"):format(a / b) or "-"
  io.stdout:write(LINE:format(name, a and number(a) or "-", b and number(b) or "-", ratio,
    b and peer or missing or peer .. ": no figure"))
end

--- One figure of several servers, the first of which is ours.
---@param name string with its unit
---@param servers { name: string, why: string? }[] `why`: it was not measured
---@param figures table<string, number[]> by the servers' names
function M.lines(name, servers, figures)
  for i = 2, #servers do
    local peer = servers[i]
    M.line(i == 2 and name or "", figures[servers[1].name] or {}, peer.name, figures[peer.name], peer.why)
  end
end

return M
