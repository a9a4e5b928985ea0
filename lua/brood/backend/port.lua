--- The TCP port of a program that wants one in place of a socket: which one it gets, kept from others until it is
--- bound, and when the program itself listens there. It starts nothing.
local E = require "brood.error"
local listening = require "brood.backend.listening"
local owners = require "brood.spinner.listening"
local ports = require "brood.spinner.ports"

local M = {}

local RANGE = { 7000, 7999 } -- where a free one is looked for, as for services

local avoid = {} ---@type table<integer, true> ports that strangers have taken from programs of ours

--- Choose a port for a program: program.port, which is given back by program.free_port.
---@param program brood.BackendProgram
---@return true? ok, brood.Error? err
function M.take(program)
  local wanted = program.options.port
  local taken, err = ports.take(wanted == true and RANGE or { wanted, wanted }, program.name, nil, avoid)
  if not taken then
    return nil, err
  end
  program.port, program.taken = taken.port, taken
  return true
end

--- The program is gone.
---@param program brood.BackendProgram
function M.free(program)
  if program.taken then
    program.taken:free()
    program.taken = nil
  end
end

-- Whether a stranger listens there. Then the program cannot, and it is not the program's fault.
local function stranger_at(program)
  local mine, stranger = owners.is_of(program.port, program.pid)
  return mine == false and stranger or nil
end

--- Wait until the program listens there.
---@param program brood.BackendProgram
---@param done fun(address: string?, err: brood.Error?)
---@return fun() cancel
function M.await(program, done)
  return listening.await_port(program.port, function(host)
    local stranger = stranger_at(program)
    if stranger then
      return done(nil, E.new("EADDRINUSE", "%s: %s (pid %d) has taken the port %d", program.name, stranger.name,
        stranger.pid, program.port))
    end
    program.taken:bound()
    done(host:find(":", 1, true) and ("[%s]:%d"):format(host, program.port) or ("%s:%d"):format(host, program.port))
  end)
end

--- Whether a program that did not start could not have its port: another one may.
---@param program brood.BackendProgram
---@param err brood.Error
---@return boolean
function M.was_lost(program, err)
  local lost = err.code == "EADDRINUSE"
    or err.code == "exit" and err.exit_code ~= nil and owners.who(program.port) ~= nil
  avoid[program.port] = lost or avoid[program.port]
  return lost and program.options.port == true
end

--- What a start that took too long has not come beyond.
---@param program brood.BackendProgram
---@return string
function M.missing(program)
  local text = ("it does not listen on the port %d, which is in PORT"):format(program.port)
  local places = program.pid and owners.places(program.pid) or {}
  return places[1] and ("%s, but on %s"):format(text, table.concat(places, ", ")) or text
end

return M
