--- Scripts that are judged by what they print: they must say nothing on stderr, and end with status 0.
local lu = require "luaunit"
local s = require "spec.support"

local M = {}

---For scripts that fork: say(...) writes a line at once, who() is "parent" or "child".
M.FORKS = [[
local brood, posix, uv = require "brood", require "brood.posix", require "luv"
local ME = posix.getpid()
local function say(...) io.write(table.concat({ ... }, " "), "\n") io.flush() end
local function who() return posix.getpid() == ME and "parent" or "child" end
]]

---For scripts with servers: listening(server) is the address that it listens at from now on.
M.SERVERS = [[
local http, net = require "brood.http", require "brood.net"
local function listening(server)
  assert(server:listen "127.0.0.1:0")
  return (server:address())
end
]]

---For scripts with plain connections.
M.NET = 'local brood, net = require "brood", require "brood.net"\nio.stdout:setvbuf "line"\n'

local function sound(text, options)
  local result = s.script(text, {}, options):finish(options and options.timeout or 10)
  lu.assertEquals(result.stderr, "")
  return result
end

---@param text string the script
---@param expected string all that it must print
---@param options? table for the program; timeout: seconds that it has (10)
function M.prints(text, expected, options)
  local result = sound(text, options)
  lu.assertEquals(result.stdout, expected)
  lu.assertEquals(result.code, 0)
end

---`prints` for scripts that begin alike.
---@param head string
---@param seconds? number that they have (10)
---@return fun(text: string, expected: string)
function M.printer(head, seconds)
  return function(text, expected)
    M.prints(head .. text, expected, { timeout = seconds })
  end
end

---What a script printed, sorted by line: parent and child write in any order.
---@param text string
---@param options? table as for prints
---@return string[]
function M.lines(text, options)
  local result = sound(text, options)
  lu.assertEquals(result.code, 0)
  local lines = {}
  for line in result.stdout:gmatch("[^\n]+") do
    lines[#lines + 1] = line
  end
  table.sort(lines)
  return lines
end

return M
