--- stdin, stdout and stderr of a child: from what the options say to descriptors,
--- and back to nothing when the start fails.
local core = require "brood.core"
local E = require "brood.error"
local uv = require "luv"

local M = {}

local O = uv.constants
local NULL = -1 -- /dev/null, which a program's process opens itself

---@class brood.Stdio
---@field fds integer[][] {source, target} pairs
---@field opened integer[] our own ends that close once the child has them
---@field readers table[] {fd=, fn=, raw=}
---@field stdin? integer the end that `write` uses
local Stdio = {}
Stdio.__index = Stdio

local function open(self, path, flags)
  local fd, why, code = uv.fs_open(path, flags, 420) -- 0644
  if not fd then
    return nil, E.new(code, "%s", (why:gsub("^%w+: ", "")))
  end
  core.fd.own(fd)
  self.opened[#self.opened + 1] = fd
  return fd
end

-- Owned, so that no child but the one it is for has a copy: a writing end more, and nobody reads an end of file.
local function pipe()
  local r, w = core.fd.pipe()
  if r then
    core.fd.own(r)
    core.fd.own(w)
  end
  return r, w
end

local function null(self, flags)
  if self.of_program then
    return NULL
  end
  return open(self, "/dev/null", flags)
end

local function input(self, value)
  if value == nil or value == false then
    return null(self, O.O_RDONLY)
  elseif value == "inherit" then
    return 0
  elseif value == "pipe" then
    local r, w = pipe()
    if not r then
      return nil, w
    end
    self.opened[#self.opened + 1] = r
    self.stdin = w
    return r
  elseif type(value) == "number" then
    return value
  end
  return open(self, value, O.O_RDONLY)
end

local function output(self, value, target, raw)
  if value == nil or value == "inherit" then
    return target
  elseif value == false then
    return null(self, O.O_WRONLY)
  elseif type(value) == "number" then
    return value
  elseif type(value) == "function" then
    local r, w = pipe()
    if not r then
      return nil, w
    end
    self.opened[#self.opened + 1] = w
    self.readers[#self.readers + 1] = { fd = r, fn = value, raw = raw }
    return w
  end
  return open(self, value, bit.bor(O.O_WRONLY, O.O_CREAT, O.O_APPEND))
end

-- Nothing to open, nothing to close: what most programs have.
local OURS = setmetatable({ fds = { { NULL, 0 }, { 1, 1 }, { 2, 2 } }, opened = {}, readers = {} }, Stdio)

--- Open what the options name. On failure everything opened so far is closed again.
---@param options table stdin, stdout, stderr as in Process; command where it is for a program
---@return brood.Stdio? stdio, brood.Error? err
function M.open(options)
  if options.command and not options.stdin and options.stdout == nil and options.stderr == nil then
    return OURS
  end
  local self = setmetatable({ fds = {}, opened = {}, readers = {}, of_program = options.command ~= nil }, Stdio)
  local what = { "stdin", "stdout", "stderr" }
  for target = 0, 2 do
    local name = what[target + 1]
    local fd, err
    if target == 0 then
      fd, err = input(self, options.stdin)
    elseif target == 2 and options.stderr ~= nil and options.stderr == options.stdout
      and type(options.stderr) == "function" then
      fd = self.fds[2][1] -- one pipe for both keeps their order
    else
      fd, err = output(self, options[name], target, options.raw and options.raw[name])
    end
    if not fd then
      self:discard()
      return nil, E.of(name, err)
    end
    self.fds[target + 1] = { fd, target }
  end
  return self
end

--- The child has its ends: close ours of them.
function Stdio:handed_over()
  if self.opened[1] then
    for _, fd in ipairs(self.opened) do
      core.fd.close(fd)
    end
    self.opened = {}
  end
end

--- The start failed: close everything.
function Stdio:discard()
  self:handed_over()
  if self.readers[1] then
    for _, reader in ipairs(self.readers) do
      core.fd.close(reader.fd)
    end
    self.readers = {}
  end
  if self.stdin then
    core.fd.close(self.stdin)
    self.stdin = nil
  end
end

return M
