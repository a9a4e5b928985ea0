/*
 * http_log.c - core.http.access_log: where the access log of this process goes, and the lines
 * that a function of the user's makes for it.
 */
#include <string.h>

#include "bind/bind.h"
#include "bind/http.h"
#include "loop/http_log.h"

static int line_ref = LUA_NOREF;

/* req, status, bytes, seconds -> a line for the log, or none */
static void on_answered(struct http_conn *c, int request, const struct http_head *refused,
			int status, uint64_t bytes, double seconds, bool wanted)
{
	lua_State *L = http_state();
	lua_State *caller = http_caller;
	size_t len;
	const char *text;

	http_caller = NULL;
	if (wanted) {
		lua_rawgeti(L, LUA_REGISTRYINDEX, line_ref);
		if (refused)
			http_request_push(L, c, refused);
		else
			lua_rawgeti(L, LUA_REGISTRYINDEX, request);
		lua_pushinteger(L, status);
		lua_pushnumber(L, (lua_Number)bytes);
		lua_pushnumber(L, seconds);
		if (bind_call(L, 4, 1, "access_log") == 0) {
			text = lua_tolstring(L, -1, &len);
			if (text)
				access_log_line(text, len);
			lua_pop(L, 1);
		}
	}
	luaL_unref(L, LUA_REGISTRYINDEX, request ? request : LUA_NOREF);
	http_caller = caller;
}

void http_log_keep(lua_State *L, struct http_conn *c, int index)
{
	if (http_log_wants_request())
		http_log_hold(c, bind_ref(L, index));
}

static enum access_format check_format(lua_State *L)
{
	static const char *const names[] = { "combined", "json", NULL };
	int format;

	lua_getfield(L, 1, "format");
	format = lua_isnil(L, -1) ? ACCESS_COMBINED : luaL_checkoption(L, -1, NULL, names);
	lua_pop(L, 1);
	return (enum access_format)format;
}

static int stop(lua_State *L)
{
	http_log_stop();
	access_log_close();
	lua_pushboolean(L, 1);
	return 1;
}

/*
 * access_log{ fd = N, format = "combined"|"json" } or { fd = N, line = function(req, status,
 * bytes, seconds) -> string or nil }: log every request of this process to the descriptor,
 * which is borrowed. In the place of what there was; false: no more.
 */
static int l_access_log(lua_State *L)
{
	enum access_format format;
	int fd, line, err;

	if (lua_isboolean(L, 1) && !lua_toboolean(L, 1))
		return stop(L);
	luaL_checktype(L, 1, LUA_TTABLE);
	lua_getfield(L, 1, "fd");
	fd = luaL_checkint(L, -1);
	format = check_format(L);
	line = bind_ref_field(L, 1, "line");
	err = access_log_open(bind_loop(L), fd);
	if (err) {
		bind_unref(L, &line);
		return bind_fail(L, err, "access log on descriptor %d", fd);
	}
	bind_unref(L, &line_ref);
	line_ref = line;
	http_log_setup(format, line == LUA_NOREF ? NULL : on_answered);
	lua_pushboolean(L, 1);
	return 1;
}

/* access_log_flush(): write what is gathered, before its descriptor becomes something else. */
static int l_access_log_flush(lua_State *L)
{
	(void)L;
	access_log_finish();
	return 0;
}

void http_log_functions(lua_State *L)
{
	lua_pushcfunction(L, l_access_log);
	lua_setfield(L, -2, "access_log");
	lua_pushcfunction(L, l_access_log_flush);
	lua_setfield(L, -2, "access_log_flush");
}
