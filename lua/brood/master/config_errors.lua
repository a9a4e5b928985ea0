--- What went wrong with a config file before its keys could be looked at, as text for whoever
--- wrote it: the file and the line once, what happened, and where it was called from if
--- that helps. Loaded only where there is such an error.
local E = require "brood.error"
local folder = require "brood.folder"
local nearest = require "brood.rules.nearest"
local show = require "brood.rules.show"
local uv = require "luv"

local M = {}

local function configs_in(directory)
  local names = {}
  for _, entry in ipairs(folder.entries(directory)) do
    if entry.type ~= "directory" and entry.name:match("%.lua$") then
      names[#names + 1] = entry.name
    end
  end
  return names
end

local function missing(found)
  if not found.named then
    return "no brood.lua here; name a CONFIG, or serve an app with -s APP, or write a starter with brood init"
  end
  local text = ("%s: there is no such file"):format(found.shown)
  local directory, name = found.path:match("^(.*)/([^/]*)$")
  local near = nearest.find(name, configs_in(directory == "" and "/" or directory))
  if near then
    return text .. nearest.hint(found.shown:sub(1, -#name - 1) .. near)
  elseif not found.shown:find("[./]") then
    return text .. ", and no command of that name (see brood --help)"
  end
  return text
end

--- The file cannot be read.
---@param found brood.ConfigSource
---@param why? string as io.open says it
---@return string
function M.unreadable(found, why)
  local stat = uv.fs_stat(found.path)
  if stat and stat.type == "directory" then
    local inside = found.shown:gsub("/+$", "") .. "/brood.lua"
    local there = uv.fs_stat(found.path .. "/brood.lua")
    return ("%s: is a directory, not a config file%s"):format(found.shown, nearest.hint(there and inside or nil))
  elseif not stat and uv.fs_lstat(found.path) then
    return ("%s: is a symlink to nothing"):format(found.shown)
  elseif not stat and tostring(why):find("No such file", 1, true) then
    return missing(found)
  end
  return ("%s: cannot be read: %s"):format(found.shown, (tostring(why):gsub("^.*: ", "")))
end

-- Lua names a chunk by the end of its path where that is long.
local function as_typed(found, text, short)
  for _, name in ipairs { short or found.path, found.path } do
    local from = 1
    while true do
      local first, last = text:find(name .. ":", from, true)
      if not first then
        break
      end
      text = text:sub(1, first - 1) .. found.shown .. text:sub(last)
      from = first + #found.shown + 1
    end
  end
  return text
end

--- The file is no Lua.
---@param found brood.ConfigSource
---@param why string
---@return string
function M.syntax(found, why)
  local line, what = why:match("^.-:(%d+): (.*)$")
  return line and ("%s:%s: %s"):format(found.shown, line, what) or as_typed(found, why)
end

-- Frames of C functions and of what LuaJIT has built in begin with "[C]:" and "[builtin#1]:".
local function is_lua(frame)
  return frame:match("^%s*%[") == nil
end

-- The lines of an error's traceback; it may be of somebody else's making.
local function traceback_of(err)
  local text = type(err) == "table" and rawget(err, "traceback")
  return (type(text) == "string" and text:match("\nstack traceback:\n(.*)$") or ""):gmatch("[^\n]+")
end

-- The Lua functions between the error and the config, without how the runtime came to call it.
local function frames_of(err)
  local frames, lua = {}, 0
  for frame in traceback_of(err) do
    if frame:find("brood/master/config.lua:", 1, true) or (lua > 0 and frame:find("brood/rules/", 1, true)) then
      break
    end
    frames[#frames + 1] = frame
    lua = is_lua(frame) and lua + 1 or lua
  end
  while frames[#frames] and not is_lua(frames[#frames]) do
    frames[#frames] = nil
  end
  return frames, lua
end

-- What an error says; one of somebody else's making may raise when it is asked.
local function message_of(err)
  local ok, message = pcall(function()
    return type(err) == "table" and err.message or nil
  end)
  return E.describe(ok and message or err)
end

-- coroutine.wrap puts the place where it was called in front of the place where it was raised, and that place may be
-- in us; so is that of a call which is the last thing a config does (`return require "common"`).
local function place_once(text)
  local n
  repeat
    text, n = text:gsub("^%S*lua/brood/%S+:%d+: (%S+:%d+: )", "%1")
  until n == 0
  repeat
    text, n = text:gsub("^(%S+:)%d+: (%1%d+: )", "%2")
  until n == 0
  return (text:gsub("^%S*lua/brood/master/config%.lua:%d+: ", ""))
end

--- The file raised.
---@param found brood.ConfigSource
---@param err brood.Error
---@return string
function M.raised(found, err)
  local frames, lua = frames_of(err)
  local text = message_of(err)
  if text == "error in error handling" then
    text = "stack overflow" -- which leaves no room for its own traceback
  end
  text = place_once(text)
  if not text:match("^[^\n]-:%d+: ") then
    -- Raised without a place: where it was raised is the first frame that is Lua.
    for _, frame in ipairs(frames) do
      local place = is_lua(frame) and frame:match("^%s*(.-:%d+):")
      if place then
        text = ("%s: %s"):format(place, text)
        break
      end
    end
  end
  if lua > 1 then
    text = ("%s\nstack traceback:\n%s"):format(text, table.concat(frames, "\n"))
  end
  text = as_typed(found, text, debug.getinfo(found.chunk, "S").short_src)
  return text:find(found.shown, 1, true) and text or ("%s: %s"):format(found.shown, text)
end

--- A value of the file raised when it was looked at.
---@param found brood.ConfigSource
---@param err brood.Error
---@return string? text nil when it was not its code that raised
function M.of_value(found, err)
  for frame in traceback_of(err) do
    if is_lua(frame) then
      return found.chunk and not frame:find("^%s*%S*lua/brood/") and M.raised(found, err) or nil
    end
  end
  return nil
end

--- The file is an app, not a config.
---@param found brood.ConfigSource
---@return string
function M.app(found)
  return ("%s: this looks like an app: serve it with brood -s %s"):format(found.shown, found.shown)
end

--- The file returns what is no config.
---@param found brood.ConfigSource
---@param value any
---@return string
function M.no_table(found, value)
  local who = found.called and "the function that the config returns" or "the config"
  local got = value == nil and "it returns nothing" or "it returns " .. show(value)
  return ("%s: %s must return a table%s; %s"):format(found.shown, who,
    found.called and "" or ", or a function(master) that returns one", got)
end

return M
