/*
 * deadline.h - many timeouts on one timer.
 *
 * Every list has one duration, so that whoever starts last expires last: start
 * and stop are O(1) and touch no timer. The timer is armed for the earliest
 * deadline there is, and not at all while there is none.
 */
#ifndef LOOP_DEADLINE_H
#define LOOP_DEADLINE_H

#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

#define DEADLINE_LISTS 8

struct deadline {
	struct deadline *next, *prev;
	uint64_t at;
};

/* Called with the deadline already stopped. */
typedef void (*deadline_cb)(struct deadline *d, int list, void *data);

struct deadlines {
	uv_timer_t timer;
	uint64_t armed;
	struct deadline heads[DEADLINE_LISTS];
	uint64_t after[DEADLINE_LISTS];
	deadline_cb expire;
	void *data;
};

void deadlines_open(struct deadlines *all, uv_loop_t *loop, deadline_cb expire, void *data);
/* Milliseconds; 0: this list never expires. Only while the list is empty. */
void deadlines_set(struct deadlines *all, int list, uint64_t after);
/* The struct may be freed when cb has run. */
void deadlines_close(struct deadlines *all, uv_close_cb cb);

/* Start or restart; d may be on any list of these. */
void deadline_start(struct deadlines *all, int list, struct deadline *d);
/*
 * Start with a duration shorter than the list's own: goes to its place by walking from the
 * front.
 */
void deadline_start_early(struct deadlines *all, int list, struct deadline *d, uint64_t after);

/* The same where many have durations alike: walks from the back. */
void deadline_start_in(struct deadlines *all, int list, struct deadline *d, uint64_t after);

static inline void deadline_stop(struct deadline *d)
{
	if (!d->next)
		return;
	d->next->prev = d->prev;
	d->prev->next = d->next;
	d->next = NULL;
}

#endif
