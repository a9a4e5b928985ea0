/*
 * loop.c - creating the loop, and leaving the parent's one behind after a fork.
 */
#include "loop/loop.h"

#include <stdlib.h>

#include "sys/image.h"
#include "sys/scoreboard.h"

enum {
	LONG_MS = 1000,	  /* a wait before which it is worth it, though it may end at once */
	PAUSE_MS = 10000, /* from one release to the next, at least */
};

/* By the loop's clock; never before everything has begun. */
static uint64_t release_due = UINT64_MAX;

/*
 * From here it is a few steps to the wait; from Lua it would be half of the program again. It is
 * done once more after whatever ended the wait, but whoever is called all the time is left alone.
 * A turn in which descriptors were added or taken away is told 0: the next one will do.
 */
static void release_image(const uv_loop_t *loop)
{
	int timeout = uv_backend_timeout(loop);

	if (timeout >= 0 && timeout < LONG_MS)
		return;
	release_due = uv_now(loop) + PAUSE_MS;
	image_release();
}

/* The loop is about to wait: what Lua did in this turn is over. */
static void on_turn_end(uv_prepare_t *handle)
{
	scoreboard_turn_end();
	if (uv_now(handle->loop) >= release_due)
		release_image(handle->loop);
}

void loop_settled(void)
{
	release_due = 0;
}

/*
 * The turn itself begins with the first call into Lua, not in a uv_check: that one runs only
 * after the callbacks of the poll, in which a worker is stuck as a rule.
 */
void loop_turn_begin(const uv_loop_t *loop)
{
	scoreboard_turn_begin(uv_now(loop) * 1000000);
}

int loop_create(uv_loop_t **out)
{
	uv_loop_t *loop = malloc(sizeof(*loop));
	uv_prepare_t *turn_end = malloc(sizeof(*turn_end));
	int err = UV_ENOMEM;

	if (!loop || !turn_end)
		goto fail;
	err = uv_loop_init(loop);
	if (err)
		goto fail;
	uv_prepare_init(loop, turn_end);
	uv_prepare_start(turn_end, on_turn_end);
	uv_unref((uv_handle_t *)turn_end);
	*out = loop;
	return 0;
fail:
	free(turn_end);
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
	return loop_create(out);
}

void loop_timer_start(uv_timer_t *timer, uv_timer_cb cb, uint64_t ms, uint64_t repeat)
{
	uv_update_time(timer->loop);
	uv_timer_start(timer, cb, ms, repeat);
}
