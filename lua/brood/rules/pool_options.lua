--- What a job pool can be told: every option of `Pool.new`, which are also what an entry of `pools`
--- in a config takes, with its kind, default, documentation and example. Nothing here checks anything.
local M = {}

--- Without a number in the options there is one worker more for every four cpus: some always wait for a disk.
---@param cpus integer
---@return integer
function M.max_processes(cpus)
  return math.ceil(1.25 * cpus)
end

--- What a worker that is a program may say beside its command.
---@type table<string, brood.Spec>
M.program_fields = {
  command = {
    type = "argv", required = true, doc = "the program and its arguments, looked up in PATH",
    example = '{ "python3", "resize.py" }',
  },
  env = {
    type = "env", doc = "its environment, added to the pool's; false removes a variable", example = '{ KEY = "x" }',
  },
  cwd = { type = "path", doc = "the directory that it runs in", example = '"/srv/app"' },
  ready = {
    type = "enum", values = { "spawn", "line" }, default = "spawn",
    doc = 'when it can take jobs: once it runs, or ("line") once it has said {"ready": true}', example = '"line"',
  },
}

---@class brood.PoolOptions
---@field worker string|function|table
---@field options? any
---@field max_processes? integer
---@field max_jobs_per_process? integer|false
---@field prefetch? integer
---@field max_backlog? integer|false
---@field retries? integer
---@field retry_delay? number|string|false|fun(attempt: integer, err: brood.Error): number|string|false
---@field timeout_initializing? number|string|false
---@field timeout_working? number|string|false
---@field timeout_recovering? number|string|false
---@field respawn_delay? number|string
---@field result_ttl? number|string|false
---@field max_results? integer|false

--- Every option, in the order of the reference.
---@type brood.Key[]
M.keys = {
  {
    name = "worker", required = true,
    any_of = { { type = "path" }, { type = "function" }, { type = "record", fields = M.program_fields } },
    expected = "a Lua file, a function, or a table with command =",
    doc = "what runs the jobs, in processes of its own: a Lua file, a function(job, options), or a program in any "
      .. "language, which is told of its jobs by lines of JSON",
    example = '"thumbs.lua"',
  },
  { name = "options", type = "any", doc = "any value, which each worker is given", example = "{ width = 320 }" },
  {
    name = "max_processes", type = "integer", min = 1, max = 65535, default_doc = "1.25 for each cpu, rounded up",
    doc = "how many workers there are at most", example = "4",
  },
  {
    name = "max_jobs_per_process", type = "integer", min = 1, off = true, default = 64,
    doc = "a worker is replaced after so many jobs, the replacement started first", example = "1000",
  },
  {
    name = "prefetch", type = "integer", min = 1, max = 65535, default = 1,
    doc = "how many jobs a worker has at a time: one that runs, the others wait in it", example = "16",
  },
  {
    name = "max_backlog", type = "integer", min = 0, off = true,
    doc = "a job that would have to wait behind so many others fails with the code backlog", example = "10000",
  },
  {
    name = "retries", type = "integer", min = 0, default = 0,
    doc = "how often a job that has failed is tried again", example = "3",
  },
  {
    name = "retry_delay", any_of = { { type = "duration" }, { type = "function" } }, off = true, default = 0,
    doc = "the wait before a job is tried again: a duration, a function(attempt, err) that returns one, or false: it "
      .. "fails now",
    example = '"5s"',
  },
  {
    name = "timeout_initializing", type = "duration", off = true, default = 5,
    doc = "a worker that takes longer to load its file, and to run its `init`, is killed", example = '"30s"',
  },
  {
    name = "timeout_working", type = "duration", off = true, default = 10,
    doc = "a worker that takes longer for one job is killed, and the job fails with the code timeout",
    example = '"2m"',
  },
  {
    name = "timeout_recovering", type = "duration", off = true, default = 5,
    doc = "a worker whose `recover` takes longer after a job is killed", example = '"10s"',
  },
  {
    name = "respawn_delay", type = "duration", default = 0.1,
    doc = "the wait before a worker that has died is replaced", example = '"1s"',
  },
  {
    name = "result_ttl", type = "duration", off = true, default = 60,
    doc = "how long an ended job is remembered", example = '"10m"',
  },
  {
    name = "max_results", type = "integer", min = 0, off = true, default = 1000,
    doc = "how many ended jobs are remembered at most", example = "100000",
  },
}

--- The same by name, and their names in that order.
---@type table<string, brood.Key>, string[]
M.fields, M.order = {}, {}
for i, key in ipairs(M.keys) do
  M.fields[key.name], M.order[i] = key, key.name
end

return M
