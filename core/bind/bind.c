/*
 * bind.c - what every binding shares: protected calls, error tables, classes, references.
 * It knows no bound object.
 */
#include "bind/bind.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "loop/loop.h"
#include "runtime.h"
#include "sys/fd.h"
#include "sys/limits.h"
#include "sys/log.h"

lua_State *bind_main(lua_State *L)
{
	(void)L;
	return runtime_state(runtime_current());
}

uv_loop_t *bind_loop(lua_State *L)
{
	(void)L;
	return runtime_loop(runtime_current());
}

/*
 * Error tables keep their own traceback; a plain message gets one here, while the stack
 * still stands.
 */
static int on_error(lua_State *L)
{
	if (lua_isstring(L, 1)) {
		luaL_traceback(L, L, lua_tostring(L, 1), 1);
		return 1;
	}
	if (lua_istable(L, 1)) {
		lua_getfield(L, 1, "traceback");
		if (lua_isstring(L, -1))
			return 1;
		lua_pop(L, 1);
	}
	if (luaL_callmeta(L, 1, "__tostring") && lua_isstring(L, -1)) {
		luaL_traceback(L, L, lua_tostring(L, -1), 1);
		return 1;
	}
	luaL_traceback(L, L, luaL_typename(L, 1), 1);
	return 1;
}

/* Made once: pushed anew for each call, it would be garbage after it. */
static void push_handler(lua_State *L)
{
	static lua_State *owner;
	static int ref;

	if (owner != bind_main(L)) {
		owner = bind_main(L);
		lua_pushcfunction(L, on_error);
		ref = luaL_ref(L, LUA_REGISTRYINDEX);
	}
	lua_rawgeti(L, LUA_REGISTRYINDEX, ref);
}

int bind_call(lua_State *L, int nargs, int nresults, const char *where)
{
	unsigned generation = fork_generation();
	int base = lua_gettop(L) - nargs;
	int status;

	loop_turn_begin(bind_loop(L));
	push_handler(L);
	lua_insert(L, base);
	status = lua_pcall(L, nargs, nresults, base);
	lua_remove(L, base);
	if (status) {
		log_error("%s: %s", where,
			  lua_isstring(L, -1) ? lua_tostring(L, -1) : "error in the error handler");
		lua_pop(L, 1);
		runtime_mark_failed(runtime_current());
	}
	if (generation != fork_generation())
		runtime_live(runtime_current());
	return status ? -1 : 0;
}

void bind_push_name(lua_State *L, const char *name, size_t len)
{
	char small[64];
	luaL_Buffer b;

	if (len <= sizeof(small)) {
		for (size_t i = 0; i < len; i++)
			small[i] = name[i] >= 'A' && name[i] <= 'Z' ? name[i] | 0x20 : name[i];
		lua_pushlstring(L, small, len);
		return;
	}
	luaL_buffinit(L, &b);
	for (size_t i = 0; i < len; i++)
		luaL_addchar(&b, name[i] >= 'A' && name[i] <= 'Z' ? name[i] | 0x20 : name[i]);
	luaL_pushresult(&b);
}

void bind_push_error(lua_State *L, const char *code, const char *message)
{
	lua_createtable(L, 0, 2);
	lua_pushstring(L, message);
	lua_setfield(L, -2, "message");
	lua_pushstring(L, code);
	lua_setfield(L, -2, "code");
	luaL_getmetatable(L, "brood.error");
	lua_setmetatable(L, -2);
}

int bind_fail(lua_State *L, int err, const char *fmt, ...)
{
	char text[512], message[768];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	snprintf(message, sizeof(message), "%s: %s%s", text, strerror(-err), limits_explain(err));
	lua_pushnil(L);
	bind_push_error(L, uv_err_name(err), message);
	lua_pushinteger(L, -err);
	lua_setfield(L, -2, "errno");
	return 2;
}

int bind_fail_code(lua_State *L, const char *code, const char *fmt, ...)
{
	char message[768];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	lua_pushnil(L);
	bind_push_error(L, code, message);
	return 2;
}

void bind_class(lua_State *L, const char *name, const luaL_Reg *methods, lua_CFunction gc)
{
	char full[64];

	snprintf(full, sizeof(full), "brood.%s", name);
	luaL_newmetatable(L, full);
	lua_newtable(L);
	luaL_register(L, NULL, methods);
	lua_setfield(L, -2, "__index");
	lua_pushstring(L, full);
	lua_setfield(L, -2, "__name");
	if (gc) {
		lua_pushcfunction(L, gc);
		lua_setfield(L, -2, "__gc");
	}
	lua_pop(L, 1);
}

void *bind_object(lua_State *L, int index, const char *class, const void **meta)
{
	void *object = lua_touserdata(L, index);

	if (object && lua_getmetatable(L, index)) {
		bool same = lua_topointer(L, -1) == *meta;

		lua_pop(L, 1);
		if (same)
			return object;
	}
	object = luaL_checkudata(L, index, class);
	luaL_getmetatable(L, class);
	*meta = lua_topointer(L, -1);
	lua_pop(L, 1);
	return object;
}

int bind_ref(lua_State *L, int index)
{
	lua_pushvalue(L, index);
	return luaL_ref(L, LUA_REGISTRYINDEX);
}

void bind_unref(lua_State *L, int *ref)
{
	luaL_unref(L, LUA_REGISTRYINDEX, *ref);
	*ref = LUA_NOREF;
}

int bind_ref_field(lua_State *L, int index, const char *name)
{
	lua_getfield(L, index, name);
	if (lua_isnil(L, -1)) {
		lua_pop(L, 1);
		return LUA_NOREF;
	}
	if (!lua_isfunction(L, -1))
		luaL_error(L, "field '%s' must be a function, got %s", name, luaL_typename(L, -1));
	return luaL_ref(L, LUA_REGISTRYINDEX);
}

bool bind_goes_on(lua_State *L, int index, bool goes_on, int *ref)
{
	if (lua_isnoneornil(L, index))
		return goes_on;
	luaL_checktype(L, index, LUA_TFUNCTION);
	if (goes_on) {
		bind_unref(L, ref);
		*ref = bind_ref(L, index);
	} else {
		lua_pushvalue(L, index);
		lua_call(L, 0, 0);
	}
	return goes_on;
}
