/*
 * jobs_floor throughput|latency JOBS DEPTH - what a job pool of two workers costs at least: forked
 * processes on socket pairs, jobs and answers of 50 bytes, a number in and the next one out.
 * throughput: DEPTH jobs under way in each worker, prints jobs per second. latency: one job under
 * way in all, prints the median and the 99th percentile in microseconds.
 */
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { WORKERS = 2, SIZE = 50, MOST = 256 };

struct line {
	int fd;
	size_t have; /* bytes of in, the last job perhaps not whole */
	char in[MOST * SIZE];
};

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void write_all(int fd, const char *bytes, size_t n)
{
	while (n > 0) {
		ssize_t put = write(fd, bytes, n);

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			_exit(1);
		bytes += put;
		n -= (size_t)put;
	}
}

/* Read once; the number of whole jobs in `in`, 0 at the end. */
static size_t read_jobs(struct line *l)
{
	ssize_t got;

	do {
		got = read(l->fd, l->in + l->have, sizeof(l->in) - l->have);
		if (got <= 0)
			return 0;
		l->have += (size_t)got;
	} while (l->have < SIZE);
	return l->have / SIZE;
}

static void forget(struct line *l, size_t jobs)
{
	l->have -= jobs * SIZE;
	memmove(l->in, l->in + jobs * SIZE, l->have);
}

static void work(int fd)
{
	static struct line l;
	size_t n;

	l.fd = fd;
	while ((n = read_jobs(&l)) > 0) {
		for (size_t i = 0; i < n; i++) {
			int64_t value;

			memcpy(&value, l.in + i * SIZE, sizeof(value));
			value++;
			memcpy(l.in + i * SIZE, &value, sizeof(value));
		}
		write_all(fd, l.in, n * SIZE);
		forget(&l, n);
	}
	_exit(0);
}

static void start(struct line *lines)
{
	for (int i = 0; i < WORKERS; i++) {
		int pair[2];

		if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
			exit(1);
		if (fork() == 0) {
			for (int j = 0; j < i; j++)
				close(lines[j].fd);
			close(pair[0]);
			work(pair[1]);
		}
		close(pair[1]);
		lines[i].fd = pair[0];
	}
}

/* So many jobs to a worker in one write, numbered from *sent on. */
static void send_jobs(int fd, size_t n, int64_t *sent, int64_t jobs)
{
	static char out[MOST * SIZE];
	size_t i = 0;

	for (; i < n && *sent < jobs; i++, (*sent)++)
		memcpy(out + i * SIZE, sent, sizeof(*sent));
	write_all(fd, out, i * SIZE);
}

static double throughput(struct line *lines, int64_t jobs, size_t depth)
{
	struct pollfd polled[WORKERS];
	int64_t sent = 0, done = 0;
	double began = now();

	for (int i = 0; i < WORKERS; i++) {
		polled[i] = (struct pollfd){ .fd = lines[i].fd, .events = POLLIN };
		send_jobs(lines[i].fd, depth, &sent, jobs);
	}
	while (done < jobs) {
		if (poll(polled, WORKERS, -1) < 0)
			exit(1);
		for (int i = 0; i < WORKERS; i++) {
			size_t n;

			if (!polled[i].revents)
				continue;
			n = read_jobs(&lines[i]);
			if (n == 0)
				exit(1);
			forget(&lines[i], n);
			done += (int64_t)n;
			send_jobs(lines[i].fd, n, &sent, jobs);
		}
	}
	return (double)jobs / (now() - began);
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void latency(struct line *lines, int64_t jobs)
{
	double *took = malloc((size_t)jobs * sizeof(*took));
	int64_t sent = 0;

	if (!took)
		exit(1);
	for (int64_t i = 0; i < jobs; i++) {
		struct line *l = &lines[i % WORKERS];
		double began = now();

		send_jobs(l->fd, 1, &sent, jobs);
		forget(l, read_jobs(l));
		took[i] = (now() - began) * 1e6;
	}
	qsort(took, (size_t)jobs, sizeof(*took), by_size);
	printf("%.2f %.2f\n", took[jobs / 2], took[jobs * 99 / 100]);
	free(took);
}

int main(int argc, char **argv)
{
	static struct line lines[WORKERS];
	int64_t jobs = argc == 4 ? atoll(argv[2]) : 0;
	size_t depth = argc == 4 ? (size_t)atoll(argv[3]) : 0;

	if (jobs < 1 || depth < 1 || depth > MOST)
		return 2;
	start(lines);
	if (!strcmp(argv[1], "latency"))
		latency(lines, jobs);
	else
		printf("%.0f\n", throughput(lines, jobs, depth));
	return 0;
}
