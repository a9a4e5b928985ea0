--- Answers and requests that are larger or longer than one would hold in memory.
---   GET  /events          server-sent events, until the client leaves or the worker is told to stop
---   GET  /download?mb=N   N megabytes, no faster than the client takes them
---   POST /upload          counts what comes, chunk by chunk
local brood = require "brood"

local ZEROS = ("\0"):rep(64 * 1024)

-- Every stream that is open: what happens is told to all of them.
local streams = {}

local function send_all(event, data)
  for res in pairs(streams) do
    -- A client that does not read must not hold up the others: with a callback, nobody waits for it.
    res:write(("event: %s\ndata: %s\n\n"):format(event, data), function(err)
      if err then
        streams[res] = nil
      end
    end)
  end
end

local function events(req, res)
  res:header("Content-Type", "text/event-stream"):header("Cache-Control", "no-store")
  res:write("retry: 1000\n\n") -- the head goes out with it
  streams[res] = true
  req:on("close", function()
    streams[res] = nil
    brood.log("a listener has left")
  end)
end

local function download(req, res)
  local megabytes = tonumber(req:args().mb) or 100
  res:header("Content-Type", "application/octet-stream"):header("Content-Length", megabytes * 2 ^ 20)
  for _ = 1, megabytes * 16 do
    -- Waits while the client is slow, so that hardly more than a chunk is ever held for it.
    local ok, err = res:write(ZEROS)
    if not ok then
      return brood.log("the download was broken off: " .. err)
    end
  end
  res:finish()
end

local function upload(req, res)
  local bytes, chunks = 0, 0
  while true do
    local chunk, err = req:read() -- nil at the end; while we do not read, the client does not send
    if not chunk then
      if err then
        return brood.log("the upload was broken off: " .. err)
      end
      break
    end
    bytes, chunks = bytes + #chunk, chunks + 1
  end
  res:finish(("%d bytes in %d chunks\n"):format(bytes, chunks))
end

local routes = { ["GET /events"] = events, ["GET /download"] = download, ["POST /upload"] = upload }

-- A beat each second, from a task of its own, for as long as the worker serves.
local function beat()
  local n = 0
  while true do
    n = n + 1
    send_all("tick", n)
    brood.sleep(1)
  end
end

return {
  server = require("brood.http").server(function(req, res)
    local route = routes[req.method .. " " .. req.path]
    if not route then
      return res:status(404):finish("not here\n")
    end
    return route(req, res)
  end, { max_body = false }),

  start = function(worker)
    brood.async(beat)
    -- A worker that is told to go waits for its requests: whoever has an endless one ends it now.
    worker:on("stopping", function()
      for res in pairs(streams) do
        res:finish("event: bye\ndata: the server stops\n\n")
      end
      streams = {}
    end)
  end,
}
