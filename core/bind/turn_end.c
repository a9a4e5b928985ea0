/*
 * turn_end.c - core.at_turn_end: functions to be called once, before the loop waits again, so that
 * what many callbacks of a turn ask for is done together.
 */
#include <stdlib.h>

#include "bind/bind.h"
#include "loop/spin.h"
#include "sys/fd.h"

#define LIST "brood.turn_end"

static struct {
	uv_idle_t *handle;
	unsigned generation; /* in the child of a fork all of this is the parent's */
	int count;
} turn;

/*
 * An idle handle and no prepare handle: while it is active the loop does not wait, so what is asked
 * for in here, or by whoever comes after us, is the next turn's, and that one follows at once.
 */
static void on_turn_end(uv_idle_t *handle)
{
	lua_State *L = bind_main(NULL);
	int n = turn.count;

	turn.count = 0;
	uv_idle_stop(handle);
	lua_getfield(L, LUA_REGISTRYINDEX, LIST);
	lua_newtable(L);
	lua_setfield(L, LUA_REGISTRYINDEX, LIST);
	for (int i = 1; i <= n; i++) {
		lua_rawgeti(L, -1, i);
		bind_call(L, 0, 0, "end of turn");
	}
	lua_pop(L, 1);
}

static int renew(lua_State *L)
{
	lua_newtable(L);
	lua_setfield(L, LUA_REGISTRYINDEX, LIST);
	turn.handle = calloc(1, sizeof(*turn.handle));
	if (!turn.handle)
		return UV_ENOMEM;
	turn.generation = fork_generation();
	turn.count = 0;
	return uv_idle_init(bind_loop(L), turn.handle);
}

/* at_turn_end(fn): while it has not run the loop does not end */
int bind_at_turn_end(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TFUNCTION);
	if ((!turn.handle || turn.generation != fork_generation()) && renew(L))
		return luaL_error(L, "not enough memory");
	lua_getfield(L, LUA_REGISTRYINDEX, LIST);
	lua_pushvalue(L, 1);
	lua_rawseti(L, -2, turn.count + 1);
	if (turn.count++ == 0)
		uv_idle_start(turn.handle, on_turn_end);
	return 0;
}

/* expect_soon(): nothing is to be done before an answer comes, which may be soon */
int bind_expect_soon(lua_State *L)
{
	spin_expect(bind_loop(L));
	return 0;
}
