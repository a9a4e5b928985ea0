"""jobs_pool.py throughput|latency JOBS: the same jobs through Python's multiprocessing.Pool of two workers."""
import sys
import time
from multiprocessing import Pool

PAD = "x" * 40


def work(data):
    return data[0] + 1


def latency(pool, jobs):
    took = []
    for i in range(jobs):
        began = time.perf_counter()
        pool.apply(work, ((i, PAD),))
        took.append((time.perf_counter() - began) * 1e6)
    took.sort()
    print("%.2f %.2f" % (took[jobs // 2], took[jobs * 99 // 100]))


def throughput(pool, jobs):
    began = time.perf_counter()
    wrong = sum(result != i + 1 for i, result in enumerate(pool.imap(work, ((i, PAD) for i in range(jobs)), 1)))
    if wrong:
        sys.exit("%d wrong results" % wrong)
    print("%.0f" % (jobs / (time.perf_counter() - began)))


if __name__ == "__main__":
    with Pool(2) as pool:
        for i in range(200):
            pool.apply(work, ((i, PAD),))
        {"latency": latency, "throughput": throughput}[sys.argv[1]](pool, int(sys.argv[2]))
