/*
 * http.c - brood.core.http: servers. Hands each request to one Lua function and
 * passes on what becomes of it; what a handler is, and what its errors mean, is Lua's business.
 */
#include "bind/http.h"

#include <stdlib.h>

#include "bind/bind.h"
#include "sys/fd.h"

struct l_server {
	struct http_server *server; /* NULL once it has stopped */
	unsigned generation;
	int request, stopped, self;
};

lua_State *http_caller;
struct http_handed http_handed;

lua_State *http_state(void)
{
	lua_State *L = http_caller ? http_caller : bind_main(NULL);

	lua_checkstack(L, 16);
	return L;
}

/* ---- what the loop tells ---- */

static void on_request(void *data, struct http_conn *c, const struct http_head *head)
{
	struct l_server *s = data;
	lua_State *L = http_state();
	lua_State *caller = http_caller;
	struct http_handed outer = http_handed, handed;

	http_caller = NULL;
	handed.request = http_request_push(L, c, head);
	http_log_keep(L, c, -1);
	handed.response = http_response_push(L, c, head);
	http_handed = handed;
	lua_rawgeti(L, LUA_REGISTRYINDEX, s->request);
	lua_pushvalue(L, -3);
	lua_pushvalue(L, -3);
	bind_call(L, 2, 0, "request");
	http_handed = outer;
	lua_pop(L, 2);
	http_caller = caller;
}

/* Call the function, or each of the table of functions, that a reference holds. */
static void wake(int ref, const char *where)
{
	lua_State *L = http_state();
	lua_State *caller = http_caller;

	if (!ref)
		return;
	http_caller = NULL;
	lua_rawgeti(L, LUA_REGISTRYINDEX, ref);
	luaL_unref(L, LUA_REGISTRYINDEX, ref);
	if (lua_isfunction(L, -1)) {
		bind_call(L, 0, 0, where);
	} else {
		int n = (int)lua_objlen(L, -1);

		for (int i = 1; i <= n; i++) {
			lua_rawgeti(L, -1, i);
			bind_call(L, 0, 0, where);
		}
		lua_pop(L, 1);
	}
	http_caller = caller;
}

static int taken(int *ref)
{
	int value = *ref;

	*ref = 0;
	return value;
}

static void on_body(void *data, struct http_conn *c)
{
	(void)data;
	wake(taken(&http_refs(c)->body), "request body");
}

static void on_drained(void *data, struct http_conn *c)
{
	(void)data;
	wake(taken(&http_refs(c)->drain), "response");
}

static void on_closed(void *data, struct http_conn *c)
{
	(void)data;
	wake(taken(&http_refs(c)->close), "request close");
}

static void on_ended(void *data, struct http_refs refs, bool gone)
{
	(void)data;
	if (gone)
		wake(refs.close, "request close");
	else
		luaL_unref(http_state(), LUA_REGISTRYINDEX, refs.close ? refs.close : LUA_NOREF);
	wake(refs.body, "request body");
	wake(refs.drain, "response");
}

static void on_stopped(void *data)
{
	struct l_server *s = data;
	lua_State *L = http_state();
	int stopped = s->stopped;

	s->server = NULL;
	s->stopped = LUA_NOREF;
	bind_unref(L, &s->request);
	/* From here the collector may take it. */
	bind_unref(L, &s->self);
	if (stopped != LUA_NOREF)
		wake(stopped, "server close");
}

static const struct http_app app = {
	.request = on_request,
	.body = on_body,
	.drained = on_drained,
	.closed = on_closed,
	.ended = on_ended,
	.stopped = on_stopped,
};

/* ---- what Lua asks ---- */

static struct l_server *check_server(lua_State *L)
{
	return luaL_checkudata(L, 1, "brood.http.server");
}

/* Of this process, and not stopped. */
static bool is_open(const struct l_server *s)
{
	return s->server && s->generation == fork_generation();
}

static uint64_t limit_field(lua_State *L, const char *name, uint64_t missing)
{
	lua_Number n;

	lua_getfield(L, 1, name);
	if (lua_isnil(L, -1)) {
		lua_pop(L, 1);
		return missing;
	}
	n = luaL_checknumber(L, -1);
	lua_pop(L, 1);
	return n <= 0 ? 0 : (uint64_t)n;
}

/* server{ request = fn, max_header, max_body = bytes, header_timeout, ... = ms or nil } */
static int l_server(lua_State *L)
{
	struct http_limits limits;
	struct l_server *s;
	int err;

	luaL_checktype(L, 1, LUA_TTABLE);
	limits.max_header = limit_field(L, "max_header", 16384);
	limits.max_body = limit_field(L, "max_body", HTTP_NO_LIMIT);
	limits.header_timeout = limit_field(L, "header_timeout", 0);
	limits.body_timeout = limit_field(L, "body_timeout", 0);
	limits.write_timeout = limit_field(L, "write_timeout", 0);
	limits.idle_timeout = limit_field(L, "idle_timeout", 0);
	limits.request_timeout = limit_field(L, "request_timeout", 0);
	limits.max_open = limit_field(L, "max_open", 0);
	luaL_argcheck(L, limits.max_header <= 16 << 20, 1, "max_header: at most 16 MB");
	s = lua_newuserdata(L, sizeof(*s));
	s->server = NULL;
	s->generation = fork_generation();
	s->request = s->stopped = s->self = LUA_NOREF;
	luaL_getmetatable(L, "brood.http.server");
	lua_setmetatable(L, -2);
	s->request = bind_ref_field(L, 1, "request");
	err = http_server_open(&s->server, bind_loop(L), &limits, &app, s);
	if (err)
		return bind_fail(L, err, "http server");
	s->self = bind_ref(L, -1);
	return 1;
}

static int l_listen(lua_State *L)
{
	struct l_server *s = check_server(L);
	int fd = luaL_checkint(L, 2);
	int err;

	if (!is_open(s))
		return bind_fail_code(L, "closed", "the server is closed");
	err = http_server_listen(s->server, fd);
	if (err)
		return bind_fail(L, err, "listen on descriptor %d", fd);
	lua_pushboolean(L, 1);
	return 1;
}

static int stop(lua_State *L, void (*how)(struct http_server *))
{
	struct l_server *s = check_server(L);
	lua_State *caller = http_caller;

	if (!bind_goes_on(L, 2, is_open(s), &s->stopped))
		return 0;
	http_caller = L;
	how(s->server);
	http_caller = caller;
	return 0;
}

static void drop_idle(struct http_server *s)
{
	http_server_shutdown(s, false);
}

static void keep_idle(struct http_server *s)
{
	http_server_shutdown(s, true);
}

/*
 * shutdown([fn [, linger]]): graceful; fn() once nothing is left. linger: idle connections stay
 * until the answer to their next request, or until a shutdown without it.
 */
static int l_shutdown(lua_State *L)
{
	return stop(L, lua_toboolean(L, 3) ? keep_idle : drop_idle);
}

static int l_close(lua_State *L)
{
	return stop(L, http_server_close);
}

/* limit_requests(ms): none takes longer from now on, those in progress from now */
static int l_limit_requests(lua_State *L)
{
	struct l_server *s = check_server(L);
	lua_Number ms = luaL_checknumber(L, 2);

	luaL_argcheck(L, ms >= 1 && ms <= 1e15, 2, "at least a millisecond");
	if (is_open(s))
		http_server_limit(s->server, (uint64_t)ms);
	return 0;
}

static int limit_ref;

static void on_limit(void)
{
	wake(taken(&limit_ref), "request limit");
}

/* request_limit(n, fn): fn() when so many more requests have begun in this process. */
static int l_request_limit(lua_State *L)
{
	lua_Number n = luaL_checknumber(L, 1);

	luaL_argcheck(L, n >= 1, 1, "at least one request");
	luaL_checktype(L, 2, LUA_TFUNCTION);
	luaL_unref(L, LUA_REGISTRYINDEX, limit_ref ? limit_ref : LUA_NOREF);
	limit_ref = bind_ref(L, 2);
	http_request_limit((uint64_t)n, on_limit);
	return 0;
}

static int l_counts(lua_State *L)
{
	struct l_server *s = check_server(L);
	struct http_counts counts = { 0 };

	if (is_open(s))
		counts = http_server_counts(s->server);
	lua_pushnumber(L, (lua_Number)counts.connections);
	lua_pushnumber(L, (lua_Number)counts.active);
	lua_pushnumber(L, (lua_Number)counts.requests);
	return 3;
}

static const luaL_Reg methods[] = {
	{ "listen", l_listen },
	{ "shutdown", l_shutdown },
	{ "close", l_close },
	{ "counts", l_counts },
	{ "limit_requests", l_limit_requests },
	{ NULL, NULL },
};

int bind_open_http(lua_State *L)
{
	/* Anchored while it is open, so there is nothing for a finalizer to do. */
	bind_class(L, "http.server", methods, NULL);
	lua_newtable(L);
	lua_pushcfunction(L, l_server);
	lua_setfield(L, -2, "server");
	lua_pushcfunction(L, l_request_limit);
	lua_setfield(L, -2, "request_limit");
	http_log_functions(L);
	http_request_classes(L);
	lua_setfield(L, -2, "request");
	http_response_classes(L);
	lua_setfield(L, -2, "response");
	return 1;
}
