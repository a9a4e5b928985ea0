--- When a program begins to listen: on its socket, which is seen without connecting, since some programs take a
--- connection for a request; or on its port. It waits, and starts nothing.
local clock = require "brood.clock"
local timer = require "brood.timer"
local unix_listeners = require "brood.unix_listeners"
local uv = require "luv"

local M = {}

local SOONEST, LATEST, SHARE = 0.001, 0.1, 0.01 -- seconds between two looks: a hundredth of what it has taken so far
local UNSEEN = 0.25 -- seconds for which a socket is there that nobody seems to listen on: then it is tried
local CONNECT = 1 -- seconds a connection may take

-- Look again and again, less and less often, until look(found, self) finds it.
local function poll(look, done)
  local self = { began = clock.now() }
  local again
  local function wait(pause)
    self.timer = timer.after(pause, again)
  end
  function again()
    self.timer = nil
    look(function(found)
      if self.stopped then
        return
      elseif found then
        self.stop()
        return done(found)
      end
      wait(self.watched and LATEST or math.max(SOONEST, math.min(LATEST, (clock.now() - self.began) * SHARE)))
    end, self)
  end
  function self.stop()
    self.stopped = true
    if self.timer then
      self.timer:cancel()
    end
  end
  -- Somebody knows that it is worth a look.
  function self.hurry()
    self.watched, self.began = nil, clock.now()
    if self.timer then
      self.timer:cancel()
      again()
    end
  end
  wait(SOONEST)
  return self
end

local function connects(handle, begin, found)
  local over, limit = false, nil
  local function finish(err)
    if not over then
      over = true
      limit:cancel()
      handle:close()
      found(not err)
    end
  end
  limit = timer.after(CONNECT, function()
    finish "ETIMEDOUT"
  end)
  local ok, why = begin(finish)
  if not ok then
    finish(why)
  end
end

-- ---- Unix sockets ----

-- A program in a network namespace of its own is in another list.
local function look_at_socket(path)
  local seen
  return function(found)
    local stat = uv.fs_stat(path)
    if not stat or stat.type ~= "socket" then
      return found(false)
    elseif unix_listeners.listens(path) then
      return found(true)
    end
    seen = seen or clock.now()
    if clock.now() - seen < UNSEEN then
      return found(false)
    end
    local pipe = uv.new_pipe(false)
    connects(pipe, function(finish)
      return pipe:connect(path, finish)
    end, found)
  end
end

--- Wait until somebody listens on a socket that is not there yet.
---@param place brood.BackendPlace
---@param done fun()
---@return fun() cancel
function M.await_socket(place, done)
  local watch = uv.new_fs_event()
  local looking
  local function stop()
    looking.stop()
    if not watch:is_closing() then
      watch:close()
    end
  end
  looking = poll(look_at_socket(place.path), function()
    stop()
    done()
  end)
  -- It fails where the machine has no watches left: then it is looked for often.
  looking.watched = watch:start(place.dir, {}, function(_, name)
    if name == place.name and not looking.stopped then
      looking.hurry()
    end
  end) ~= nil
  return stop
end

-- ---- ports ----

--- Whether a connection is taken there now. found(boolean).
---@param host string
---@param port integer
---@param found fun(there: boolean)
function M.answers(host, port, found)
  local tcp = uv.new_tcp()
  connects(tcp, function(finish)
    return tcp:connect(host, port, finish)
  end, found)
end

--- Wait until somebody listens on a port of this machine, by either family.
---@param port integer
---@param done fun(host: string)
---@return fun() cancel
function M.await_port(port, done)
  local looking = poll(function(found)
    M.answers("127.0.0.1", port, function(there)
      if there then
        return found "127.0.0.1"
      end
      M.answers("::1", port, function(there_by_now)
        if not there_by_now then
          return found(false)
        end
        -- It may have begun in between, with both.
        M.answers("127.0.0.1", port, function(both)
          found(both and "127.0.0.1" or "::1")
        end)
      end)
    end)
  end, done)
  return looking.stop
end

return M
