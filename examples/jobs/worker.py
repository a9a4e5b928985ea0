"""The same worker in Python: a job is a line of JSON on stdin, what there is to say a line on stdout.
stdout belongs to that; whatever else a worker wants to tell goes to stderr."""
import json
import math
import sys


def count_primes(below, progress):
    found, sieve, step = 0, bytearray(below), math.ceil(below / 20)
    for n in range(2, below):
        if not sieve[n]:
            found += 1
            sieve[n * n::n] = b"\1" * len(range(n * n, below, n))
        if n % step == 0:
            progress(n / below)
    return found


for line in sys.stdin:  # ends with the pool, or once this worker has had its number of jobs
    job = json.loads(line)

    def say(job=job["job"], **what):
        print(json.dumps({"job": job, **what}), flush=True)

    try:
        data = job["data"]
        if job["attempt"] <= data.get("fail", 0):
            raise RuntimeError("a bad day, attempt %d" % job["attempt"])
        say(success=count_primes(data["below"], lambda share: say(progress=share)))
    except Exception as err:
        say(failure={"message": str(err), "code": type(err).__name__})
