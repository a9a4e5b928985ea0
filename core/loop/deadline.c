/*
 * deadline.c - see deadline.h. What expires is decided here, what then happens by the owner.
 */
#include "loop/deadline.h"

#include <stddef.h>

#include "loop/loop.h"

/* Fired so late, the loop was stuck or the process stopped: what came meanwhile is read first. */
#define LATE_MS 200

static void on_timer(uv_timer_t *timer);

static void arm(struct deadlines *all, uint64_t at)
{
	uint64_t now = uv_now(all->timer.loop);

	all->armed = at;
	uv_timer_start(&all->timer, on_timer, at > now ? at - now : 1, 0);
}

/* The first deadline of all lists that is not over yet, or 0. */
static uint64_t earliest(struct deadlines *all)
{
	uint64_t at = 0;

	for (int i = 0; i < DEADLINE_LISTS; i++) {
		struct deadline *head = &all->heads[i];

		if (head->next != head && (!at || head->next->at < at))
			at = head->next->at;
	}
	return at;
}

static void expire_list(struct deadlines *all, int list, uint64_t now)
{
	struct deadline *head = &all->heads[list];

	while (head->next != head && head->next->at <= now) {
		struct deadline *d = head->next;

		deadline_stop(d);
		all->expire(d, list, all->data);
	}
}

static void on_timer(uv_timer_t *timer)
{
	struct deadlines *all = timer->data;
	uint64_t now = uv_now(timer->loop);
	uint64_t next;

	if (now > all->armed + LATE_MS) {
		arm(all, now + 1);
		return;
	}
	all->armed = 0;
	for (int i = 0; i < DEADLINE_LISTS; i++)
		expire_list(all, i, now);
	next = earliest(all);
	if (next && (!all->armed || next < all->armed))
		arm(all, next);
}

void deadlines_open(struct deadlines *all, uv_loop_t *loop, deadline_cb expire, void *data)
{
	uv_timer_init(loop, &all->timer);
	uv_unref((uv_handle_t *)&all->timer);
	all->timer.data = all;
	all->armed = 0;
	all->expire = expire;
	all->data = data;
	for (int i = 0; i < DEADLINE_LISTS; i++) {
		all->heads[i].next = all->heads[i].prev = &all->heads[i];
		all->after[i] = 0;
	}
}

void deadlines_set(struct deadlines *all, int list, uint64_t after)
{
	all->after[list] = after;
}

void deadlines_close(struct deadlines *all, uv_close_cb cb)
{
	uv_close((uv_handle_t *)&all->timer, cb);
}

static void insert_before(struct deadline *place, struct deadline *d)
{
	d->next = place;
	d->prev = place->prev;
	place->prev->next = d;
	place->prev = d;
}

void deadline_start(struct deadlines *all, int list, struct deadline *d)
{
	deadline_stop(d);
	if (!all->after[list])
		return;
	d->at = uv_now(all->timer.loop) + all->after[list];
	insert_before(&all->heads[list], d);
	if (!all->armed || d->at < all->armed)
		arm(all, d->at);
}

void deadline_start_in(struct deadlines *all, int list, struct deadline *d, uint64_t after)
{
	struct deadline *head = &all->heads[list], *place;

	deadline_stop(d);
	d->at = uv_now(all->timer.loop) + after;
	for (place = head; place->prev != head && place->prev->at > d->at;)
		place = place->prev;
	insert_before(place, d);
	if (!all->armed || d->at < all->armed)
		arm(all, d->at);
}

void deadline_start_early(struct deadlines *all, int list, struct deadline *d, uint64_t after)
{
	struct deadline *head = &all->heads[list], *place;

	deadline_stop(d);
	d->at = uv_now(all->timer.loop) + after;
	place = head->next;
	while (place != head && place->at <= d->at)
		place = place->next;
	insert_before(place, d);
	if (!all->armed || d->at < all->armed)
		arm(all, d->at);
}
