/*
 * tally.c - brood.core.tally: numbers that processes share, by index (from 1). All see all of
 * them change in one order: who writes one and then reads another is seen, or sees.
 */
#include "bind/bind.h"
#include "sys/tally.h"

#define CLASS "brood.tally"

struct box {
	struct tally *tally;
};

static const void *meta;

static int64_t *check_number(lua_State *L)
{
	struct box *box = bind_object(L, 1, CLASS, &meta);
	lua_Integer index = luaL_checkinteger(L, 2);
	int64_t *number = NULL;

	if (box->tally && index >= 1)
		number = tally_number(box->tally, (size_t)index - 1);
	if (!number) {
		luaL_argerror(L, 2, "no such number");
		__builtin_unreachable();
	}
	return number;
}

/* tally.create(count) -> t */
static int l_create(lua_State *L)
{
	lua_Integer n = luaL_checkinteger(L, 1);
	struct box *box;
	int err;

	luaL_argcheck(L, n > 0, 1, "at least one number is needed");
	box = lua_newuserdata(L, sizeof(*box));
	box->tally = NULL;
	luaL_getmetatable(L, CLASS);
	lua_setmetatable(L, -2);
	err = tally_create(&box->tally, (size_t)n);
	if (err)
		return bind_fail(L, err, "%d shared numbers", (int)n);
	return 1;
}

static int l_get(lua_State *L)
{
	lua_pushnumber(L, (lua_Number)__atomic_load_n(check_number(L), __ATOMIC_SEQ_CST));
	return 1;
}

static int l_set(lua_State *L)
{
	int64_t *number = check_number(L);

	__atomic_store_n(number, (int64_t)luaL_checknumber(L, 3), __ATOMIC_SEQ_CST);
	return 0;
}

/* t:add(index, n) -> the new value */
static int l_add(lua_State *L)
{
	int64_t *number = check_number(L);
	int64_t n = (int64_t)luaL_checknumber(L, 3);

	lua_pushnumber(L, (lua_Number)__atomic_add_fetch(number, n, __ATOMIC_SEQ_CST));
	return 1;
}

static int l_gc(lua_State *L)
{
	struct box *box = luaL_checkudata(L, 1, CLASS);

	tally_free(box->tally);
	box->tally = NULL;
	return 0;
}

static const luaL_Reg methods[] = {
	{ "add", l_add },
	{ "get", l_get },
	{ "set", l_set },
	{ NULL, NULL },
};

static const luaL_Reg functions[] = {
	{ "create", l_create },
	{ NULL, NULL },
};

int bind_open_tally(lua_State *L)
{
	bind_class(L, "tally", methods, l_gc);
	lua_newtable(L);
	luaL_register(L, NULL, functions);
	return 1;
}
