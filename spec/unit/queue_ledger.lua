--- The books of a pool: ids, handles, and the ended jobs that are remembered, in bounded memory and with virtual time.
local lu = require "luaunit"
local job = require "brood.pool.job"
local ledger = require "brood.pool.ledger"

local function ended(seq, at, size)
  local handle = job.new(nil, seq, ("i"):rep(size or 10))
  handle[job.ENDING], handle[job.OUTPUT], handle[job.ENDED_AT] = "success", "", at
  return handle
end

-- A job that was held, and ends.
local function finish(books, seq, at, size)
  local handle = ended(seq, at, size)
  books.held:put(seq, handle)
  books:remember(handle, at)
  return handle
end

local function known(books, from, to)
  local list = {}
  for seq = from, to do
    if books:find(seq) then
      table.insert(list, seq)
    end
  end
  return list
end

return {
  ["ids made of numbers are found again, and only by the ledger that made them"] = function()
    local books, other = ledger.new(60, 10), ledger.new(60, 10)
    local seen = {}
    for _, seq in ipairs { 0, 1, 35, 36, 1295, 1296, 2 ^ 31, 2 ^ 53 - 1 } do
      local id = books:id_of(seq)
      lu.assertEquals(books:seq_of(id), seq)
      lu.assertNil(other:seq_of(id))
      lu.assertNil(seen[id])
      lu.assertStrMatches(id, "%w+%-%w+")
      seen[id] = true
    end
    lu.assertNotEquals(books.tag, other.tag)
    lu.assertEquals(#books.tag, #other.tag)
  end,

  ["what only looks like an id is none"] = function()
    local books = ledger.new(60, 10)
    for _, id in ipairs { "", "x", "-", books.tag, books.tag .. "-", books.tag .. "-01", books.tag .. "-A",
      books.tag .. "-1 ", books.tag .. "-zzzzzzzzzzzzzzzzzzzz", "other-1" } do
      lu.assertNil(books:seq_of(id), id)
    end
  end,

  ["a user's id is free again once its job is forgotten, not before"] = function()
    local books = ledger.new(60, 1)
    books:name(1, "mine")
    finish(books, 1, 0)
    lu.assertEquals({ books:seq_of "mine", books:id_of(1) }, { 1, "mine" })
    finish(books, 2, 1)
    lu.assertNil(books:seq_of "mine")
    books:name(3, "mine")
    lu.assertEquals(books:seq_of "mine", 3)
  end,

  ["at most so many are remembered, the newest"] = function()
    local books = ledger.new(false, 100)
    for seq = 1, 1000 do
      finish(books, seq, 0)
      lu.assertTrue(books.count <= 100)
    end
    local list = known(books, 1, 1000)
    lu.assertEquals({ #list, list[1], list[100] }, { 100, 901, 1000 })
  end,

  ["each is forgotten when its time is over"] = function()
    local books = ledger.new(60, false)
    for seq = 1, 200 do
      finish(books, seq, seq)
    end
    lu.assertEquals(#known(books, 1, 200), 60) -- each end looks at those before it
    lu.assertEquals(books:expire(220), 1)
    lu.assertEquals(#known(books, 1, 200), 40)
    lu.assertNil(books:expire(1000))
    lu.assertEquals({ books.count, books.bytes }, { 0, 0 })
  end,

  ["altogether they have at most 64 MB; a larger one is not remembered, and drives nobody out"] = function()
    local books = ledger.new(60, false)
    local mb = 1024 * 1024
    for seq = 1, 10 do
      finish(books, seq, 0, 10 * mb)
    end
    lu.assertEquals(known(books, 1, 10), { 5, 6, 7, 8, 9, 10 })
    finish(books, 11, 0, 65 * mb)
    lu.assertEquals(known(books, 1, 11), { 5, 6, 7, 8, 9, 10 })
    lu.assertEquals(books.bytes, 60 * mb)
  end,

  ["0 of either remembers nothing"] = function()
    for _, books in ipairs { ledger.new(0, 10), ledger.new(60, 0) } do
      finish(books, 1, 0)
      lu.assertNil(books:find(1))
      lu.assertEquals(books.count, 0)
    end
  end,

  ["smaller limits are kept from the next look on"] = function()
    local books = ledger.new(60, 100)
    for seq = 1, 50 do
      finish(books, seq, 0)
    end
    books:limit(60, 5)
    books:expire(0)
    lu.assertEquals(known(books, 1, 50), { 46, 47, 48, 49, 50 })
    books:limit(0, 5)
    books:expire(0)
    lu.assertEquals(known(books, 1, 50), {})
  end,

  ["a handle that nobody holds and nobody waits for is not kept"] = function()
    local books = ledger.new(60, 10)
    books.weak:put(1, job.new(nil, 1, ""))
    books.held:put(2, job.new(nil, 2, ""))
    collectgarbage()
    lu.assertNil(books:find(1))
    lu.assertEquals(books:find(2).seq, 2)
  end,

  ["one that has ended and is forgotten is not found, though its user still has it"] = function()
    local books = ledger.new(60, 10)
    local handle = job.new(nil, 1, "")
    books.weak:put(1, handle)
    lu.assertIs(books:find(1), handle)
    handle[job.ENDING] = "success"
    lu.assertNil(books:find(1))
  end,

  ["random ends and times: what is found is what a plain list says"] = function()
    local seed = tonumber(os.getenv "BROOD_SEED") or os.time()
    math.randomseed(seed)
    for _ = 1, 20 do
      local ttl, max = math.random(1, 40), math.random(1, 150)
      local books, model, now = ledger.new(ttl, max), {}, 0
      for seq = 1, 1000 do
        now = now + math.random()
        finish(books, seq, now)
        table.insert(model, { seq = seq, at = now })
        while #model > max or now >= model[1].at + ttl do
          table.remove(model, 1)
        end
        lu.assertEquals(books.count, #model, "seed " .. seed)
        local probe = math.random(1, seq)
        lu.assertEquals(books:find(probe) ~= nil, probe >= model[1].seq, "seed " .. seed)
      end
    end
  end,
}
