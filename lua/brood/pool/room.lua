--- The master's side of `pool.client`: jobs that come from other processes as bytes, and what is told of them. It
--- decodes no data and no result, and keeps something only of jobs that somebody elsewhere wants to hear of.
local core = require "brood.core"
local E = require "brood.error"
local log = require "brood.log"
local message = require "brood.message"
local named = require "brood.pool.named"
local remote = require "brood.remote"
local settle = require "brood.pool.settle"
local timer = require "brood.timer"

local M = {}

local ROOM = "pool"
local BATCH = 256 * 1024 -- bytes of news in one frame
local PROGRESS_MAX = 1024 * 1024 -- bytes that wait for a process: from here on progress is not news enough
local BEHIND = 0.02 -- seconds in which a job arrives that somebody has heard of already
local RECENT = 100000 -- numbers
local ABORTED = 3 -- wanted of a job: that it has ended already

local ENDS = { success = true, failure = true, abort = true }

---@type table<integer, table> by the number of the caller: what is kept of it
local books = {}

local function book_of(caller)
  local book = books[caller.number]
  if not book then
    book = { caller = caller, watched = {}, listened = {}, news = {}, bytes = 0, armed = false }
    books[caller.number] = book
  end
  return book
end

local function gone(name)
  return E.new("stopped", "there is no pool '%s' any more", tostring(name))
end

-- ---- news of jobs ---------------------------------------------------------------------------------------------------

-- What is too large to be passed on is a failure as well.
local function tell_one_by_one(book, list)
  for i = 1, #list, 5 do
    local name, seq, event, attempt, bytes = unpack(list, i, i + 4)
    local sent, err = book.caller:tell(ROOM, "jobs", { name, seq, event, attempt, bytes })
    if sent == nil and err.code ~= "stopped" and event ~= "progress" then
      event = ENDS[event] and "failure" or event
      book.caller:tell(ROOM, "jobs", { name, seq, event, attempt, message.encode_error(err) })
    end
  end
end

local function tell_news(book)
  local list = book.news
  book.news, book.bytes = {}, 0
  if not list[1] then
    return
  end
  local sent, err = book.caller:tell(ROOM, "jobs", list)
  if sent == nil and err.code ~= "stopped" then
    tell_one_by_one(book, list)
  end
end

-- Once at the end of each turn of the loop.
local function news(book, name, seq, event, bytes, attempt)
  if event == "progress" and book.caller.peer:pending() > PROGRESS_MAX then
    return
  end
  local list = book.news
  local n = #list
  list[n + 1], list[n + 2], list[n + 3], list[n + 4], list[n + 5] = name, seq, event, attempt or 1, bytes or false
  book.bytes = book.bytes + 64 + (bytes and #bytes or 0)
  if book.bytes > BATCH then
    tell_news(book)
  elseif not book.armed then
    book.armed = true
    core.at_turn_end(function()
      book.armed = false
      tell_news(book)
    end)
  end
end

--- Who enqueued a job and wants to hear of it, as the number that stays with the job: of everything, or of its end.
local function client_of(caller, all)
  return caller.number * 2 + (all and 1 or 0)
end

--- A pool tells of the jobs of others from now on.
---@param pool brood.Pool
function M.attach(pool)
  local name = pool.name
  function pool.remote(client, seq, event, bytes, attempt)
    local all = client % 2 == 1
    local book = books[(client - (all and 1 or 0)) / 2]
    if book and (all or ENDS[event]) then
      news(book, name, seq, event, bytes, attempt)
    elseif not book and event == "failure" and not settle.hush(pool) then
      log.error(("%s: job %s failed, and who enqueued it is gone: %s"):format(name, pool:id_of(seq),
        E.text(message.decode_error(bytes))))
    end
  end
end

-- `as` is the number that the caller knows the job by.
local function watch(book, pool, seq, as)
  local key = pool.name .. "\n" .. as
  if book.watched[key] then
    return true
  end
  local function hear(event, bytes, attempt)
    if ENDS[event] then
      book.watched[key] = nil
    end
    news(book, pool.name, as, event, bytes, attempt)
  end
  book.watched[key] = { pool = pool, seq = seq, fn = hear }
  if not pool:watch(seq, hear) then
    book.watched[key] = nil
    return false
  end
  return true
end

local function unwatch(book, key)
  local watched = book.watched[key]
  if watched then
    book.watched[key] = nil
    watched.pool:unwatch(watched.seq, watched.fn)
  end
end

-- ---- events of pools ------------------------------------------------------------------------------------------------

-- What came from a worker has no functions.
local function is_job(value)
  return type(value) == "table" and type(value.abort) == "function"
end

local function is_worker(value)
  return type(value) == "table" and rawget(value, "crew") ~= nil
end

local function describe_job(pool, job)
  local found = pool:describe(job.seq)
  return found or { seq = job.seq, id = job.id, state = job.state, attempt = job.attempt }
end

local function describe_worker(w)
  return { id = w.id, pid = w.pid, slot = w.slot, pool = w.pool, state = w.state, jobs = w.jobs, reason = w.reason }
end

local function pack(pool, ...)
  local list = {}
  for i = 1, select("#", ...) do
    local value = select(i, ...)
    if is_job(value) then
      list[i] = { "job", describe_job(pool, value) }
    elseif is_worker(value) then
      list[i] = { "worker", describe_worker(value) }
    elseif type(value) == "table" and getmetatable(value) == core.error_meta then
      list[i] = { "error", message.encode_error(value) }
    else
      list[i] = { "value", value }
    end
  end
  return list
end

local function listener(book, pool, event)
  if event == "*" then
    return function(name, ...)
      book.caller:tell(ROOM, "event", { pool.name, "*", name, select("#", ...), pack(pool, ...) })
    end
  end
  return function(...)
    book.caller:tell(ROOM, "event", { pool.name, event, event, select("#", ...), pack(pool, ...) })
  end
end

-- ---- what can be asked ----------------------------------------------------------------------------------------------

local methods = {}

-- Jobs, four values each: number, data, what their enqueuer wants to hear, options.
function methods.put(caller, name, list)
  local pool, book = named.own(name), nil
  if not pool then
    book = book_of(caller)
  end
  for i = 1, #list, 4 do
    local seq, data, want, options = list[i], list[i + 1], list[i + 2], list[i + 3] or nil
    if not pool then
      news(book, name, seq, "failure", message.encode_error(gone(name)))
    elseif want == 0 then
      pool:put(data, options, 0, seq)
    elseif want == ABORTED then
      pool:abort(pool:put(data, options, 0, seq)) -- before any worker sees it
    else
      book = book or book_of(caller)
      if want == 2 then
        pool.tells_starts = true
      end
      local real = pool:put(data, options, client_of(caller, want == 2), seq)
      if real ~= seq then
        watch(book, pool, real, seq) -- a job of that id was there already
      end
    end
  end
end

-- A job of an id of its own may be another one than the number says.
local function real_seq(pool, seq, id)
  return id and pool:seq_of(id) or seq
end

--- From now on everything of the job is told, first how it stands.
function methods.watch(caller, name, seq, id)
  local pool, book = named.own(name), book_of(caller)
  if not pool then
    return news(book, name, seq, "unknown", message.encode_error(gone(name)))
  end
  local real = real_seq(pool, seq, id)
  local found = pool:describe(real)
  if found and found.state ~= "ended" then
    news(book, name, seq, "state", message.encode { found.state, found.last_progress }, found.attempt)
  end
  if not watch(book, pool, real, seq) then
    news(book, name, seq, "unknown", message.encode_error(E.new("unknown", "the job is not remembered any more")))
  end
end

function methods.unwatch(caller, name, seq)
  local book = books[caller.number]
  if book then
    unwatch(book, name .. "\n" .. seq)
  end
end

function methods.abort(caller, name, seq, id)
  local pool = named.own(name)
  if pool then
    methods.watch(caller, name, seq, id)
    pool:abort(real_seq(pool, seq, id))
  end
end

local LARGE = 60 * 1024 * 1024

local function look_up(pool, id)
  local seq = pool:seq_of(id)
  local found = seq and pool:describe(seq) or nil
  if found and #(found.data or "") + #(found.result or "") > LARGE then
    found.data = nil -- together they would not pass
  end
  return found
end

-- The number of an id that was made of one, though there may be no such job (yet).
local function is_recent(pool, id)
  local tag, digits = id:match("^(%w+)%-(%w+)$")
  local seq = tag == pool.tag and tonumber(digits, 36)
  local last = named.last_seq()
  return seq and seq <= last and seq > last - RECENT
end

function methods.get(_, name, id)
  local pool = named.own(name)
  if not pool then
    return nil, gone(name)
  end
  local found = look_up(pool, id)
  if not found and is_recent(pool, id) then
    -- Whoever enqueued it may have told of it sooner than its channel was read.
    require("brood.task").run(nil, "pool:get", function(done)
      timer.after(BEHIND, done)
    end)
    found = look_up(pool, id)
  end
  return found
end

function methods.stats(_, name)
  local pool = named.own(name)
  if not pool then
    return nil, gone(name)
  end
  return pool:stats()
end

function methods.listen(caller, name, event)
  local pool, book = named.own(name), book_of(caller)
  local key = name .. "\n" .. event
  if pool and not book.listened[key] then
    local fn = listener(book, pool, event)
    book.listened[key] = { pool = pool, event = event, fn = fn }
    pool:on(event, fn)
  end
end

function methods.unlisten(caller, name, event)
  local book = books[caller.number]
  local key = name .. "\n" .. event
  local listened = book and book.listened[key]
  if listened then
    book.listened[key] = nil
    listened.pool:off(listened.event, listened.fn)
  end
end

-- A process that has asked for something has ended: its jobs go on.
local function forget(caller)
  local book = books[caller.number]
  if not book then
    return
  end
  books[caller.number] = nil
  local keys = {}
  for key in pairs(book.watched) do
    keys[#keys + 1] = key
  end
  for _, key in ipairs(keys) do
    unwatch(book, key)
  end
  for _, listened in pairs(book.listened) do
    listened.pool:off(listened.event, listened.fn)
  end
end

--- From now on other processes are answered.
function M.open()
  remote.room(ROOM, { methods = methods, gone = forget })
end

return M
