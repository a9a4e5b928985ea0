/*
 * loop.h - the event loop: made at start, made afresh in a forked child.
 */
#ifndef LOOP_LOOP_H
#define LOOP_LOOP_H

#include <stdint.h>

#include <uv.h>

int loop_create(uv_loop_t **out);

/*
 * In the child of a fork, with all signals blocked: detach from the parent's
 * loop (its epoll, its signal pipe, its handles) and make a fresh one. The old
 * loop never turns again, and is never freed.
 */
int loop_after_fork(uv_loop_t *old, uv_loop_t **out);

/*
 * This process has begun all that it does. Before it waits for long it gives back the pages of the
 * program and its libraries.
 */
void loop_settled(void);

/*
 * Lua begins to run in this turn of the loop, or goes on: how a worker whose loop does not come
 * round is found. No system call.
 */
void loop_turn_begin(const uv_loop_t *loop);

/*
 * Every timer is armed through this: the loop's clock stands still while Lua
 * runs, and a timer armed against the stale clock would fire early.
 */
void loop_timer_start(uv_timer_t *timer, uv_timer_cb cb, uint64_t ms, uint64_t repeat);

#endif
