/*
 * job_index.h - from a sequence number to its job. It grows and shrinks a few slots at a time, so
 * that no call takes long.
 */
#ifndef LOOP_JOB_INDEX_H
#define LOOP_JOB_INDEX_H

#include "loop/job.h"

struct job_index {
	uint64_t *slots;
	unsigned bits; /* there are 2^bits */
	size_t used;   /* slots that are not empty: jobs, and graves that a search passes over */
	size_t jobs;   /* in both tables */
	uint64_t *old; /* what is being moved over, or NULL */
	unsigned old_bits;
	size_t moved; /* slots of it that were */
};

struct job *index_find(const struct job_index *ix, uint64_t seq);
/* It must not be there yet. 0 or -ENOMEM. */
int index_add(struct job_index *ix, struct job *job);
/* It must be there. */
void index_remove(struct job_index *ix, const struct job *job);
size_t index_mapped(const struct job_index *ix);
void index_clear(struct job_index *ix);

#endif
