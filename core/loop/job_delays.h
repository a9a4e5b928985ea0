/*
 * job_delays.h - the delayed jobs, by when they are due; those due at once by their numbers.
 */
#ifndef LOOP_JOB_DELAYS_H
#define LOOP_JOB_DELAYS_H

#include <stdbool.h>

#include "loop/job.h"

struct job_delay {
	double due;
	struct job *job;
};

struct job_delays {
	struct job_delay *heap; /* each before the four behind it */
	size_t count, room;
	bool copy; /* the jobs' places are those in another heap */
};

/* By job->due. 0 or -ENOMEM. */
int delays_add(struct job_delays *d, struct job *job);
void delays_remove(struct job_delays *d, const struct job *job);
/* The one due first, or NULL. */
struct job *delays_first(const struct job_delays *d);
/* The first n of them in order: how many there were, or -ENOMEM. */
long delays_list(const struct job_delays *d, struct job **list, size_t n);
size_t delays_mapped(const struct job_delays *d);
void delays_clear(struct job_delays *d);

#endif
