// The same worker in node: a job is a line of JSON on stdin, what there is to say a line on stdout.
// console.log would write to stdout, which belongs to that; console.error is free.
const lines = require('readline').createInterface({ input: process.stdin })

function countPrimes(below, progress) {
  const sieve = new Uint8Array(below), step = Math.ceil(below / 20)
  let found = 0
  for (let n = 2; n < below; n++) {
    if (!sieve[n]) {
      found++
      for (let multiple = n * n; multiple < below; multiple += n) sieve[multiple] = 1
    }
    if (n % step === 0) progress(n / below)
  }
  return found
}

lines.on('line', line => { // the pool gives the next job once this one has its answer
  const { job, attempt, data } = JSON.parse(line)
  const say = what => process.stdout.write(JSON.stringify({ job, ...what }) + '\n')
  try {
    if (attempt <= (data.fail || 0)) throw new Error(`a bad day, attempt ${attempt}`)
    say({ success: countPrimes(data.below, share => say({ progress: share })) })
  } catch (err) {
    say({ failure: { message: err.message, code: err.name } })
  }
})
