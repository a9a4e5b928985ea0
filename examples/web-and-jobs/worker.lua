--- Counts primes, and tells how far it is. It blocks its process: that is what pool workers are for.
return function(job)
  local below, found, sieve = job.data.below, 0, {}
  for n = 2, below - 1 do
    if not sieve[n] then
      found = found + 1
      for multiple = n * n, below - 1, n do
        sieve[multiple] = true
      end
    end
    if n % math.ceil(below / 50) == 0 then
      job:progress(n / below)
    end
  end
  return { primes = found, below = below, pid = require("brood.posix").getpid() }
end
