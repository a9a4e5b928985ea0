--- `brood init [DIR]`: a config in which every key is explained, made from the schema, and the app that it
--- serves. It never overwrites anything.
local core = require "brood.core"
local files = require "brood.files"
local keys = require "brood.rules.schema_keys"
local paths = require "brood.rules.path"
local reference = require "brood.cli.reference"
local uv = require "luv"
local wrap = require "brood.cli.wrap"

local M = {}

-- What the starter config says; everything else stands in it as a comment.
local said = { app = '"app.lua"', listen = '"127.0.0.1:8080"' }

local HEAD = [[
-- A config of brood: a Lua program that returns a table, or a function(master) that returns one.
-- `brood run` runs it, `brood check` says what is wrong with it, `brood help config` explains the keys.
-- Paths are relative to this file.
return {
]]

local LATER = [[

  -- ---- not available in this version of brood ----
]]

local APP = [[
-- The app: what each worker does with a request. It is loaded once in each worker, after the fork.
local posix = require "brood.posix"

return function(req, res)
  if req.path == "/" then
    res:header("content-type", "text/plain"):finish(("Hello from worker %d\n"):format(posix.getpid()))
  else
    res:status(404):finish("nothing here\n")
  end
end
]]

local function entry(key)
  local default = reference.default(key)
  local doc = key.doc .. (default and (" (default: %s)"):format(default) or "")
  local lines = wrap(doc:sub(1, 1):upper() .. doc:sub(2), "  -- ", 100)
  local value = said[key.name]
  lines[#lines + 1] = value and ("  %s = %s,"):format(key.name, value)
    or ("  -- %s = %s,"):format(key.name, key.example)
  return table.concat(lines, "\n") .. "\n"
end

--- The text of the starter config.
---@return string
function M.config()
  local parts = { HEAD }
  for _, available in ipairs { true, false } do
    local list = {}
    for _, key in ipairs(keys.keys) do
      if (key.available ~= false) == available then
        list[#list + 1] = entry(key)
      end
    end
    parts[#parts + 1] = not available and list[1] and LATER or ""
    parts[#parts + 1] = table.concat(list, "\n")
  end
  parts[#parts + 1] = "}\n"
  return table.concat(parts)
end

local function make_directory(path)
  local stat = uv.fs_stat(path)
  if stat then
    return stat.type == "directory" or nil, "it is no directory"
  end
  local parent = paths.directory(path)
  if parent ~= path then
    local ok, why = make_directory(parent)
    if not ok then
      return nil, why
    end
  end
  local ok, err = uv.fs_mkdir(path, 493) -- 0755
  return ok, err and files.reason(err)
end

-- "wx": whoever was there first keeps it.
local function write_new(path, text)
  local fd, err = uv.fs_open(path, "wx", 420) -- 0644
  if not fd then
    return nil, err:match("^EEXIST") and "it exists, and is not overwritten" or files.reason(err)
  end
  local written
  written, err = uv.fs_write(fd, text)
  uv.fs_close(fd)
  if written ~= #text then
    uv.fs_unlink(path)
    return nil, err and files.reason(err) or "it could not be written whole"
  end
  return true
end

local function fail(path, why)
  io.stderr:write(("brood init: %s: %s\n"):format(path, why))
  return 1
end

local function next_command(directory)
  if not directory or directory == "." then
    return "brood run"
  elseif directory:match("^%-") then
    directory = "./" .. directory -- it would be taken for an option
  end
  local word = directory:match("^[%w_@%%+=:,./-]+$") and directory or "'" .. directory:gsub("'", "'\\''") .. "'"
  return ("brood run %s/brood.lua"):format((word:gsub("(.)/+$", "%1")))
end

--- Write the pair.
---@param options brood.Arguments
---@return integer status
function M.main(options)
  local given = options.directory
  local shown = given and given ~= "." and given:gsub("(.)/+$", "%1") .. "/" or ""
  local directory = paths.absolute(assert(core.cwd()), given and given:gsub("(.)/+$", "%1") or ".")
  local ok, why = make_directory(directory)
  if not ok then
    return fail(given or directory, why)
  end
  for _, name in ipairs { "brood.lua", "app.lua" } do
    if uv.fs_lstat(directory .. "/" .. name) then
      return fail(shown .. name, "it exists, and is not overwritten; nothing was written")
    end
  end
  for _, pair in ipairs { { "app.lua", APP }, { "brood.lua", M.config() } } do
    ok, why = write_new(directory .. "/" .. pair[1], pair[2])
    if not ok then
      return fail(shown .. pair[1], why)
    end
  end
  io.stdout:write(("wrote %sbrood.lua and %sapp.lua\n\n    %s\n    curl http://127.0.0.1:8080/\n"):format(shown, shown,
    next_command(given)))
  return io.stdout:flush() and 0 or 1
end

return M
