/*
 * scoreboard.c - brood.core.scoreboard: the counters that processes share, by slot (from 1) and
 * field name.
 */
#include <stddef.h>
#include <string.h>

#include "bind/bind.h"
#include "sys/scoreboard.h"

#define CLASS "brood.scoreboard"

static const struct {
	const char *name;
	size_t offset;
} fields[] = {
	{ "accepted", offsetof(struct scoreboard_slot, accepted) },
	{ "accepting", offsetof(struct scoreboard_slot, accepting) },
	{ "active", offsetof(struct scoreboard_slot, active) },
	{ "connections", offsetof(struct scoreboard_slot, connections) },
	{ "in_request", offsetof(struct scoreboard_slot, in_request) },
	{ "linger", offsetof(struct scoreboard_slot, linger) },
	{ "request_started", offsetof(struct scoreboard_slot, request_started) },
	{ "requests", offsetof(struct scoreboard_slot, requests) },
	{ "state", offsetof(struct scoreboard_slot, state) },
	{ "turn_started", offsetof(struct scoreboard_slot, turn_started) },
};

struct box {
	struct scoreboard *board;
};

static struct scoreboard *check_board(lua_State *L)
{
	struct box *box = luaL_checkudata(L, 1, CLASS);

	luaL_argcheck(L, box->board, 1, "closed");
	return box->board;
}

static struct scoreboard_slot *check_slot(lua_State *L)
{
	struct scoreboard *sb = check_board(L);
	lua_Integer index = luaL_checkinteger(L, 2);
	struct scoreboard_slot *slot = index < 1 ? NULL : scoreboard_slot(sb, (size_t)index - 1);

	if (!slot) {
		luaL_argerror(L, 2, "no such slot");
		__builtin_unreachable();
	}
	return slot;
}

static uint64_t *check_field(lua_State *L, struct scoreboard_slot *slot)
{
	const char *name = luaL_checkstring(L, 3);

	for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++)
		if (strcmp(fields[i].name, name) == 0)
			return (uint64_t *)((char *)slot + fields[i].offset);
	luaL_argerror(L, 3, "no such field");
	__builtin_unreachable();
}

/* scoreboard.create(nslots) -> sb */
static int l_create(lua_State *L)
{
	lua_Integer n = luaL_checkinteger(L, 1);
	struct box *box;
	int err;

	luaL_argcheck(L, n > 0, 1, "at least one slot is needed");
	box = lua_newuserdata(L, sizeof(*box));
	box->board = NULL;
	luaL_getmetatable(L, CLASS);
	lua_setmetatable(L, -2);
	err = scoreboard_create(&box->board, (size_t)n);
	if (err)
		return bind_fail(L, err, "scoreboard of %d slots", (int)n);
	return 1;
}

static int l_get(lua_State *L)
{
	struct scoreboard_slot *slot = check_slot(L);
	char text[SCOREBOARD_TEXT];

	if (strcmp(luaL_checkstring(L, 3), "request") == 0) {
		/* Its owner may be writing: copy first, then look for the end. */
		memcpy(text, slot->request, sizeof(text));
		lua_pushlstring(L, text, strnlen(text, sizeof(text)));
		return 1;
	}
	lua_pushnumber(L, (lua_Number)__atomic_load_n(check_field(L, slot), __ATOMIC_RELAXED));
	return 1;
}

static int l_set(lua_State *L)
{
	struct scoreboard_slot *slot = check_slot(L);
	size_t size;

	if (strcmp(luaL_checkstring(L, 3), "request") == 0) {
		const char *text = luaL_checklstring(L, 4, &size);

		if (size >= sizeof(slot->request))
			size = sizeof(slot->request) - 1;
		memcpy(slot->request, text, size);
		slot->request[size] = 0;
		return 0;
	}
	__atomic_store_n(check_field(L, slot), (uint64_t)luaL_checknumber(L, 4), __ATOMIC_RELAXED);
	return 0;
}

/* sb:add(slot, field [, n = 1]) -> the new value */
static int l_add(lua_State *L)
{
	uint64_t *field = check_field(L, check_slot(L));
	int64_t n = (int64_t)luaL_optnumber(L, 4, 1);

	lua_pushnumber(L, (lua_Number)__atomic_add_fetch(field, (uint64_t)n, __ATOMIC_RELAXED));
	return 1;
}

/* sb:attach(slot): cleared, and this process's own from now on. */
static int l_attach(lua_State *L)
{
	check_slot(L);
	scoreboard_attach(check_board(L), (size_t)luaL_checkinteger(L, 2) - 1);
	/* The loop writes there until the process ends. */
	lua_pushvalue(L, 1);
	lua_setfield(L, LUA_REGISTRYINDEX, "brood.scoreboard.mine");
	return 0;
}

static int l_count(lua_State *L)
{
	lua_pushinteger(L, (lua_Integer)scoreboard_count(check_board(L)));
	return 1;
}

static int l_gc(lua_State *L)
{
	struct box *box = luaL_checkudata(L, 1, CLASS);

	scoreboard_free(box->board);
	box->board = NULL;
	return 0;
}

static const luaL_Reg methods[] = {
	{ "add", l_add }, { "attach", l_attach }, { "count", l_count },
	{ "get", l_get }, { "set", l_set },       { NULL, NULL },
};

static const luaL_Reg functions[] = {
	{ "create", l_create },
	{ NULL, NULL },
};

int bind_open_scoreboard(lua_State *L)
{
	bind_class(L, "scoreboard", methods, l_gc);
	lua_newtable(L);
	luaL_register(L, NULL, functions);
	return 1;
}
