--- A worker in Lua: counts the primes below job.data.below, tells how far it is, and fails where it is told to.
return function(job)
  if job.data.fail and job.attempt <= job.data.fail then
    error("a bad day, attempt " .. job.attempt)
  end
  local below, found, sieve = job.data.below, 0, {}
  for n = 2, below - 1 do
    if not sieve[n] then
      found = found + 1
      for multiple = n * n, below - 1, n do
        sieve[multiple] = true
      end
    end
    if n % math.ceil(below / 20) == 0 then
      job:progress(n / below)
    end
  end
  return found
end
