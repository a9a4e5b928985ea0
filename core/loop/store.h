/*
 * store.h - the jobs of a pool that have not ended: those that wait, in order, and those that were
 * given to a worker, until their end is known. What becomes of a job is decided elsewhere; no clock
 * is read here, each call is told the time (in seconds, of the monotonic clock).
 *
 * Nothing of it is in the child of a fork but the lanes' slots: there no function here may be
 * called, not even to free it.
 */
#ifndef LOOP_STORE_H
#define LOOP_STORE_H

#include <stdbool.h>

#include "loop/arena.h"
#include "loop/buffer.h"
#include "loop/histogram.h"
#include "loop/job.h"
#include "loop/job_delays.h"
#include "loop/job_index.h"
#include "loop/job_levels.h"
#include "loop/job_slot.h"

struct lane;

struct store {
	struct arena arena;
	struct job_index index;
	struct job_levels levels;
	struct job_delays delays;
	struct job_slots slots;
	struct lane **lanes; /* by their slots' numbers; lane.h */
	size_t lanes_room;
	struct buffer frame; /* where they put one together */
	uint64_t orders;
	size_t waiting, delayed, assigned;
	uint64_t bytes; /* of data */
	uint64_t late;
	struct histogram waited, ran;
};

struct job_new {
	uint64_t seq;
	const char *data;
	size_t size;
	double priority; /* a number */
	double due;      /* 0: at once */
	double timeout;
	int32_t retries;
	uint32_t client;
	double now;
};

int store_create(struct store **out);
/* With its lanes; NULL is legal. */
void store_free(struct store *s);

/* Its data is copied. 0, -EEXIST, -EMSGSIZE or -ENOMEM; after these all is as before. */
int store_push(struct store *s, const struct job_new *new);
/* What is due waits from now on. Whether another is still delayed, and until when. */
bool store_due(struct store *s, double now, double *next);
/* NULL where it is not, or ended. */
struct job *store_find(const struct store *s, uint64_t seq);
/* It ended: in whatever state it is, it is gone. */
void store_remove(struct store *s, struct job *job);
/*
 * A held job waits again: behind its equals, or once it is due (not 0). It does not fail: without
 * memory for the delay there is none.
 */
void store_requeue(struct store *s, struct job *job, double due, unsigned attempt, double now);
/* The first n that are waiting or else delayed, in order: how many there were, or -ENOMEM. */
long store_list(struct store *s, struct job **list, size_t n);
/* Bytes that it has mapped. */
size_t store_mapped(const struct store *s);

/* ---- for lanes ---- */

/* A given job waits again, before its equals. */
void store_put_back(struct store *s, struct job *job);
/* It is in no list and counts as assigned. */
void store_hold(struct job *job);
/* A job that was removed meanwhile is forgotten altogether. */
void store_drop(struct store *s, struct job *ghost);

#endif
