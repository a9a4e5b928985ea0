/*
 * jobs.c - brood.core.jobs: the store of a pool's jobs. Their data are opaque strings here. In the
 * child of a fork every call raises, and nothing is freed: the memory is not there.
 */
#include "bind/jobs.h"

#include <errno.h>
#include <math.h>
#include "bind/value.h"
#include "loop/value.h"
#include "sys/fd.h"

#define CLASS    "brood.jobs_store"
#define LIST_MAX 100000

static int kind_refs[WIRE_KINDS];

const char *const jobs_kinds[WIRE_KINDS + 1] = {
	"success", "failure", "progress", "recovering", "recovering_failure", "recovered", NULL,
};

void jobs_push_kind(lua_State *L, enum wire_kind kind)
{
	lua_rawgeti(L, LUA_REGISTRYINDEX, kind_refs[kind]);
}

/* ---- arguments ---- */

struct store *jobs_check_store(lua_State *L, int index)
{
	static const void *meta;
	struct jobs_store *box = bind_object(L, index, CLASS, &meta);

	if (box->generation != fork_generation())
		luaL_argerror(L, index, "the store is another process's");
	luaL_argcheck(L, box->store, index, "closed");
	return box->store;
}

uint64_t jobs_check_seq(lua_State *L, int index)
{
	lua_Number seq = luaL_checknumber(L, index);

	luaL_argcheck(L, seq >= 1 && seq <= (lua_Number)WIRE_SEQ_MAX && floor(seq) == seq, index,
		      "a number is a whole one from 1 to 2^53 - 1");
	return (uint64_t)seq;
}

double jobs_check_time(lua_State *L, int index)
{
	lua_Number time = luaL_checknumber(L, index);

	luaL_argcheck(L, time >= 0, index, "a time is not negative");
	return time;
}

double jobs_opt_now(lua_State *L, int index)
{
	return lua_isnoneornil(L, index) ? (double)uv_hrtime() / 1e9 : jobs_check_time(L, index);
}

static lua_Number check_whole(lua_State *L, int index, lua_Number min, lua_Number max,
			      const char *what)
{
	lua_Number n = luaL_checknumber(L, index);

	luaL_argcheck(L, n >= min && n <= max && floor(n) == n, index, what);
	return n;
}

/* The job with the number at index 2, or NULL. */
static struct job *check_job(lua_State *L, struct store *s)
{
	return store_find(s, jobs_check_seq(L, 2));
}

/* ---- the store ---- */

/* store() -> store | nil, err */
static int l_store(lua_State *L)
{
	struct jobs_store *box = lua_newuserdata(L, sizeof(*box));
	int err;

	*box = (struct jobs_store){ .generation = fork_generation() };
	luaL_getmetatable(L, CLASS);
	lua_setmetatable(L, -2);
	/* Its lanes by number, and itself: they live as long as each other. */
	lua_newtable(L);
	lua_pushvalue(L, -2);
	lua_rawseti(L, -2, 0);
	lua_setfenv(L, -2);
	err = store_create(&box->store);
	return err ? bind_fail(L, err, "job store") : 1;
}

/*
 * push(seq, payload, priority, due, timeout, retries [, client [, now]]) -> true | nil, err
 * ("EEXIST", "too_large", "ENOMEM")
 */
static int l_push(lua_State *L)
{
	struct store *s = jobs_check_store(L, 1);
	struct job_new new = { .seq = jobs_check_seq(L, 2) };
	int err;

	new.data = luaL_checklstring(L, 3, &new.size);
	new.priority = luaL_optnumber(L, 4, 0);
	luaL_argcheck(L, new.priority == new.priority, 4, "a priority is a number");
	new.due = lua_isnoneornil(L, 5) ? 0 : jobs_check_time(L, 5);
	new.timeout = luaL_optnumber(L, 6, -1);
	new.retries = lua_isnoneornil(L, 7) ? -1
					    : (int32_t)check_whole(L, 7, -1, INT32_MAX,
								   "retries are -1 to 2^31 - 1");
	new.client = lua_isnoneornil(L, 8) ? 0
					   : (uint32_t)check_whole(L, 8, 0, UINT32_MAX,
								   "a client is 0 to 2^32 - 1");
	new.now = jobs_opt_now(L, 9);
	err = store_push(s, &new);
	if (err == -EMSGSIZE)
		return bind_fail_code(L, "too_large", "a message has at most 64 MB");
	if (err)
		return bind_fail(L, err, "job %.0f", (double)new.seq);
	lua_pushboolean(L, true);
	return 1;
}

/*
 * put(seq, value [, now]) -> record, bytes | nil: encodes a plain value and pushes it with nothing
 * but what holds for all. nil, with nothing changed, where message.encode and push say why.
 */
static int l_put(lua_State *L)
{
	static struct buffer scratch;
	struct store *s = jobs_check_store(L, 1);
	struct job_new new = { .seq = jobs_check_seq(L, 2), .timeout = -1, .retries = -1 };

	luaL_checkany(L, 3);
	new.now = jobs_opt_now(L, 4);
	buffer_clear(&scratch, WIRE_FRAME);
	if (!value_write(L, 3, &scratch))
		return 0;
	new.data = scratch.data;
	new.size = scratch.len;
	jobs_record_push(L, new.data, new.size);
	lua_pushinteger(L, (lua_Integer)new.size);
	return store_push(s, &new) ? 0 : 2;
}

/*
 * finish(seq, payload) -> true, value | nil: the job is removed, where it is there, and its result
 * decoded; nil where that is left to message.decode.
 */
static int l_finish(lua_State *L)
{
	struct store *s = jobs_check_store(L, 1);
	struct job *job = check_job(L, s);
	size_t size;
	const char *data = luaL_checklstring(L, 3, &size);

	if (job)
		store_remove(s, job);
	if (value_check(data, size, VALUE_DEPTH_MAX) != VALUE_OK)
		return 0;
	lua_pushboolean(L, true);
	return value_push(L, data) ? 2 : 0;
}

/*
 * answer(seq, record, frame, end, size) -> true, value, output | nil: finish with the payload that
 * ends there in a frame of results. The output is true where the record has it now, else the
 * payload; nil, with nothing changed, where that is to be looked at as a string.
 */
static int l_answer(lua_State *L)
{
	struct store *s = jobs_check_store(L, 1);
	struct job *job = check_job(L, s);
	size_t frame;
	const char *data = luaL_checklstring(L, 4, &frame);
	size_t end = (size_t)check_whole(L, 5, 0, (lua_Number)frame, "beyond the frame");
	size_t size = (size_t)check_whole(L, 6, 0, (lua_Number)end, "beyond the frame");

	data += end - size;
	if (!job || value_check(data, size, VALUE_DEPTH_MAX) != VALUE_OK)
		return 0;
	lua_pushboolean(L, true);
	if (!value_push(L, data))
		return 0;
	if (jobs_record_answer(L, 3, data, size))
		lua_pushboolean(L, true);
	else
		lua_pushlstring(L, data, size);
	store_remove(s, job);
	return 3;
}

/* due(now) -> when the next is due | nil */
static int l_due(lua_State *L)
{
	struct store *s = jobs_check_store(L, 1);
	double next;

	if (!store_due(s, jobs_check_time(L, 2), &next))
		return 0;
	lua_pushnumber(L, next);
	return 1;
}

/* counts() -> waiting, delayed, assigned, bytes of data */
static int l_counts(lua_State *L)
{
	const struct store *s = jobs_check_store(L, 1);

	lua_pushnumber(L, (lua_Number)s->waiting);
	lua_pushnumber(L, (lua_Number)s->delayed);
	lua_pushnumber(L, (lua_Number)s->assigned);
	lua_pushnumber(L, (lua_Number)s->bytes);
	return 4;
}

static const char *state_name(const struct job *job)
{
	if (job->state == JOB_WAITING)
		return "waiting";
	return job->state == JOB_DELAYED ? "delayed" : "assigned";
}

/* find(seq) -> state, attempt, lane | nil, client, timeout, retries | nil */
static int l_find(lua_State *L)
{
	struct store *s = jobs_check_store(L, 1);
	const struct job *job = check_job(L, s);

	if (!job)
		return 0;
	lua_pushstring(L, state_name(job));
	lua_pushinteger(L, job->attempt);
	if (job->lane) {
		lua_getfenv(L, 1);
		lua_rawgeti(L, -1, job->lane);
		lua_remove(L, -2);
	} else {
		lua_pushnil(L);
	}
	lua_pushnumber(L, job->client);
	lua_pushnumber(L, job->timeout);
	lua_pushinteger(L, job->retries);
	return 6;
}

/* data(seq) -> payload | nil */
static int l_data(lua_State *L)
{
	struct store *s = jobs_check_store(L, 1);
	const struct job *job = check_job(L, s);

	if (!job)
		return 0;
	lua_pushlstring(L, job->data, job->size);
	return 1;
}

/* remove(seq) -> true | nil */
static int l_remove(lua_State *L)
{
	struct store *s = jobs_check_store(L, 1);
	struct job *job = check_job(L, s);

	if (!job)
		return 0;
	store_remove(s, job);
	lua_pushboolean(L, true);
	return 1;
}

/* requeue(seq, due, attempt [, now]) -> true | nil: it is not, or not held (a worker has it) */
static int l_requeue(lua_State *L)
{
	struct store *s = jobs_check_store(L, 1);
	struct job *job = check_job(L, s);
	double due = jobs_check_time(L, 3);
	lua_Integer attempt = luaL_checkinteger(L, 4);
	double now = jobs_opt_now(L, 5);

	luaL_argcheck(L, attempt >= 0, 4, "an attempt is not negative");
	if (!job || job->state != JOB_HELD)
		return 0;
	store_requeue(s, job, due, attempt < UINT32_MAX ? (unsigned)attempt : UINT32_MAX, now);
	lua_pushboolean(L, true);
	return 1;
}

/* take_any(n) -> {seq...} | nil, err */
static int l_take_any(lua_State *L)
{
	struct store *s = jobs_check_store(L, 1);
	lua_Number n = luaL_checknumber(L, 2);
	struct job **list;
	long found;

	luaL_argcheck(L, n >= 0, 2, "a count is not negative");
	if (n > LIST_MAX)
		n = LIST_MAX;
	if (n > (lua_Number)(s->waiting + s->delayed))
		n = (lua_Number)(s->waiting + s->delayed);
	/* The collector's: what follows may raise. */
	list = lua_newuserdata(L, ((size_t)n + 1) * sizeof(struct job *));
	found = store_list(s, list, (size_t)n);
	if (found < 0)
		return bind_fail(L, (int)found, "list of jobs");
	lua_createtable(L, (int)found, 0);
	for (int i = 0; i < found; i++) {
		lua_pushnumber(L, (lua_Number)list[i]->seq);
		lua_rawseti(L, -2, i + 1);
	}
	return 1;
}

static void push_histogram(lua_State *L, const struct histogram *h)
{
	const struct {
		const char *name;
		double value;
	} fields[] = {
		{ "count", (double)h->count },
		{ "sum", h->sum },
		{ "max", h->max },
		{ "p50", histogram_share(h, 0.5) },
		{ "p90", histogram_share(h, 0.9) },
		{ "p99", histogram_share(h, 0.99) },
	};

	lua_createtable(L, 0, sizeof(fields) / sizeof(*fields));
	for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++) {
		lua_pushnumber(L, fields[i].value);
		lua_setfield(L, -2, fields[i].name);
	}
}

/* stats() -> {late, mapped (bytes), waiting = {count sum max p50 p90 p99}, running = {...}} */
static int l_stats(lua_State *L)
{
	const struct store *s = jobs_check_store(L, 1);

	lua_createtable(L, 0, 4);
	lua_pushnumber(L, (lua_Number)s->late);
	lua_setfield(L, -2, "late");
	lua_pushnumber(L, (lua_Number)store_mapped(s));
	lua_setfield(L, -2, "mapped");
	push_histogram(L, &s->waited);
	lua_setfield(L, -2, "waiting");
	push_histogram(L, &s->ran);
	lua_setfield(L, -2, "running");
	return 1;
}

/* close(): all is gone at once, its lanes too */
static int l_close(lua_State *L)
{
	struct jobs_store *box = luaL_checkudata(L, 1, CLASS);

	if (box->generation == fork_generation())
		store_free(box->store);
	box->store = NULL;
	return 0;
}

/* slots(n) -> count: as many lanes can be had without another page of them, at least n. */
static int l_slots(lua_State *L)
{
	struct store *s = jobs_check_store(L, 1);
	lua_Integer n = luaL_checkinteger(L, 2);

	if (n > 0)
		slots_prepare(&s->slots, (size_t)n);
	lua_pushinteger(L, (lua_Integer)s->slots.count);
	return 1;
}

/* inbox(number) -> inbox, in the worker of that lane, where the lane itself is not: nil where this
 * process does not have its page. */
static int l_inbox(lua_State *L)
{
	const struct jobs_store *box = luaL_checkudata(L, 1, CLASS);
	lua_Integer n = luaL_checkinteger(L, 2);

	luaL_argcheck(L, box->store, 1, "closed");
	if (n < 1 || (size_t)n > box->store->slots.count)
		return 0;
	return jobs_inbox_new(L, slots_at(&box->store->slots, (unsigned)n));
}

static const luaL_Reg methods[] = {
	{ "answer", l_answer },     { "close", l_close },     { "counts", l_counts },
	{ "data", l_data },         { "due", l_due },         { "find", l_find },
	{ "finish", l_finish },     { "inbox", l_inbox },     { "lane", jobs_lane_new },
	{ "push", l_push },         { "put", l_put },         { "remove", l_remove },
	{ "requeue", l_requeue },   { "slots", l_slots },     { "stats", l_stats },
	{ "take_any", l_take_any }, { NULL, NULL },
};

static const luaL_Reg functions[] = {
	{ "input", jobs_record_input },
	{ "output", jobs_record_output },
	{ "store", l_store },
	{ NULL, NULL },
};

int bind_open_jobs(lua_State *L)
{
	bind_class(L, "jobs_store", methods, l_close);
	for (int i = 0; i < WIRE_KINDS; i++) {
		lua_pushstring(L, jobs_kinds[i]);
		kind_refs[i] = luaL_ref(L, LUA_REGISTRYINDEX);
	}
	jobs_open_lane(L);
	jobs_open_inbox(L);
	lua_newtable(L);
	luaL_register(L, NULL, functions);
	return 1;
}
