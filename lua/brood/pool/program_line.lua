--- What a pool and a worker that is a foreign program say to each other: which lines of JSON there are, and what they
--- mean. Nothing is read or written here.
local E = require "brood.error"
local json = require "brood.json"
local json_line = require "brood.json_line"

local M = { encode = json_line.encode, quote = json_line.quote }

local concat, quote = table.concat, json_line.quote
local null = json.null

--- The line that gives a job to the program, with its end.
---@param id string
---@param attempt integer
---@param data any
---@return string? line, brood.Error? err
function M.job(id, attempt, data)
  local body, err = M.encode(data, "data")
  if not body then
    return nil, E.new("json", "the job cannot be given to a program: %s", err.message)
  end
  return concat { '{"job":', json.encode(id), ',"attempt":', tostring(attempt), ',"data":', body, "}\n" }
end

-- ---- in ----

local KINDS = { "progress", "success", "failure" }

local function wrong(fmt, ...)
  return nil, E.new("protocol", fmt, ...)
end

---@class brood.ProgramLine
---@field kind "progress"|"success"|"failure"|"ready"
---@field value any of a failure: an error table
---@field job? string the job it names, where it does

--- What a line of the program says; or nil and an error (code "protocol").
---@param line string without its end
---@return brood.ProgramLine? said, brood.Error? err
function M.parse(line)
  local said, why = json.decode(line)
  if said == nil then
    return wrong("a line that is no JSON: %s (%s; its stdout is for messages, stderr for everything else)", quote(line),
      (why.message:gsub("^cannot decode JSON: ", "")))
  elseif type(said) ~= "table" then
    return wrong("a line that is no JSON object: %s", quote(line))
  elseif said.ready == true then
    return { kind = "ready" }
  end
  local kind
  for _, name in ipairs(KINDS) do
    if said[name] ~= nil then
      if kind then
        return wrong("a line with both '%s' and '%s': %s", kind, name, quote(line))
      end
      kind = name
    end
  end
  if not kind then
    return wrong("a line without progress, success or failure: %s", quote(line))
  end
  local value = said[kind]
  if kind == "failure" then
    value = json_line.failure(value)
  elseif value == null then
    value = nil
  end
  return { kind = kind, value = value, job = type(said.job) == "string" and said.job or nil }
end

return M
