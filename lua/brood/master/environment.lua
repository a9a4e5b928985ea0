--- What a config and the modules that it loads find: package.loaded, package.path and the globals, as they were before
--- the first config ran. A reload begins there again, and goes back to what it left when it
--- fails. What is brood's own is never loaded twice, and nothing of it is compiled for one reading.
local jit = require "jit"

local M = {}

-- There is one loop, and one of each of these rooms.
local OURS = { luv = true, cjson = true, ["cjson.safe"] = true, argparse = true, ffi = true }
-- What no search would find again.
for _, name in ipairs { "_G", "bit", "coroutine", "debug", "io", "jit", "jit.opt", "jit.util", "math", "os", "package",
  "string", "table" } do
  OURS[name] = true
end

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

-- ---- the compiler ---------------------------------------------------------------------------------------------------

local held = false

--- What brood does to read a config again it does once: to compile it takes longer, and what was compiled is kept. The
--- config's own code is compiled as it says itself.
function M.hold_compiler()
  if jit.status() then
    jit.off()
    held = true
  end
end

--- It is as before, or as the config wants it.
function M.release_compiler()
  if held then
    held = false
    jit.on()
  end
end

-- ---- modules and globals --------------------------------------------------------------------------------------------

local ours -- by name: what is loaded of brood itself, while a config runs

--- A config is about to run: it may empty package.loaded, to load its own modules anew, and yet require brood's.
function M.watch()
  if held then
    jit.on()
  end
  ours = {}
  for name, module in next, package.loaded do
    if is_ours(name) then
      ours[name] = module
    end
  end
  if not getmetatable(package.loaded) then
    setmetatable(package.loaded, { __index = ours })
  end
end

--- It has run: brood's own modules are where they were.
function M.mend()
  if held then
    held = jit.status() -- it may have turned it off
    jit.off()
  end
  local meta = getmetatable(package.loaded)
  if meta and meta.__index == ours then
    setmetatable(package.loaded, nil)
  end
  for name, module in next, ours do
    rawset(package.loaded, name, module)
  end
  ours = nil -- what brood itself lets go of later must not be kept here
end

local function take()
  return {
    loaded = copy(package.loaded), globals = copy(_G), meta = debug.getmetatable(_G),
    path = package.path, cpath = package.cpath,
  }
end

local function apply(to, wanted, skip)
  for key in next, to do
    if wanted[key] == nil and not (skip and skip(key)) then
      rawset(to, key, nil)
    end
  end
  for key, value in next, wanted do
    if rawget(to, key) ~= value and not (skip and skip(key)) then
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
