--- What a backend can be told: every option of `Backend.new`, which (but `name`, there the entry's key) are also what
--- an entry of `backends` in a config takes, with its kind, default, documentation and example. Nothing here checks
--- anything.
local M = {}

---@class brood.BackendOptions
---@field command string[]
---@field name? string
---@field size? integer
---@field cwd? string
---@field env? table<string, string|false>
---@field port? boolean|integer
---@field idle? number|string|false
---@field start_timeout? number|string|false
---@field terminate_timeout? number|string|false
---@field quit_timeout? number|string|false
---@field run_once? boolean
---@field max_backlog? integer|false
---@field user? string|integer
---@field group? string|integer
---@field umask? string
---@field limits? table<string, integer>
---@field stdout? string|integer|false|fun(line: string)
---@field stderr? string|integer|false|fun(line: string)

local OUTPUT = {
  any_of = { { type = "path" }, { type = "integer", min = 0 }, { type = "function" } }, off = true,
  expected = "a path, a descriptor or a function(line)",
}

local function output(name, what, example)
  return {
    name = name, any_of = OUTPUT.any_of, off = true, expected = OUTPUT.expected, default_doc = "ours",
    example = example,
    doc = ("where its %s goes: a path, a descriptor, a function(line), or false: nowhere"):format(what),
  }
end

--- Every option, in the order of the reference.
---@type brood.Key[]
M.keys = {
  {
    name = "command", type = "argv", required = true,
    doc = "the program and its arguments, looked up in PATH; it answers HTTP on a Unix socket at the path in SOCKET",
    example = '{ "node", "app.js" }',
  },
  { name = "name", type = "name", default_doc = "the program's", doc = "for messages", example = '"api"' },
  {
    name = "size", type = "integer", min = 1, max = 1024, default = 1,
    doc = "how many such programs run at most, each with one connection at a time, started as they are needed",
    example = "4",
  },
  { name = "cwd", type = "path", doc = "the directory that it runs in", example = '"/srv/app"' },
  { name = "env", type = "env", doc = "added to our environment; false removes a variable", example = '{ KEY = "x" }' },
  {
    name = "port", any_of = { { type = "boolean" }, { type = "integer", min = 1, max = 65535 } }, default = false,
    expected = "true, false or a port", doc = "the program listens on a TCP port of 127.0.0.1 instead, and finds it in "
      .. "PORT: true for a free one, or a number", example = "true",
  },
  {
    name = "idle", type = "duration", off = true, default = 900,
    doc = "a program on which nothing has been open for so long is told to quit", example = '"1h"',
  },
  {
    name = "start_timeout", type = "duration", off = true, default = 30,
    doc = "for a program to accept connections; then the start has failed", example = '"2m"',
  },
  {
    name = "terminate_timeout", type = "duration", off = true, default = 10, doc = "between TERM and KILL",
    example = '"30s"',
  },
  {
    name = "quit_timeout", type = "duration", off = true, default = 3, doc = "between QUIT and TERM",
    example = '"30s"',
  },
  {
    name = "run_once", type = "boolean", default = false, doc = "each connection gets a fresh program of its own",
    example = "true",
  },
  {
    name = "max_backlog", type = "integer", min = 0, off = true,
    doc = "a request that would have to wait behind so many others fails with the code backlog", example = "1000",
  },
  {
    name = "user", type = "user", doc = "whom the program runs as; the socket's folder is theirs",
    example = '"www-data"',
  },
  { name = "group", type = "group", default_doc = "the user's", doc = "its group", example = '"www-data"' },
  { name = "umask", type = "mode", doc = "its umask", example = '"027"' },
  { name = "limits", type = "limits", doc = "its resource limits", example = "{ nofile = 4096 }" },
  output("stdout", "stdout", '"app.log"'),
  output("stderr", "stderr", '"app.log"'),
}

--- The same by name, and their names in that order.
---@type table<string, brood.Key>, string[]
M.fields, M.order = {}, {}

--- What an entry of `backends` in a config takes.
---@type brood.Key[], table<string, brood.Key>, string[]
M.config_keys, M.config_fields, M.config_order = {}, {}, {}

for i, key in ipairs(M.keys) do
  M.fields[key.name], M.order[i] = key, key.name
  if key.name ~= "name" then
    local at = #M.config_keys + 1
    M.config_keys[at], M.config_fields[key.name], M.config_order[at] = key, key, key.name
  end
end

--- What the options contradict each other in.
---@param o table normalised
---@return string? problem of `port`
function M.conflict(o)
  if type(o.port) == "number" and (o.size or 1) > 1 then
    return "must be true where `size` is more than 1: each program needs a port of its own"
  end
end

return M
