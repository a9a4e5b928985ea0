--- What comes after what: services name those that are to be ready before them. Pure: names in, order or the mistake
--- out.
local M = {}

---@alias brood.AfterGraph table<string, string[]> by name: those that come before it

local function sorted(graph)
  local names = {}
  for name in pairs(graph) do
    names[#names + 1] = name
  end
  table.sort(names)
  return names
end

-- The circle, from the place where the path meets itself.
local function circle(path, name)
  local from = 1
  while path[from] ~= name do
    from = from + 1
  end
  local names = { unpack(path, from) }
  names[#names + 1] = name
  return names
end

--- An order in which each comes after those it names, else in that of their names.
---@param graph brood.AfterGraph
---@return string[]? order
---@return { kind: "unknown"|"circle", name: string, missing: string?, circle: string[]? }? mistake
function M.order(graph)
  local order, placed, path, on_path = {}, {}, {}, {}
  local function visit(name)
    if placed[name] then
      return nil
    elseif on_path[name] then
      return { kind = "circle", name = name, circle = circle(path, name) }
    end
    path[#path + 1], on_path[name] = name, true
    for _, before in ipairs(graph[name]) do
      local mistake
      if graph[before] then
        mistake = visit(before)
      else
        mistake = { kind = "unknown", name = name, missing = before }
      end
      if mistake then
        return mistake
      end
    end
    path[#path], on_path[name] = nil, nil
    placed[name] = true
    order[#order + 1] = name
  end
  for _, name in ipairs(sorted(graph)) do
    local mistake = visit(name)
    if mistake then
      return nil, mistake
    end
  end
  return order
end

--- The mistake as a sentence.
---@param mistake table
---@param known string[] the names that there are
---@return string
function M.sentence(mistake, known)
  if mistake.kind == "circle" then
    if #mistake.circle == 2 then
      return ("service '%s' cannot come after itself"):format(mistake.name)
    end
    return ("services come after each other in a circle: %s"):format(table.concat(mistake.circle, " after "))
  end
  local rest = {}
  for _, name in ipairs(known) do
    rest[#rest + 1] = name ~= mistake.name and name or nil
  end
  local which = rest[1] and "the others are: " .. table.concat(rest, ", ") or "there are no others"
  return ("service '%s' is to come after '%s', which is no service; %s"):format(mistake.name, mistake.missing, which)
end

return M
