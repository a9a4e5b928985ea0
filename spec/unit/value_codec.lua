--- The short way of plain values: what brood writes string.buffer reads, and the other way round, and what is not
--- plain is left to string.buffer.
local lu = require "luaunit"
local buffer = require "string.buffer"
local core = require "brood.core"

local value = core.value
local T = {}

local function decoded(bytes)
  local ok, got = value.decode(bytes)
  assert(ok == true, got)
  return got
end

local function same(given)
  lu.assertEquals(buffer.decode((assert(value.encode(given)))), given)
  lu.assertEquals(decoded(buffer.encode(given)), given)
  lu.assertEquals(decoded((assert(value.encode(given)))), given)
end

-- A value of up to so many tables in tables.
local function random_value(depth)
  local kind = math.random(depth > 0 and 8 or 5)
  if kind == 1 then
    return math.random() < 0.5
  elseif kind == 2 then
    return math.random(-100, 100)
  elseif kind == 3 then
    return math.random() * 2 ^ math.random(-60, 60)
  elseif kind == 4 then
    return ("x"):rep(math.random(0, 300)) .. math.random(9)
  elseif kind == 5 then
    return 2 ^ 31 + math.random(9)
  end
  local made = {}
  for i = 1, math.random(0, 6) do
    if kind ~= 6 then
      made[i] = random_value(depth - 1)
    end
    if kind ~= 7 then
      made[("key"):rep(math.random(3)) .. i] = random_value(depth - 1)
    end
  end
  return made
end

function T.test_random_values_are_the_same_in_both_codecs()
  math.randomseed(7)
  for _ = 1, 2000 do
    same(random_value(4))
  end
end

function T.test_the_borders_of_counts_and_lengths()
  for _, n in ipairs { 0, 1, 190, 191, 192, 222, 223, 224, 225, 8127, 8128, 8159, 8160, 8161, 70000 } do
    same(("s"):rep(n))
    local list, fields = {}, {}
    for i = 1, math.min(n, 9000) do
      list[i], fields["f" .. i] = i, i
    end
    same(list)
    same(fields)
    list.more = fields
    same(list)
  end
end

function T.test_odd_keys_holes_and_special_numbers()
  same { [0] = "zero", "one", "two", [4] = "four", [-1] = "minus", [1.5] = "half", [2 ^ 40] = "far" }
  same { nil, nil, 3 }
  same { [true] = 1, [false] = 2 }
  same { math.huge, -math.huge, 0, 2 ^ 53, -2 ^ 31, 1e-300 }
  same {}
  same { {}, { {} } }
  same(nil)
  lu.assertTrue(1 / decoded((value.encode(-0))) < 0)
  local nan = decoded((value.encode { 0 / 0 }))[1]
  lu.assertTrue(nan ~= nan)
end

function T.test_what_is_not_plain_goes_the_long_way()
  lu.assertEquals(decoded((value.encode { big = 2LL ^ 60 })).big, 2LL ^ 60)
  lu.assertNil((value.encode { print }))
  local loop = {}
  loop.loop = loop
  lu.assertNil((value.encode(loop)))
  local deep = {}
  for _ = 1, 89 do
    deep = { deep }
  end
  same(deep)
  lu.assertNil((value.encode { deep }))
end

function T.test_a_key_that_comes_twice_is_refused()
  local bytes = buffer.encode { aa = 1 }
  local field = bytes:sub(3)
  local ok, err = value.decode(bytes:sub(1, 1) .. "\2" .. field .. field)
  lu.assertNil(ok or nil)
  lu.assertEquals(err.code, "invalid")
end

return T
