--- What a config and the modules that it loads find: package.loaded, package.path and the globals, as they were before
--- the first config ran. A reload begins there again, and goes back to what it left when it
--- fails. What is brood's own is never loaded twice.
local M = {}

-- There is one loop, and one of each of these rooms.
local OURS = { luv = true, cjson = true, ["cjson.safe"] = true, argparse = true, ffi = true }

local function is_ours(name)
  return OURS[name] or name == "brood" or type(name) == "string" and name:find("^brood%.") ~= nil
end

local function copy(from)
  local to = {}
  for key, value in next, from do
    to[key] = value
  end
  return to
end

local function take()
  return {
    loaded = copy(package.loaded), globals = copy(_G), meta = debug.getmetatable(_G),
    path = package.path, cpath = package.cpath,
  }
end

local function apply(to, wanted, skip)
  for key in next, copy(to) do
    if wanted[key] == nil and not (skip and skip(key)) then
      rawset(to, key, nil)
    end
  end
  for key, value in next, wanted do
    if not (skip and skip(key)) then
      rawset(to, key, value)
    end
  end
end

local function put(state)
  apply(package.loaded, state.loaded, is_ours)
  apply(_G, state.globals)
  debug.setmetatable(_G, state.meta)
  package.path, package.cpath = state.path, state.cpath
end

local first

--- Before the first config: this is what the others find too.
function M.remember()
  first = first or take()
end

--- Make it fresh.
---@return fun() put_back
function M.fresh()
  local present = take()
  put(first or present)
  return function()
    put(present)
  end
end

return M
