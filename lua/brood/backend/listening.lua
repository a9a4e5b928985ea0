--- When a program begins to listen: on its socket, which is seen without connecting, since some programs take a
--- connection for a request; or on its port. It waits, and starts nothing.
local clock = require "brood.clock"
local timer = require "brood.timer"
local unix_listeners = require "brood.unix_listeners"
local uv = require "luv"

local M = {}

local SOONEST, LATEST, SHARE = 0.001, 0.1, 0.01 -- seconds between two looks: a hundredth of what it has taken so far
local BRISK = 0.002 -- seconds for which each turn of the loop looks, where somebody knows that it comes now
local CONNECT = 1 -- seconds a connection may take

-- Look again and again, less and less often, until look(found, self) finds it.
local function poll(look, done)
  local self = { began = clock.now() }
  local again

  local function wait()
    local pause = self.watched and LATEST or math.max(SOONEST, math.min(LATEST, (clock.now() - self.began) * SHARE))
    self.timer = timer.after(pause, again)
  end

  local function rest()
    local brisk, waiting = self.brisk, self.timer
    self.brisk, self.timer = nil, nil
    if waiting then
      waiting:cancel()
    end
    if brisk and not brisk:is_closing() then
      brisk:close()
    end
  end

  function again()
    self.timer, self.looking = nil, true
    look(function(found)
      self.looking = false
      if self.stopped then
        return
      elseif found then
        self.stop()
        return done(found)
      elseif not self.brisk then
        wait()
      elseif clock.now() - self.began >= BRISK then
        rest()
        wait()
      end
    end, self)
  end

  function self.stop()
    self.stopped = true
    rest()
  end

  -- Somebody knows that it is worth a look. It comes with the next turn, and then with each.
  function self.hurry()
    if self.brisk or self.looking or self.stopped then
      return
    end
    rest()
    self.watched, self.began, self.brisk = nil, clock.now(), uv.new_idle()
    self.brisk:start(function()
      if not self.looking then
        again()
      end
    end)
  end

  wait()
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

local function look_at_socket(path)
  return unix_listeners.look(path, function(found)
    local pipe = uv.new_pipe(false)
    connects(pipe, function(finish)
      return pipe:connect(path, finish)
    end, found)
  end)
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
    if name == place.name then
      looking.hurry()
    end
  end) ~= nil
  if uv.fs_stat(place.path) then -- it was quicker than the watch
    looking.hurry()
  end
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
