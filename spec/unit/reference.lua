--- What is made from the schema: the reference, the README's table, the starter config.
local keys = require "brood.rules.schema_keys"
local lu = require "luaunit"
local reference = require "brood.cli.reference"
local schema = require "brood.rules.schema"
local starter = require "brood.cli.starter"

local T = {}

local root = debug.getinfo(1, "S").source:match("^@(.*)spec/unit/reference.lua$")

local function evaluate(text)
  local chunk, why = loadstring(text)
  lu.assertNil(why, text)
  return chunk()
end

function T.test_the_reference_names_every_key_with_its_type_and_an_example()
  local all = "\n" .. reference.all()
  for _, key in ipairs(keys.keys) do
    local entry = reference.key(key.name)
    lu.assertStrContains(all, "\n" .. reference.entry(key, key.name))
    lu.assertStrMatches(entry, key.name .. ".*\n    type: .*\n    example: .*")
    lu.assertEquals(entry:match("^[^\n]*not available yet") ~= nil, key.available == false, key.name)
    for name in pairs(key.fields or {}) do
      lu.assertStrContains(entry, ("\n%s.%s"):format(key.name, name))
      lu.assertIsString(reference.key(key.name .. "." .. name))
    end
  end
  local entry = reference.entry(keys.fields.pools.fields.retries, "pools.thumbs.retries")
  lu.assertEquals(reference.key "pools.thumbs.retries", entry)
  lu.assertStrContains(reference.key "clusters.admin.workers", "clusters.admin.workers\n")
  lu.assertEquals({ reference.inside "retries", reference.inside "nothing" }, { "pools.retries" })
  lu.assertNil(reference.key "pools.thumbs.nothing")
  lu.assertNil(reference.key "listen.x.backlog")
  lu.assertNil(reference.key "nothing")
  lu.assertNil(reference.key "listen.nothing")
  lu.assertNil(reference.key "workers.nothing")
end

function T.test_the_readme_has_the_table_that_is_made_from_the_schema()
  local file = assert(io.open(root .. "README.md"))
  local text = file:read("*a")
  file:close()
  lu.assertTrue(text:find(reference.markdown(), 1, true) ~= nil,
    "README.md and the schema differ: put the output of `brood help config --markdown` there")
end

function T.test_every_part_of_a_key_has_documentation_and_an_example_too()
  for _, key in ipairs(keys.keys) do
    for name, field in pairs(key.fields or {}) do
      lu.assertIsString(field.doc, key.name .. "." .. name)
      lu.assertIsString(field.example, key.name .. "." .. name)
      lu.assertIsNil(select(2, loadstring("return " .. field.example)))
    end
  end
end

function T.test_the_starter_config_is_sound_and_has_every_key()
  local text = starter.config()
  lu.assertIsTable(schema.validate(evaluate(text), { cpus = 1, directory = "/srv" }))
  for _, key in ipairs(keys.keys) do
    lu.assertStrMatches(text, ".*\n  %-?%-? ?" .. key.name .. " = .*")
  end
end

function T.test_each_comment_of_the_starter_config_can_be_made_a_line_of_it()
  local text = starter.config()
  for _, key in ipairs(keys.keys) do
    local changed, n = text:gsub("\n  %-%- (" .. key.name .. " = [^\n]*,)\n", "\n  %1\n")
    if key.name == "command" or key.of_command then
      local command = key.of_command and 'command = { "x" }, ready = "notify",' or ""
      changed = changed:gsub("\n  app = [^\n]*", "\n  " .. command)
    end
    local _, mistakes = schema.validate(evaluate(changed), { cpus = 1, directory = "/srv" })
    for _, mistake in ipairs(mistakes or {}) do
      lu.assertEquals({ mistake.key, mistake.kind }, { key.name, "unavailable" })
    end
    lu.assertEquals(n, (key.name == "app" or key.name == "listen") and 0 or 1, key.name)
  end
end

return T
