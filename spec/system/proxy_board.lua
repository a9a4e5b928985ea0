--- What workers of a proxy and their master share of its targets: seen by all processes, and gone with who is killed.
local board = require "brood.proxy.board"
local core = require "brood.core"
local lu = require "luaunit"
local posix = require "brood.posix"

local T = {}

-- Run fn in a forked child; what it returns has to be true.
local function in_child(fn)
  local pid = posix.fork()
  if pid == 0 then
    local ok, result = pcall(fn)
    if not ok then
      io.stderr:write(tostring(result), "\n")
    end
    core.exit(ok and result and 0 or 1)
  end
  local _, how, status = posix.waitpid(pid)
  lu.assertEquals({ how, status }, { "exited", 0 })
end

T["numbers are shared with children, and those beyond the last are an error"] = function()
  local numbers = core.tally.create(3)
  in_child(function()
    numbers:set(2, 41)
    return numbers:add(2, 1) == 42 and numbers:get(1) == 0
  end)
  lu.assertEquals(numbers:get(2), 42)
  lu.assertEquals(numbers:add(3, -5), -5)
  lu.assertFalse((pcall(numbers.get, numbers, 4)))
  lu.assertFalse((pcall(numbers.set, numbers, 0, 1)))
  lu.assertFalse((pcall(core.tally.create, 0)))
end

T["a worker asks by itself only where it has been told of, as long as that holds"] = function()
  local place = board.place "one"
  lu.assertEquals(board.place "one", place)
  lu.assertNil(place:enter())
  local version = place:publish "unix:/a"
  in_child(function()
    if place:enter() then
      return false -- nobody has told it
    end
    place:learn(version, "unix:/a")
    local entered, way = place:enter()
    place:leave(entered)
    return entered == version and way == "unix:/a"
  end)
  lu.assertEquals(place:publish "unix:/a", version)
  lu.assertEquals(place:publish "unix:/b", version + 1)
  in_child(function()
    place:learn(version, "unix:/a")
    return place:enter() == nil
  end)
  place:publish(nil)
  lu.assertEquals(place:publish "unix:/b", version + 2)
end

T["what is open is counted by worker and by version, and who ends counts no more"] = function()
  local place = board.place "two"
  local first = place:publish "unix:/a"
  local columns = { board.claim(), board.claim() }
  local function worker(i, n)
    in_child(function()
      board.attach(columns[i])
      place:learn(first, "unix:/a")
      for _ = 1, n do
        place:enter()
      end
      return true
    end)
  end
  worker(1, 3)
  worker(2, 1)
  local open, at = place:use()
  lu.assertEquals({ open, at }, { 4, 0 })
  lu.assertEquals((place:use(first)), 4)
  lu.assertEquals((place:use(first + 1)), 0)
  place:publish(nil)
  lu.assertEquals((place:use()), 4)
  board.free(columns[1])
  open, at = place:use()
  lu.assertEquals(open, 1)
  lu.assertTrue(at > 0) -- its requests have ended just now
  board.free(columns[2])
  board.free(columns[2])
  lu.assertEquals((place:use()), 0)
  lu.assertEquals(board.claim(), columns[2])
  lu.assertEquals((place:use()), 0)
  board.free(columns[2])
end

T["there is room for many targets, and for workers beyond those that are counted"] = function()
  local all = {}
  for i = 1, 600 do
    all[i] = board.place("many" .. i)
    all[i]:publish("unix:/" .. i)
  end
  for i = 1, 600 do
    lu.assertEquals(all[i].part:get(all[i].number), all[i].version)
  end
  local taken = {}
  for i = 1, 2000 do
    taken[i] = board.claim()
  end
  lu.assertEquals(#taken, 1024)
  in_child(function()
    board.attach(nil)
    all[1]:learn(all[1].version, "x")
    local version = all[1]:enter()
    all[1]:leave(version)
    return version ~= nil
  end)
  for _, column in ipairs(taken) do
    board.free(column)
  end
end

return T
