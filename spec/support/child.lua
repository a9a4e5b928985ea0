--- Children under test, in the spec's own process. What a test leaves running is killed by `cleanup`, to be the
--- suite's teardown.
local Child = require "brood.child"
local s = require "spec.support"
require "spec.support.process" -- what watches signals and orphans stays for good: no test's leak

local M = {}
local made = {}

local HEAD = 'local brood, Child, posix = require "brood", require "brood.child", require "brood.posix"\n'
local PYTHON = [[
import json, os, signal, socket, sys, time
channel = socket.socket(fileno=int(os.environ["BROOD_CHANNEL_FD"]))
lines, line = channel.makefile("r", encoding="utf-8"), channel.makefile("w", encoding="utf-8", newline="\n")
def say(value): line.write(json.dumps(value) + "\n"); line.flush()
def values():
    for text in lines: yield json.loads(text)
]]

---A Lua script of a child.
---@param text string
---@param name? string
---@return string path
function M.write(text, name)
  return s.write_file(name or "script.lua", HEAD .. text)
end

---A child that the end of the test ends.
---@param first string|table
---@param options? table
---@return brood.Child
function M.new(first, options)
  local child = Child.new(first, options)
  table.insert(made, child)
  return child
end

---A child that runs this Lua text; it is not respawned unless the options say so.
---@param text string
---@param options? table
---@return brood.Child
function M.lua(text, options)
  local all = { respawn = false }
  for name, value in pairs(options or {}) do
    all[name] = value
  end
  return M.new(M.write(text), all)
end

---What runs Python here, and not a wrapper that looks for it each time.
local python

---A child that runs this Python text behind `say(value)` and `values()`; not respawned either.
---@param text string
---@param options? table
---@return brood.Child
function M.python(text, options)
  python = python or s.run({ "python3", "-c", "import sys; print(sys.executable)" }).stdout:match "^[^\n]+"
  local all = { command = { python, s.write_file("script.py", PYTHON .. text) }, respawn = false }
  for name, value in pairs(options or {}) do
    all[name] = value
  end
  return M.new(all)
end

---A list of the values that the child sends from now on.
---@param child brood.Child
---@return any[]
function M.messages(child)
  local list = {}
  child:on("message", function(value)
    table.insert(list, value)
  end)
  return list
end

---A function that adds lines to a file, and the file's text: what survives a child tells of it.
---@return string path, fun(): string
function M.journal()
  local path = s.write_file("journal", "")
  return path, function()
    return s.read_file(path)
  end
end

---KILL what still runs, and wait for it.
function M.cleanup()
  for i = #made, 1, -1 do
    local child = made[i]
    made[i] = nil
    child:stop(0)
  end
end

return M
