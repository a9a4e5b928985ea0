/*
 * jobs_lane.c - brood.core.jobs: a store's lanes, one for each worker. Whether a worker lives, and
 * what becomes of a job, is not known here.
 */
#include <errno.h>

#include "bind/jobs.h"
#include "sys/fd.h"

#define CLASS "brood.jobs_lane"

/* Its environment is its store's: the store lives as long, see l_store. */
struct box {
	const struct jobs_store *owner;
	struct lane *lane; /* NULL: freed */
	struct job_slot *slot;
};

static struct box *check_box(lua_State *L)
{
	static const void *meta;
	struct box *box = bind_object(L, 1, CLASS, &meta);

	luaL_argcheck(L, box->lane, 1, "freed");
	return box;
}

static struct lane *check_lane(lua_State *L)
{
	struct box *box = check_box(L);

	if (box->owner->generation != fork_generation())
		luaL_argerror(L, 1, "the lane is another process's");
	luaL_argcheck(L, box->owner->store, 1, "closed");
	return box->lane;
}

int jobs_lane_new(lua_State *L)
{
	struct store *s = jobs_check_store(L, 1);
	struct box *box = lua_newuserdata(L, sizeof(*box));
	int err;

	*box = (struct box){ .owner = lua_touserdata(L, 1) };
	luaL_getmetatable(L, CLASS);
	lua_setmetatable(L, -2);
	lua_getfenv(L, 1);
	lua_pushvalue(L, -1);
	lua_setfenv(L, -3);
	err = lane_create(&box->lane, s);
	if (err) {
		box->lane = NULL;
		return bind_fail(L, err, "lane");
	}
	box->slot = lane_slot(box->lane);
	lua_pushvalue(L, -2);
	lua_rawseti(L, -2, (int)lane_number(box->lane));
	lua_pop(L, 1);
	return 1;
}

/* assign(max_jobs, now) -> frame | nil, count [, err] */
static int l_assign(lua_State *L)
{
	struct lane *lane = check_lane(L);
	struct store *s = ((struct box *)lua_touserdata(L, 1))->owner->store;
	lua_Number max = luaL_checknumber(L, 2);
	long n;

	if (!(max >= 1))
		max = 0;
	n = lane_plan(lane, max < SLOT_ALLOWED_MAX ? (size_t)max : SLOT_ALLOWED_MAX);
	if (n <= 0) {
		lua_pushnil(L);
		lua_pushinteger(L, 0);
		if (n == 0)
			return 2;
		bind_fail(L, (int)n, "frame of jobs");
		lua_remove(L, -2);
		return 3;
	}
	lua_pushlstring(L, s->frame.data, s->frame.len);
	lane_give(lane, (size_t)n);
	lua_pushinteger(L, n);
	return 2;
}

/* outstanding() -> given and not answered */
static int l_outstanding(lua_State *L)
{
	lua_pushnumber(L, (lua_Number)lane_outstanding(check_lane(L)));
	return 1;
}

/* running() -> seq, started (seconds) | nil */
static int l_running(lua_State *L)
{
	uint64_t seq;
	double started;

	if (!lane_running(check_lane(L), &seq, &started))
		return 0;
	lua_pushnumber(L, (lua_Number)seq);
	lua_pushnumber(L, started);
	return 2;
}

/* list() -> {seq...} */
static int l_list(lua_State *L)
{
	struct lane *lane = check_lane(L);
	int n = 0;

	lua_newtable(L);
	for (struct job *job = lane_next(lane, NULL); job; job = lane_next(lane, job)) {
		lua_pushnumber(L, (lua_Number)job->seq);
		lua_rawseti(L, -2, ++n);
	}
	return 1;
}

/*
 * take(frame, offset, now [, lean]) -> next offset, seq, kind, payload, client, outstanding
 * | nil [, "protocol"]. Where lean is true a success has the number of its payload's bytes, which
 * end at the next offset, in place of them.
 */
static int l_take(lua_State *L)
{
	struct lane *lane = check_lane(L);
	struct lane_result result;
	size_t size, offset;
	const char *frame = luaL_checklstring(L, 2, &size);
	lua_Number from = luaL_checknumber(L, 3);
	bool lean = lua_toboolean(L, 5);
	int got;

	luaL_argcheck(L, from >= 0 && from <= (lua_Number)size, 3, "beyond the frame");
	offset = (size_t)from;
	got = lane_take(lane, frame, size, &offset, jobs_check_time(L, 4), &result);
	if (got <= 0) {
		lua_pushnil(L);
		if (got == 0)
			return 1;
		lua_pushliteral(L, "protocol");
		return 2;
	}
	lua_pushnumber(L, (lua_Number)offset);
	lua_pushnumber(L, (lua_Number)result.seq);
	if (result.late) {
		lua_pushliteral(L, "late");
		jobs_push_kind(L, result.kind);
	} else {
		jobs_push_kind(L, result.kind);
		if (lean && result.kind == WIRE_SUCCESS)
			lua_pushinteger(L, (lua_Integer)result.size);
		else
			lua_pushlstring(L, result.data, result.size);
	}
	lua_pushnumber(L, result.client);
	lua_pushnumber(L, (lua_Number)lane_outstanding(lane));
	return 6;
}

/* take_back() -> n */
static int l_take_back(lua_State *L)
{
	lua_pushnumber(L, (lua_Number)lane_take_back(check_lane(L)));
	return 1;
}

/* abandon() -> {seq...} of those that were begun */
static int l_abandon(lua_State *L)
{
	struct lane *lane = check_lane(L);

	/* What is left then has been claimed; the list is made while nothing can be lost. */
	lane_take_back(lane);
	l_list(L);
	lane_abandon(lane);
	return 1;
}

/* free(): a second time does nothing */
static int l_free(lua_State *L)
{
	struct box *box = luaL_checkudata(L, 1, CLASS);
	unsigned number;

	if (!box->lane)
		return 0;
	number = lane_number(check_lane(L));
	lane_free(box->lane);
	box->lane = NULL;
	lua_getfenv(L, 1);
	lua_pushnil(L);
	lua_rawseti(L, -2, (int)number);
	return 0;
}

/* inbox() -> inbox: in its worker; of all that is here only the slot exists there */
static int l_inbox(lua_State *L)
{
	return jobs_inbox_new(L, check_box(L)->slot);
}

/* number() -> of its slot, from 1 */
static int l_number(lua_State *L)
{
	lua_pushinteger(L, lane_number(check_lane(L)));
	return 1;
}

static const luaL_Reg methods[] = {
	{ "abandon", l_abandon },
	{ "assign", l_assign },
	{ "free", l_free },
	{ "inbox", l_inbox },
	{ "list", l_list },
	{ "number", l_number },
	{ "outstanding", l_outstanding },
	{ "running", l_running },
	{ "take", l_take },
	{ "take_back", l_take_back },
	{ NULL, NULL },
};

void jobs_open_lane(lua_State *L)
{
	bind_class(L, "jobs_lane", methods, NULL);
}
