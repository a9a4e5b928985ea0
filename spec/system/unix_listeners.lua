--- Whether somebody listens on a Unix socket (brood.unix_listeners), seen without a connection.
local lu = require "luaunit"
local brood = require "brood"
local s = require "spec.support"
local unix_listeners = require "brood.unix_listeners"
local uv = require "luv"

local T = {}

local function bound(path)
  local pipe = uv.new_pipe(false)
  assert(pipe:bind(path))
  return pipe
end

-- What one look finds.
local function once(look)
  local there
  look(function(found)
    there = found
  end)
  return there
end

T["a socket counts from when somebody listens on it, and nobody is connected to for that"] = function()
  local path, accepted = s.temp_dir() .. "/a.sock", 0
  local look = unix_listeners.look(path, function()
    error "it was tried"
  end)
  lu.assertFalse(once(look))
  lu.assertFalse(unix_listeners.listens(path))
  local pipe = bound(path)
  lu.assertFalse(once(look))
  assert(pipe:listen(8, function()
    accepted = accepted + 1
  end))
  lu.assertTrue(once(look))
  lu.assertTrue(unix_listeners.listens(path))
  brood.sleep(0.02)
  pipe:close()
  lu.assertEquals(accepted, 0)
end

T["a path that only begins like it, and what is no socket, do not count"] = function()
  local dir = s.temp_dir()
  local other = bound(dir .. "/a.sock.other")
  assert(other:listen(8, function() end))
  s.write_file(dir .. "/a.sock", "")
  lu.assertFalse(unix_listeners.listens(dir .. "/a.sock"))
  lu.assertFalse(once(unix_listeners.look(dir .. "/a.sock", function(found)
    found(true)
  end)))
  other:close()
end

T["a relative name is tried: somebody in another directory may listen by the same one"] = function()
  local here, one, two = uv.cwd(), s.temp_dir(), s.temp_dir()
  local tries = 0
  local look = unix_listeners.look("a.sock", function(found)
    tries = tries + 1
    found "tried"
  end)
  uv.chdir(one)
  local other = bound "a.sock"
  assert(other:listen(8, function() end))
  uv.chdir(two)
  local before = once(look)
  local pipe = bound "a.sock"
  local after = once(look)
  pipe:close()
  uv.chdir(one)
  other:close()
  uv.chdir(here)
  lu.assertFalse(before)
  lu.assertEquals(after, "tried")
  lu.assertEquals(tries, 1)
end

T["what is there and in no list is tried in the end, not at once"] = function()
  local path, tries = s.temp_dir() .. "/a.sock", 0
  local pipe = bound(path)
  local look = unix_listeners.look(path, function(found)
    tries = tries + 1
    found(true)
  end)
  lu.assertFalse(once(look))
  lu.assertEquals(tries, 0)
  s.wait(function() return once(look) end, 5 * s.slow, "the try")
  pipe:close()
  lu.assertEquals(tries, 1)
end

return T
