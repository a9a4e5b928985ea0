/*
 * store.c - where each job is, and its way from one place to the next. It does not know what a
 * worker is, nor what it says: that is lane.c's.
 */
#include "loop/store.h"

#include <stdlib.h>

#include "loop/job_wire.h"
#include "loop/lane.h"

/* A ghost of more than this gives its data back. */
#define GHOST_MAX 256

int store_create(struct store **out)
{
	struct store *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	arena_init(&s->arena);
	levels_init(&s->levels, &s->arena);
	*out = s;
	return 0;
}

void store_free(struct store *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->lanes_room; i++)
		free(s->lanes[i]);
	free(s->lanes);
	buffer_free(&s->frame);
	slots_clear(&s->slots);
	delays_clear(&s->delays);
	index_clear(&s->index);
	arena_clear(&s->arena);
	free(s);
}

static void free_job(struct store *s, struct job *job)
{
	arena_put(&s->arena, job, JOB_BYTES(job->size));
}

/* ---- in and out of the places ---- */

static int enqueue(struct store *s, struct job *job, double due, double now)
{
	int err;

	if (due != 0) {
		job->due = job->since = due;
		err = delays_add(&s->delays, job);
		if (err)
			return err;
		job->state = JOB_DELAYED;
		s->delayed++;
		return 0;
	}
	err = levels_add(&s->levels, job);
	if (err)
		return err;
	job->order = ++s->orders;
	job->since = now;
	job->state = JOB_WAITING;
	s->waiting++;
	return 0;
}

static void dequeue(struct store *s, struct job *job)
{
	if (job->state == JOB_DELAYED) {
		delays_remove(&s->delays, job);
		s->delayed--;
	} else {
		levels_remove(&s->levels, job);
		s->waiting--;
	}
}

int store_push(struct store *s, const struct job_new *new)
{
	struct job *job;
	int err;

	if (new->size > WIRE_PAYLOAD_MAX)
		return -EMSGSIZE;
	if (store_find(s, new->seq))
		return -EEXIST;
	job = arena_get(&s->arena, JOB_BYTES(new->size));
	if (!job)
		return -ENOMEM;
	job->seq = new->seq;
	job->priority = new->priority;
	job->timeout = new->timeout;
	job->retries = new->retries;
	job->client = new->client;
	job->size = (uint32_t) new->size;
	job->ticket = 0;
	job->lane = 0;
	job->attempt = 1;
	memcpy(job->data, new->data, new->size);
	err = index_add(&s->index, job);
	if (err)
		goto fail;
	err = enqueue(s, job, new->due, new->now);
	if (err) {
		index_remove(&s->index, job);
		goto fail;
	}
	s->bytes += job->size;
	return 0;
fail:
	free_job(s, job);
	return err;
}

bool store_due(struct store *s, double now, double *next)
{
	struct job *job;

	while ((job = delays_first(&s->delays)) && job->due <= now) {
		delays_remove(&s->delays, job);
		s->delayed--;
		job->order = ++s->orders;
		if (levels_add(&s->levels, job))
			levels_return(&s->levels, job);
		job->state = JOB_WAITING;
		s->waiting++;
	}
	if (job)
		*next = job->due;
	return job != NULL;
}

struct job *store_find(const struct store *s, uint64_t seq)
{
	return index_find(&s->index, seq);
}

/* The lane still counts it; its data is not needed for that. */
static void make_ghost(struct store *s, struct job *job)
{
	struct lane *lane = s->lanes[job->lane];
	struct job *head = NULL;

	if (JOB_BYTES(job->size) > GHOST_MAX)
		head = arena_get(&s->arena, JOB_BYTES(0));
	if (head) {
		memcpy(head, job, JOB_BYTES(0));
		head->size = 0;
		lane_replace(lane, job, head);
		free_job(s, job);
		job = head;
	}
	lane_haunt(lane, job);
}

void store_remove(struct store *s, struct job *job)
{
	index_remove(&s->index, job);
	s->bytes -= job->size;
	switch (job->state) {
	case JOB_WAITING:
	case JOB_DELAYED:
		dequeue(s, job);
		free_job(s, job);
		break;
	case JOB_GIVEN:
	case JOB_CLAIMED:
		s->assigned--;
		make_ghost(s, job);
		break;
	default: s->assigned--; free_job(s, job);
	}
}

void store_requeue(struct store *s, struct job *job, double due, unsigned attempt, double now)
{
	job->attempt = attempt;
	s->assigned--;
	if (enqueue(s, job, due, now) == 0)
		return;
	job->order = ++s->orders;
	job->since = now;
	job->state = JOB_WAITING;
	levels_return(&s->levels, job);
	s->waiting++;
}

long store_list(struct store *s, struct job **list, size_t n)
{
	struct job_cursor at;
	size_t found = 0;
	long more;

	for (struct job *job = levels_first(&s->levels, &at); job && found < n;
	     job = levels_next(&at))
		list[found++] = job;
	more = delays_list(&s->delays, list + found, n - found);
	return more < 0 ? more : (long)found + more;
}

size_t store_mapped(const struct store *s)
{
	return s->arena.mapped + index_mapped(&s->index) + delays_mapped(&s->delays);
}

/* ---- for lanes ---- */

void store_put_back(struct store *s, struct job *job)
{
	job->lane = 0;
	job->state = JOB_WAITING;
	levels_return(&s->levels, job);
	s->assigned--;
	s->waiting++;
}

void store_hold(struct job *job)
{
	job->lane = 0;
	job->state = JOB_HELD;
}

void store_drop(struct store *s, struct job *ghost)
{
	free_job(s, ghost);
}
