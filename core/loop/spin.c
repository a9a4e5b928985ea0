/*
 * spin.c - to sleep and be woken up takes 20 to 50 us on a processor that has nothing else to do,
 * and more where others are in the way: several times as long as a small job. Where answers come
 * sooner, the loop waits for the next one awake: it looks for events without sleeping, and lets
 * whoever else wants the processor have it. It does so for a few times as long as waking up takes,
 * and only while it pays: answers that come late teach it to sleep.
 */
#include "loop/spin.h"

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "sys/cpus.h"
#include "sys/fd.h"

enum {
	PATIENCE = 200 * 1000, /* ns */
	TRUST_MAX = 8,        /* as many late answers as it takes to sleep after many early ones */
	TRUST = 4,            /* from here on it stays awake */
};

static struct {
	uv_idle_t *handle;
	unsigned generation; /* in the child of a fork all of this is the parent's */
	uint64_t since;      /* when an answer was expected; 0: none is */
	unsigned trust;
	bool alone; /* on the only processor: who waits awake keeps the other one from answering */
} spin;

static void on_idle(uv_idle_t *handle)
{
	if (uv_hrtime() - spin.since > PATIENCE)
		uv_idle_stop(handle);
	else
		sched_yield();
}

static void renew(uv_loop_t *loop)
{
	spin.generation = fork_generation();
	spin.since = 0;
	spin.trust = 0;
	spin.alone = cpus_available() < 2;
	spin.handle = malloc(sizeof(*spin.handle));
	if (!spin.handle)
		return;
	uv_idle_init(loop, spin.handle);
	uv_unref((uv_handle_t *)spin.handle);
}

void spin_expect(uv_loop_t *loop)
{
	if (!spin.handle || spin.generation != fork_generation())
		renew(loop);
	if (!spin.handle || spin.alone)
		return;
	spin.since = uv_hrtime();
	if (spin.trust >= TRUST)
		uv_idle_start(spin.handle, on_idle);
}

void spin_heard(void)
{
	if (!spin.since || spin.generation != fork_generation())
		return;
	if (uv_hrtime() - spin.since <= PATIENCE)
		spin.trust += spin.trust < TRUST_MAX;
	else
		spin.trust -= spin.trust > 0;
	spin.since = 0;
	uv_idle_stop(spin.handle);
}
