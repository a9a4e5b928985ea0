--- Work that takes longer than a request: it is enqueued, and followed from wherever the next request arrives.
---   GET    /                  a page with a button and a bar
---   POST   /jobs              {"below": 3000000} -> 202 and the job's id; 503 when 100 wait already
---   GET    /jobs/ID           its state, progress and result
---   GET    /jobs/ID/events    server-sent events: progress, then success, failure or abort
---   DELETE /jobs/ID           abort
local brood = require "brood"
local json = require "brood.json"

local MOST = 20000000
local BACKLOG = 100 -- as max_backlog of the config

local function answer(res, status, value)
  res:status(status):header("content-type", "application/json"):finish(json.encode(value) .. "\n")
end

local function describe(job)
  local err = job.err
  return {
    id = job.id, state = job.state, attempt = job.attempt, progress = job.last_progress, result = job.result,
    error = err and { message = err.message, code = err.code } or nil,
  }
end

local function create(req, res)
  local body = req:body()
  local data = body and json.decode(body)
  local below = type(data) == "table" and tonumber(data.below)
  if not below or below < 3 or below > MOST or below % 1 ~= 0 then
    return answer(res, 422, { error = ("below must be a whole number from 3 to %d"):format(MOST) })
  end
  -- An enqueue does not wait: that there is no room it would tell by the job's end. So that is asked before; what
  -- comes between the two ends as a job that has failed, with the code "backlog".
  local pool = brood.pool "primes"
  local stats = pool:stats()
  if not stats or stats.backlog >= BACKLOG then
    res:header("retry-after", "10")
    return answer(res, 503, { error = "too many jobs wait already" })
  end
  local job = pool:enqueue { below = below }
  res:header("location", "/jobs/" .. job.id)
  return answer(res, 202, { id = job.id })
end

-- The events of a job, for whoever asks. Two workers serve, and any of them may be asked.
local function events(req, res, job)
  res:header("content-type", "text/event-stream"):header("cache-control", "no-store")
  res:write("retry: 1000\n\n")
  local function tell(event, data)
    -- With a callback nobody waits for a client that does not read.
    res:write(("event: %s\ndata: %s\n\n"):format(event, json.encode(data)), function() end)
  end
  local listeners = {}
  -- A worker that is told to go waits for its requests: the browser connects again, to another one, and goes on.
  local leave
  local function stop()
    for event, fn in pairs(listeners) do
      job:off(event, fn)
    end
    listeners = {}
    brood.worker:off("stopping", leave)
  end
  function leave()
    stop()
    res:finish()
  end
  local function last(event, data)
    stop()
    tell(event, data)
    res:finish()
  end
  local function failed(err)
    last("failure", { message = err.message, code = err.code })
  end
  local function aborted()
    last("abort", { message = "aborted" })
  end
  if job.state == "ended" then
    local err = job.err
    if not err then
      return last("success", job.result)
    end
    return (err.code == "abort" and aborted or failed)(err)
  end
  if job.last_progress then
    tell("progress", job.last_progress)
  end
  listeners = {
    progress = function(share) tell("progress", share) end,
    retry = function(err) tell("retry", { message = err.message }) end,
    success = function(result) last("success", result) end,
    failure = failed,
    abort = aborted,
  }
  for event, fn in pairs(listeners) do
    job:on(event, fn)
  end
  req:on("close", stop)
  brood.worker:on("stopping", leave)
end

local PAGE = [[
<!doctype html><title>web-and-jobs</title>
<button onclick="start()">count primes</button> <progress max="1" value="0"></progress> <output></output>
<script>
async function start() {
  const [bar, out] = [document.querySelector('progress'), document.querySelector('output')]
  const { id } = await (await fetch('/jobs', { method: 'POST', body: '{"below": 8000000}' })).json()
  const events = new EventSource(`/jobs/${id}/events`)
  events.addEventListener('progress', e => { bar.value = e.data })
  for (const end of ['success', 'failure', 'abort'])
    events.addEventListener(end, e => { events.close(); bar.value = 1; out.textContent = e.data })
}
</script>
]]

return function(req, res)
  if req.path == "/" then
    return res:header("content-type", "text/html"):finish(PAGE)
  elseif req.path == "/jobs" and req.method == "POST" then
    return create(req, res)
  end
  local id, what = req.path:match("^/jobs/([^/]+)(.*)$")
  local job = id and brood.pool("primes"):get(id)
  if not job or what ~= "" and what ~= "/events" then
    return answer(res, 404, { error = "no such job (any more)" })
  elseif what == "/events" then
    return events(req, res, job)
  elseif req.method == "DELETE" then
    job:abort()
    return answer(res, 202, { id = id })
  end
  return answer(res, 200, describe(job))
end
