/*
 * job_delays.c - a heap of four, in which each job knows its place. It reads no clock.
 */
#include "loop/job_delays.h"

#include <errno.h>
#include <stdlib.h>

#include "loop/arena.h"

#define ROOM_MIN 256 /* one page */

static bool is_before(const struct job_delay *a, const struct job_delay *b)
{
	return a->due != b->due ? a->due < b->due : a->job->seq < b->job->seq;
}

static void put(struct job_delays *d, size_t place, struct job_delay entry)
{
	d->heap[place] = entry;
	if (!d->copy)
		entry.job->place = place;
}

static void rise(struct job_delays *d, size_t place, struct job_delay entry)
{
	while (place > 0) {
		size_t above = (place - 1) / 4;

		if (!is_before(&entry, &d->heap[above]))
			break;
		put(d, place, d->heap[above]);
		place = above;
	}
	put(d, place, entry);
}

static void sink(struct job_delays *d, size_t place, struct job_delay entry)
{
	for (;;) {
		size_t below = 4 * place + 1, end = below + 4, least = below;

		if (below >= d->count)
			break;
		if (end > d->count)
			end = d->count;
		for (size_t i = below + 1; i < end; i++)
			if (is_before(&d->heap[i], &d->heap[least]))
				least = i;
		if (!is_before(&d->heap[least], &entry))
			break;
		put(d, place, d->heap[least]);
		place = least;
	}
	put(d, place, entry);
}

static int resize(struct job_delays *d, size_t room)
{
	struct job_delay *heap =
		d->heap ? arena_pages_resize(d->heap, d->room * sizeof(*heap), room * sizeof(*heap))
			: arena_pages(room * sizeof(*heap));

	if (!heap)
		return -ENOMEM;
	d->heap = heap;
	d->room = room;
	return 0;
}

int delays_add(struct job_delays *d, struct job *job)
{
	struct job_delay entry = { job->due, job };

	if (d->count == d->room && resize(d, d->room ? 2 * d->room : ROOM_MIN))
		return -ENOMEM;
	rise(d, d->count++, entry);
	return 0;
}

void delays_remove(struct job_delays *d, const struct job *job)
{
	size_t place = job->place;
	struct job_delay last = d->heap[--d->count];

	if (place < d->count) {
		if (is_before(&last, &d->heap[place]))
			rise(d, place, last);
		else
			sink(d, place, last);
	}
	if (d->room > ROOM_MIN && d->count < d->room / 4)
		(void)resize(d, d->room / 2);
}

struct job *delays_first(const struct job_delays *d)
{
	return d->count ? d->heap[0].job : NULL;
}

/* The next of all is always right below one of those that were: these are in a heap of their own.
 */
long delays_list(const struct job_delays *d, struct job **list, size_t n)
{
	struct job_delays edge = { .copy = true };
	size_t found = 0;

	if (n > d->count)
		n = d->count;
	if (n == 0)
		return 0;
	edge.heap = calloc(3 * n + 4, sizeof(*edge.heap));
	if (!edge.heap)
		return -ENOMEM;
	rise(&edge, edge.count++, d->heap[0]);
	while (found < n && edge.count > 0) {
		struct job *job = edge.heap[0].job;
		size_t below = 4 * job->place + 1;

		list[found++] = job;
		if (--edge.count > 0)
			sink(&edge, 0, edge.heap[edge.count]);
		for (size_t i = below; i < below + 4 && i < d->count; i++)
			rise(&edge, edge.count++, d->heap[i]);
	}
	free(edge.heap);
	return (long)found;
}

size_t delays_mapped(const struct job_delays *d)
{
	return d->room * sizeof(*d->heap);
}

void delays_clear(struct job_delays *d)
{
	if (d->heap)
		arena_pages_free(d->heap, d->room * sizeof(*d->heap));
	*d = (struct job_delays){ 0 };
}
