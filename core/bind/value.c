/*
 * value.c - brood.core.value: Lua values to bytes and back, with LuaJIT's own
 * string.buffer, and the check of such bytes before anything believes them.
 *
 * Plain values take the short way of value_codec.c. For the others string.buffer
 * is called from here, protected, and not from Lua: where a compiled trace holds a
 * pcall of it, this LuaJIT's stack is sometimes broken after it raises.
 */
#include <stdbool.h>

#include "bind/value.h"
#include "loop/value.h"

/* More is given back. */
#define SCRATCH 65536

static const char *fault_code(enum value_fault fault)
{
	if (fault == VALUE_DEEP)
		return "too_deep";
	return fault == VALUE_HEAVY ? "too_large" : "invalid";
}

static int fail_fault(lua_State *L, enum value_fault fault)
{
	const char *text = value_fault_text(fault);

	return bind_fail_code(L, fault_code(fault), "the encoded value %s", text);
}

static int fail_raised(lua_State *L)
{
	const char *text = lua_tostring(L, -1);

	return bind_fail_code(L, "invalid", "%s", text ? text : "the value is broken");
}

/* check(payload [, max_depth]) -> true | nil, err: "too_deep", "too_large" or "invalid" */
static int l_check(lua_State *L)
{
	size_t size;
	const char *data = luaL_checklstring(L, 1, &size);
	int depth = luaL_optint(L, 2, VALUE_DEPTH_MAX);
	enum value_fault fault;

	luaL_argcheck(L, depth >= 0 && depth <= VALUE_DEPTH_LIMIT, 2, "the depth is 0 to 100");
	fault = value_check(data, size, (unsigned)depth);
	if (fault != VALUE_OK)
		return fail_fault(L, fault);
	lua_pushboolean(L, true);
	return 1;
}

/* What is being encoded; it calls no Lua that could encode something else. */
static struct buffer scratch;

/* encode(value) -> payload | nil, err: what it encodes to also passes the check */
static int l_encode(lua_State *L)
{
	enum value_fault fault;
	const char *data;
	size_t size;

	lua_settop(L, 1);
	buffer_clear(&scratch, SCRATCH);
	if (value_write(L, 1, &scratch)) {
		lua_pushlstring(L, scratch.data, scratch.len);
		return 1;
	}
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_pushvalue(L, 1);
	if (lua_pcall(L, 1, 1, 0) != 0)
		return fail_raised(L);
	data = lua_tolstring(L, -1, &size);
	fault = value_check(data, size, VALUE_DEPTH_MAX);
	return fault == VALUE_OK ? 1 : fail_fault(L, fault);
}

/* decode(payload) -> true, value | nil, err */
static int l_decode(lua_State *L)
{
	size_t size;
	const char *data = luaL_checklstring(L, 1, &size);
	enum value_fault fault = value_check(data, size, VALUE_DEPTH_MAX);

	if (fault != VALUE_OK)
		return fail_fault(L, fault);
	lua_settop(L, 1);
	lua_pushboolean(L, true);
	if (value_push(L, data))
		return 2;
	lua_settop(L, 1);
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_insert(L, 1);
	if (lua_pcall(L, 1, 1, 0) != 0)
		return fail_raised(L);
	lua_pushboolean(L, true);
	lua_insert(L, -2);
	return 2;
}

/* table[name] = fn, with string.buffer's function of that name as its upvalue. */
static void set_codec(lua_State *L, int table, int buffer, const char *name, lua_CFunction fn)
{
	lua_getfield(L, buffer, name);
	lua_pushcclosure(L, fn, 1);
	lua_setfield(L, table, name);
}

static void require_module(lua_State *L, const char *name)
{
	lua_getglobal(L, "require");
	lua_pushstring(L, name);
	lua_call(L, 1, 1);
}

int bind_open_value(lua_State *L)
{
	int base = lua_gettop(L);

	/* Without it 64-bit integers cannot be decoded. */
	require_module(L, "ffi");
	require_module(L, "string.buffer");
	lua_newtable(L);
	lua_pushcfunction(L, l_check);
	lua_setfield(L, base + 3, "check");
	set_codec(L, base + 3, base + 2, "encode", l_encode);
	set_codec(L, base + 3, base + 2, "decode", l_decode);
	lua_replace(L, base + 1);
	lua_settop(L, base + 1);
	return 1;
}
