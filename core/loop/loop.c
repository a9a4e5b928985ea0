/*
 * loop.c - creating the loop, and leaving the parent's one behind after a fork.
 */
#include "loop/loop.h"

#include <stdlib.h>

#include "sys/scoreboard.h"

/*
 * A worker whose loop does not turn is found by its slot: when this turn began, 0 while it
 * waits.
 */
struct turn {
	uv_check_t check;
	uv_prepare_t prepare;
};

static void on_turn_begin(uv_check_t *handle)
{
	struct scoreboard_slot *slot = scoreboard_mine();

	(void)handle;
	if (slot)
		slot->turn_started = uv_hrtime();
}

static void on_turn_end(uv_prepare_t *handle)
{
	struct scoreboard_slot *slot = scoreboard_mine();

	(void)handle;
	if (slot)
		slot->turn_started = 0;
}

int loop_create(uv_loop_t **out)
{
	uv_loop_t *loop = malloc(sizeof(*loop));
	struct turn *turn = malloc(sizeof(*turn));
	int err = UV_ENOMEM;

	if (!loop || !turn)
		goto fail;
	err = uv_loop_init(loop);
	if (err)
		goto fail;
	uv_check_init(loop, &turn->check);
	uv_prepare_init(loop, &turn->prepare);
	uv_check_start(&turn->check, on_turn_begin);
	uv_prepare_start(&turn->prepare, on_turn_end);
	uv_unref((uv_handle_t *)&turn->check);
	uv_unref((uv_handle_t *)&turn->prepare);
	*out = loop;
	return 0;
fail:
	free(turn);
	free(loop);
	return err;
}

static void close_inherited(uv_handle_t *handle, void *arg)
{
	(void)arg;
	/* Closing a bound pipe unlinks its socket file, which is the parent's. */
	if (handle->type == UV_NAMED_PIPE)
		((uv_pipe_t *)handle)->pipe_fname = NULL;
	if (!uv_is_closing(handle))
		uv_close(handle, NULL);
}

int loop_after_fork(uv_loop_t *old, uv_loop_t **out)
{
	/*
	 * uv_loop_fork first: until then the epoll instance is shared, and a close
	 * would take descriptors out of the parent's.
	 */
	int err = uv_loop_fork(old);

	if (err)
		return err;
	uv_walk(old, close_inherited, NULL);
	uv_stop(old);
	return loop_create(out);
}

void loop_timer_start(uv_timer_t *timer, uv_timer_cb cb, uint64_t ms, uint64_t repeat)
{
	uv_update_time(timer->loop);
	uv_timer_start(timer, cb, ms, repeat);
}
