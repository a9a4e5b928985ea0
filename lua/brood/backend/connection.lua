--- Plain connections to a backend's programs: each has its program until it is closed, or forgotten.
local crew = require "brood.backend.crew"
local net = require "brood.net"
local task = require "brood.task"
local timer = require "brood.timer"

local M = {}

local TRIES = 3 -- programs that one may meet which have just ended

-- One that nobody holds any more is closed by the collector; then its program is free as well.
local function when_forgotten(lease)
  local guard = newproxy(true)
  getmetatable(guard).__gc = function()
    if lease.program then
      timer.after(0, function()
        lease:release()
      end)
    end
  end
  return guard
end

local function exclusive(conn, lease)
  local close = conn.close
  conn.lease_guard = when_forgotten(lease)
  conn.close = function(self, cb)
    return task.run(cb, "conn:close", function(done)
      close(self, function(err)
        lease:release()
        done(err)
      end)
    end)
  end
  return conn
end

--- Connect to a program of a backend. done(err, conn).
---@param backend brood.Backend
---@param done fun(err: brood.Error?, conn: brood.Conn?)
function M.open(backend, done)
  local tries = 0
  local function try()
    tries = tries + 1
    crew.acquire(backend, function(err, lease)
      if err then
        return done(err)
      end
      net.begin_connect(lease.address, function(why, conn)
        if not why then
          return done(nil, exclusive(conn, lease))
        end
        lease:fail(function(ended)
          if tries < TRIES then
            return try()
          end
          done(ended or why)
        end)
      end)
    end, tries > 1)
  end
  try()
end

return M
