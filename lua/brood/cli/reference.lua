--- The reference of the config's keys, made from the schema: as text for a terminal, and as the
--- table of the README. It checks nothing, and no running master needs it.
local keys = require "brood.rules.schema_keys"
local kinds = require "brood.rules.kinds"
local source = require "brood.rules.lua_source"
local wrap = require "brood.cli.wrap"
require "brood.rules.schema" -- the kinds that only a config has

local M = {}

local NAMED = { pools = true, clusters = true } -- tables of tables: a name stands before the key

--- The default as it is written, or nil.
---@param key brood.Key
---@return string? default
function M.default(key)
  local nothing = key.default == nil or type(key.default) == "table" and next(key.default) == nil
  return nothing and key.default_doc or not nothing and source.value(key.default, key) or nil
end

-- "one of the lines of the entry": a label in front of running text.
local function add(lines, label, text)
  if text then
    local wrapped = wrap(text, (" "):rep(14))
    wrapped[1] = ("    %-10s"):format(label .. ":") .. wrapped[1]:sub(15)
    for _, line in ipairs(wrapped) do
      lines[#lines + 1] = line
    end
  end
end

local function options_of(key)
  local list = {}
  for i, option in ipairs(key.options or {}) do
    list[i] = option[1]
  end
  if key.available == false or not list[1] then
    return nil
  end
  return table.concat(list, ", ")
end

--- One key as text: documentation, type, default, example, and what else sets it.
---@param key brood.Key
---@param name string
---@return string
function M.entry(key, name)
  local lines = { name }
  if key.available == false then
    lines[1] = name .. "   (not available yet)"
  end
  for _, line in ipairs(wrap(key.doc, "    ")) do
    lines[#lines + 1] = line
  end
  add(lines, "type", kinds.expected(key))
  add(lines, "default", M.default(key))
  add(lines, "option", options_of(key))
  add(lines, "variable", key.environ and key.environ .. " in the environment, when the config does not say")
  lines[#lines + 1] = ("    %-10s%s = %s"):format("example:", name:match("[^.]+$"), key.example)
  return table.concat(lines, "\n") .. "\n"
end

local function names_of(key)
  local names = {}
  for i, part in ipairs(key.keys or {}) do
    names[i] = part.name
  end
  return key.keys and names or kinds.sorted_keys(key.fields or {})
end

local function fields_of(key)
  local lines = {}
  for _, name in ipairs(names_of(key)) do
    lines[#lines + 1] = M.entry(key.fields[name], ("%s.%s"):format(key.name, name))
  end
  return table.concat(lines, "\n")
end

--- A key with the fields of its table.
---@param name string
---@return string? text nil when there is no such key
function M.key(name)
  local key = keys.fields[name]
  if key then
    local fields = fields_of(key)
    local where = key.of_cluster and "    An entry of `clusters` takes it as well.\n" or ""
    return M.entry(key, name) .. where .. (fields ~= "" and "\n" .. fields or "")
  end
  local top, field = name:match("^([%w_]+)%.([%w_]+)$")
  if not top then
    top, field = name:match("^([%w_]+)%..+%.([%w_]+)$") -- with a pool's, or a cluster's, name
    field = NAMED[top] and field
  end
  local fields = top == "clusters" and keys.cluster_fields or keys.fields[top] and keys.fields[top].fields
  local part = fields and fields[field]
  return part and M.entry(part, name) or nil
end

--- What a name that is no key of the top level may have meant: the same in a table of it.
---@param name string
---@return string? key
function M.inside(name)
  for _, key in ipairs(keys.keys) do
    if key.available ~= false and key.fields and key.fields[name] then
      return key.name .. "." .. name
    end
  end
end

--- What a mistyped part of a key ("listen.mod") may have meant.
---@param name string
---@return string? key
function M.nearest_part(name)
  local top, field = name:match "^([%w_]+)%.([%w_]+)$"
  local key = top and keys.fields[top]
  local meant = key and require("brood.rules.nearest").find(field, names_of(key))
  return meant and top .. "." .. meant or nil
end

--- All keys, those that are not available yet at the end.
---@return string
function M.all()
  local lines = {
    "A config is a Lua file that returns a table with these keys, or a function(master) that returns one.",
    "Paths are relative to its folder. `brood help config KEY` shows one key and its parts.", "",
  }
  for _, available in ipairs { true, false } do
    for _, key in ipairs(keys.keys) do
      if (key.available ~= false) == available then
        lines[#lines + 1] = M.entry(key, key.name)
      end
    end
  end
  return table.concat(lines, "\n")
end

local function cell(text)
  return (text:gsub("|", "\\|"))
end

--- The keys that are available, as a Markdown table.
---@return string
function M.markdown()
  local lines = { "| config key | default | what it is | example |", "| --- | --- | --- | --- |" }
  for _, key in ipairs(keys.keys) do
    if key.available ~= false then
      local default = M.default(key) or ""
      default = default:find("^[%w\"{]%S*$") and ("`%s`"):format(default) or default
      lines[#lines + 1] = ("| `%s` | %s | %s | `%s` |"):format(key.name, cell(default), cell(key.doc),
        cell(key.example))
    end
  end
  return table.concat(lines, "\n") .. "\n"
end

--- The options of `brood run` that set keys: { "-w N", documentation }, in the order of the keys.
---@return string[][]
function M.options()
  local list = {}
  for _, key in ipairs(keys.keys) do
    for _, option in ipairs(key.available ~= false and key.options or {}) do
      list[#list + 1] = { option[1], option[2] or key.doc }
    end
  end
  return list
end

return M
