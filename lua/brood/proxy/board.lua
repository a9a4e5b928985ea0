--- What the workers of a proxy and their master know together of its targets, in shared memory: whether one can be
--- asked and where (a version, 0 for one that cannot), how many requests each worker has open there, and when it had
--- the last one. The master alone writes versions, each worker its own column: so a request for a target that is ready
--- needs no message, and who was killed does not count. A worker counts first and then looks at the version, the master
--- withdraws the version and then looks at the counts: none is stopped with a request on its way. It starts and stops
--- nothing.
local core = require "brood.core"
local uv = require "luv"

local M = {}

local TARGETS = 256 -- of one part; there are as many parts as it takes
local COLUMNS = 1024 -- workers that are alive at a time; one beyond them serves all the same, uncounted
local CELLS = 3 -- numbers of a worker for a target: open requests of even and odd versions, when the last one ended
local LAST = 2 -- behind the counts

---@class brood.BoardPlace what is known of one target
---@field name string
---@field part userdata
---@field number integer in its part
---@field version integer in the master: the last one; in a worker: whose address it knows
---@field address? string in the master: where it can be asked
---@field way any in a worker: what it keeps with that address
---@field here table<integer, integer> in a worker: its open requests, of even (0) and odd (1) versions
local Place = {}
Place.__index = Place

---@type table<string, brood.BoardPlace>
local places = {}
local parts, used = {}, TARGETS
local columns = { free = {}, last = 0, taken = {} } -- in the master
local mine -- in a worker: its column

--- The place of a target, which it keeps as long as the master lives. Before the workers that ask for it are forked.
---@param name string
---@return brood.BoardPlace? place, brood.Error? err
function M.place(name)
  local found = places[name]
  if found then
    return found
  end
  if used == TARGETS then
    local part, err = core.tally.create(TARGETS * (1 + CELLS * COLUMNS))
    if not part then
      return nil, err
    end
    parts[#parts + 1], used = part, 0
  end
  used = used + 1
  found = setmetatable({ name = name, part = parts[#parts], number = used, version = 0, here = { [0] = 0, 0 } }, Place)
  places[name] = found
  return found
end

-- Where a worker's numbers for the target begin.
local function cell(self, column)
  return TARGETS * (1 + CELLS * (column - 1)) + CELLS * (self.number - 1) + 1
end

-- ---- in the master --------------------------------------------------------------------------------------------------

--- From now on it can be asked there; nil: it cannot. Returns the version.
---@param address string?
---@return integer
function Place:publish(address)
  if address ~= self.address then
    self.address = address
    self.version = self.version + (address and 1 or 0)
    self.part:set(self.number, address and self.version or 0)
  end
  return self.version
end

--- How many requests all workers have open there, and when the last one ended.
---@param version? integer only those that began with it, or with one that differs from it by an even number
---@return integer open, number at seconds of the monotonic clock; 0: none has
function Place:use(version)
  local open, at = 0, 0
  for column in pairs(columns.taken) do
    local i = cell(self, column)
    for parity = 0, 1 do
      open = open + ((not version or version % 2 == parity) and self.part:get(i + parity) or 0)
    end
    at = math.max(at, self.part:get(i + LAST))
  end
  return open, math.max(at, self.last_of_gone or 0) / 1000
end

--- A column for a worker; nil where there are none left.
---@return integer?
function M.claim()
  local column = table.remove(columns.free)
  if not column and columns.last < COLUMNS then
    columns.last = columns.last + 1
    column = columns.last
  end
  if column then
    columns.taken[column] = true
  end
  return column
end

--- The worker has ended: so have its requests.
---@param column integer
function M.free(column)
  if not columns.taken[column] then
    return
  end
  uv.update_time()
  for _, place in pairs(places) do
    local i, part = cell(place, column), place.part
    local last = part:get(i) + part:get(i + 1) > 0 and uv.now() or part:get(i + LAST)
    place.last_of_gone = math.max(place.last_of_gone or 0, last)
    for k = 0, LAST do
      if part:get(i + k) ~= 0 then
        part:set(i + k, 0)
      end
    end
  end
  columns.taken[column] = nil
  table.insert(columns.free, column)
end

-- ---- in a worker ----------------------------------------------------------------------------------------------------

--- This process writes there.
---@param column integer?
function M.attach(column)
  mine = column
end

--- What the master has said of it. `way` is kept with the address.
---@param version integer
---@param way any
function Place:learn(version, way)
  self.version, self.way = version, way
end

local function count(self, parity, n)
  self.here[parity] = self.here[parity] + n
  if mine then
    self.part:set(cell(self, mine) + parity, self.here[parity])
  end
end

--- A request begins, if the target can be asked where this process knows it: it is open until `leave` with that
--- version. nil: the master has to be asked.
---@return integer? version, any way as it was learned
function Place:enter()
  local version = self.version
  if not self.way then
    return nil
  end
  count(self, version % 2, 1)
  if self.part:get(self.number) ~= version then
    count(self, version % 2, -1)
    return nil
  end
  return version, self.way
end

--- It is over.
---@param version integer
function Place:leave(version)
  if mine then
    self.part:set(cell(self, mine) + LAST, uv.now())
  end
  count(self, version % 2, -1)
end

return M
