/*
 * histogram.h - how long things took, in a fixed small memory: buckets whose upper bounds are
 * quarter powers of two, from a microsecond to twelve days.
 */
#ifndef LOOP_HISTOGRAM_H
#define LOOP_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_BUCKETS 161

struct histogram {
	uint64_t count;
	double sum, max; /* seconds */
	uint64_t bucket[HISTOGRAM_BUCKETS];
};

/* Less than nothing counts as nothing: clocks of two processes were read. */
void histogram_add(struct histogram *h, double seconds);
/*
 * The bound below which (or on which) that share of all lies, 0 < share <= 1: at most 19 % above
 * the true one, and never above the largest. 0 without any.
 */
double histogram_share(const struct histogram *h, double share);

#endif
