--- Configs for the specs of the schema: they are checked as if they stood in one place, on a machine with three cpus.
local lu = require "luaunit"
local mistakes_of = require "brood.rules.mistakes"
local schema = require "brood.rules.schema"

local M = {}

---@param directory string where the config is
---@return brood.SchemaContext
function M.context(directory)
  return { cpus = 3, directory = directory }
end

---What a sound config comes to.
---@param config any
---@param context brood.SchemaContext
---@return brood.Config
function M.effective(config, context)
  local result, mistakes = schema.validate(config, context)
  lu.assertNil(mistakes, mistakes and schema.format(mistakes))
  return result
end

---The sentences of all mistakes, and the mistakes; none of a sound config.
---@param config any
---@param context brood.SchemaContext
---@return string[] sentences, brood.Mistake[]? mistakes
function M.complaints(config, context)
  local _, mistakes = schema.validate(config, context)
  local sentences = {}
  for i, mistake in ipairs(mistakes or {}) do
    sentences[i] = mistakes_of.sentence(mistake)
  end
  return sentences, mistakes
end

return M
