/*
 * jobs_inbox.c - brood.core.jobs: a worker's end of its lane. What the bytes mean is known to the
 * Lua at both ends.
 */
#include <errno.h>
#include <pthread.h>

#include "bind/jobs.h"
#include "bind/value.h"
#include "loop/job_inbox.h"
#include "loop/value.h"
#include "sys/fd.h"

#define CLASS "brood.jobs_inbox"

struct box {
	struct job_inbox inbox;
	unsigned generation, forks;
};

/* Forks of which the runtime knows nothing, as of a library that a job calls. */
static unsigned forks;

static void count_fork(void)
{
	forks++;
}

static struct job_inbox *check_inbox(lua_State *L)
{
	static const void *meta;
	struct box *box = bind_object(L, 1, CLASS, &meta);

	/* Two that claim in one lane would each run half of what the other was given. */
	if (box->generation != fork_generation() || box->forks != forks)
		luaL_argerror(L, 1, "the inbox is another process's");
	return &box->inbox;
}

static void release_frame(void *arg)
{
	int ref = (int)(intptr_t)arg;

	luaL_unref(bind_main(NULL), LUA_REGISTRYINDEX, ref);
}

int jobs_inbox_new(lua_State *L, struct job_slot *slot)
{
	struct box *box = lua_newuserdata(L, sizeof(*box));
	static bool counting;

	if (!counting)
		counting = pthread_atfork(NULL, NULL, count_fork) == 0;
	box->generation = fork_generation();
	box->forks = forks;
	inbox_init(&box->inbox, slot, release_frame);
	luaL_getmetatable(L, CLASS);
	lua_setmetatable(L, -2);
	return 1;
}

/* feed(frame) -> true | nil, "protocol" */
static int l_feed(lua_State *L)
{
	struct job_inbox *in = check_inbox(L);
	size_t size;
	const char *frame = luaL_checklstring(L, 2, &size);
	int ref = bind_ref(L, 2);
	int err = inbox_feed(in, frame, size, (void *)(intptr_t)ref);

	if (err) {
		bind_unref(L, &ref);
		if (err == -ENOMEM)
			return bind_fail(L, err, "jobs");
		lua_pushnil(L);
		lua_pushliteral(L, "protocol");
		return 2;
	}
	lua_pushboolean(L, true);
	return 1;
}

/* next([now]) -> seq, attempt, payload, now | nil */
static int l_next(lua_State *L)
{
	struct job_inbox *in = check_inbox(L);
	struct inbox_job job;
	double now = jobs_opt_now(L, 2);

	if (!inbox_next(in, now, &job))
		return 0;
	lua_pushnumber(L, (lua_Number)job.seq);
	lua_pushinteger(L, (lua_Integer)job.attempt);
	lua_pushlstring(L, job.data, job.size);
	lua_pushnumber(L, now);
	inbox_trim(in);
	return 4;
}

/*
 * take() -> seq, attempt, now, data | seq, attempt, now, nil, payload | nil: as next(), with plain
 * data decoded already; what else there is comes as it is.
 */
static int l_take(lua_State *L)
{
	struct job_inbox *in = check_inbox(L);
	struct inbox_job job;
	double now = jobs_opt_now(L, 2);
	int pushed = 4;

	if (!inbox_next(in, now, &job))
		return 0;
	lua_pushnumber(L, (lua_Number)job.seq);
	lua_pushinteger(L, (lua_Integer)job.attempt);
	lua_pushnumber(L, now);
	if (value_check(job.data, job.size, VALUE_DEPTH_MAX) != VALUE_OK ||
	    !value_push(L, job.data)) {
		lua_pushnil(L);
		lua_pushlstring(L, job.data, job.size);
		pushed = 5;
	}
	inbox_trim(in);
	return pushed;
}

/*
 * answer(seq, value) -> bytes that wait | nil: the job's success, a plain value; nil, with nothing
 * put, where message.encode says what it is.
 */
static int l_answer(lua_State *L)
{
	static struct buffer scratch;
	struct job_inbox *in = check_inbox(L);
	uint64_t seq = jobs_check_seq(L, 2);

	lua_settop(L, 3);
	buffer_clear(&scratch, WIRE_FRAME);
	if (!value_write(L, 3, &scratch) ||
	    inbox_put(in, seq, WIRE_SUCCESS, scratch.data, scratch.len, 0))
		return 0;
	lua_pushnumber(L, (lua_Number)in->out.len);
	return 1;
}

/* put(seq, kind, payload [, now]) -> bytes that wait | nil, err */
static int l_put(lua_State *L)
{
	struct job_inbox *in = check_inbox(L);
	uint64_t seq = jobs_check_seq(L, 2);
	int kind = luaL_checkoption(L, 3, NULL, jobs_kinds);
	size_t size;
	const char *data = luaL_optlstring(L, 4, "", &size);
	double now = lua_isnoneornil(L, 5) ? 0 : jobs_check_time(L, 5);
	int err = inbox_put(in, seq, (enum wire_kind)kind, data, size, now);

	if (err == -EMSGSIZE)
		return bind_fail_code(L, "too_large", "a message has at most 64 MB");
	if (err)
		return bind_fail(L, err, "result");
	lua_pushnumber(L, (lua_Number)in->out.len);
	return 1;
}

/* frame() -> bytes | nil; what would be too much for one message stays for the next call */
static int l_frame(lua_State *L)
{
	struct job_inbox *in = check_inbox(L);
	size_t size = inbox_frame(in);

	if (size == 0)
		return 0;
	lua_pushlstring(L, in->out.data, size);
	inbox_sent(in, size);
	return 1;
}

static int l_gc(lua_State *L)
{
	struct box *box = luaL_checkudata(L, 1, CLASS);

	inbox_clear(&box->inbox);
	return 0;
}

static const luaL_Reg methods[] = {
	{ "answer", l_answer }, { "feed", l_feed }, { "frame", l_frame }, { "next", l_next },
	{ "put", l_put },       { "take", l_take }, { NULL, NULL },
};

void jobs_open_inbox(lua_State *L)
{
	bind_class(L, "jobs_inbox", methods, l_gc);
}
