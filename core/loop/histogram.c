/*
 * histogram.c - counting durations in buckets; it measures nothing itself.
 */
#include "loop/histogram.h"

#include <math.h>

#define LONGEST 1e9

/* The bucket whose upper bound, 2^(n/4) us, is the least one not below. */
static unsigned bucket_of(double us)
{
	int exponent;
	double part;
	unsigned n;

	if (!(us > 1))
		return 0;
	part = 2 * frexp(us, &exponent);
	n = 4 * (unsigned)(exponent - 1);
	n += (part > 1) + (part > 0x1.306fe0a31b715p+0) + (part > M_SQRT2) +
	     (part > 0x1.ae89f995ad3adp+0);
	return n < HISTOGRAM_BUCKETS ? n : HISTOGRAM_BUCKETS - 1;
}

void histogram_add(struct histogram *h, double seconds)
{
	if (!(seconds > 0))
		seconds = 0;
	if (seconds > LONGEST)
		seconds = LONGEST;
	h->count++;
	h->sum += seconds;
	if (seconds > h->max)
		h->max = seconds;
	h->bucket[bucket_of(seconds * 1e6)]++;
}

double histogram_share(const struct histogram *h, double share)
{
	double bound = h->max, wanted = ceil(share * (double)h->count);
	uint64_t seen = 0;

	for (unsigned n = 0; n < HISTOGRAM_BUCKETS - 1; n++) {
		seen += h->bucket[n];
		if ((double)seen >= wanted) {
			bound = exp2(n / 4.0) / 1e6;
			break;
		}
	}
	return bound < h->max ? bound : h->max;
}
