/*
 * http_response.c - `res`. While it is unfinished it has a finalizer, so that an
 * answer that nobody can give any more becomes a logged 500; once finished it
 * takes another metatable without one, because finalizers are what would cost most here.
 */
#include <stdio.h>
#include <string.h>

#include "bind/bind.h"
#include "bind/http.h"
#include "sys/log.h"

#define TEXT 64

struct l_response {
	struct http_conn *conn;
	uint64_t serial;
	bool finished;
	uint8_t len;
	char text[TEXT]; /* "GET /path", for the log */
};

static const void *open_class, *done_class;
static int open_ref = LUA_NOREF, done_ref = LUA_NOREF;

static struct l_response *check(lua_State *L)
{
	struct l_response *r = lua_touserdata(L, 1);

	if (r && lua_getmetatable(L, 1)) {
		const void *class = lua_topointer(L, -1);

		lua_pop(L, 1);
		if (class == open_class || class == done_class)
			return r;
	}
	luaL_typerror(L, 1, "response");
	return NULL;
}

static bool alive(const struct l_response *r)
{
	return http_alive(r->conn, r->serial);
}

static int closed(lua_State *L)
{
	return bind_fail_code(L, "closed", "the client has gone");
}

/* The response has got its end, or has none any more: no finalizer. Expects it at index 1. */
static void set_finished(lua_State *L, struct l_response *r)
{
	r->finished = true;
	lua_rawgeti(L, LUA_REGISTRYINDEX, done_ref);
	lua_setmetatable(L, 1);
}

static void check_unfinished(lua_State *L, const struct l_response *r)
{
	if (r->finished)
		luaL_error(L, "the response is already finished");
}

static void check_head_unsent(lua_State *L, const struct l_response *r, const char *what)
{
	check_unfinished(L, r);
	if (alive(r) && http_head_sent(r->conn))
		luaL_error(L, "%s: the head of the response has already been sent", what);
}

static int self(lua_State *L)
{
	lua_settop(L, 1);
	return 1;
}

static int l_status(lua_State *L)
{
	struct l_response *r = check(L);
	int status = luaL_checkint(L, 2);

	check_head_unsent(L, r, "status");
	luaL_argcheck(L, status >= 200 && status <= 999, 2, "a status is a number from 200 to 999");
	if (!alive(r))
		return closed(L);
	http_set_status(r->conn, status);
	return self(L);
}

static void check_header(lua_State *L, int err, const char *name)
{
	if (err == -EINVAL)
		luaL_error(L,
			   "header '%s': a name is a token, and a value has no line break or NUL",
			   name);
	else if (err == -EPERM)
		luaL_error(L, "header '%s' is the server's own: it follows from write and finish",
			   name);
	else if (err)
		luaL_error(L, "header '%s': %s", name, strerror(-err));
}

static const char *check_value(lua_State *L, int index, const char *name, size_t *len)
{
	int type = lua_type(L, index);

	if (type != LUA_TSTRING && type != LUA_TNUMBER)
		luaL_error(L, "header '%s': a value must be a string or a number, got %s", name,
			   luaL_typename(L, index));
	return lua_tolstring(L, index, len);
}

/* header(name, value): a list sends one line each, nil removes */
static int l_header(lua_State *L)
{
	struct l_response *r = check(L);
	size_t name_len, len;
	const char *name = luaL_checklstring(L, 2, &name_len);
	const char *value;

	luaL_checkany(L, 3);
	check_head_unsent(L, r, "header");
	if (!alive(r))
		return closed(L);
	if (lua_isnil(L, 3)) {
		check_header(L, http_set_header(r->conn, name, name_len, NULL, 0), name);
		return self(L);
	}
	if (!lua_istable(L, 3)) {
		value = check_value(L, 3, name, &len);
		check_header(L, http_set_header(r->conn, name, name_len, value, len), name);
		return self(L);
	}
	check_header(L, http_set_header(r->conn, name, name_len, NULL, 0), name);
	for (int i = 1, n = (int)lua_objlen(L, 3); i <= n; i++) {
		lua_rawgeti(L, 3, i);
		value = check_value(L, -1, name, &len);
		check_header(L, http_add_header(r->conn, name, name_len, value, len), name);
		lua_pop(L, 1);
	}
	return self(L);
}

static const char *check_bytes(lua_State *L, size_t *len)
{
	int type = lua_type(L, 2);

	if (type != LUA_TSTRING && type != LUA_TNUMBER)
		luaL_typerror(L, 2, "string");
	return lua_tolstring(L, 2, len);
}

static int too_long(lua_State *L)
{
	return luaL_error(L, "the body does not have the Content-Length that was set");
}

/* write(bytes) -> true | false: so much waits that the writer should too | nil, err */
static int l_write(lua_State *L)
{
	struct l_response *r = check(L);
	lua_State *caller = http_caller;
	size_t len;
	const char *bytes = check_bytes(L, &len);
	int got;

	check_unfinished(L, r);
	if (!alive(r))
		return closed(L);
	http_caller = L;
	got = http_write(r->conn, bytes, len);
	http_caller = caller;
	if (got == -EMSGSIZE)
		return too_long(L);
	if (got < 0)
		return closed(L);
	lua_pushboolean(L, got == 0);
	return 1;
}

static int l_finish(lua_State *L)
{
	struct l_response *r = check(L);
	lua_State *caller = http_caller;
	const char *bytes = "";
	size_t len = 0;
	int err;

	if (!lua_isnoneornil(L, 2))
		bytes = check_bytes(L, &len);
	check_unfinished(L, r);
	if (!alive(r)) {
		set_finished(L, r);
		return closed(L);
	}
	http_caller = L;
	err = http_finish(r->conn, bytes, len);
	http_caller = caller;
	if (!alive(r))
		set_finished(L, r);
	if (err == -EMSGSIZE)
		return too_long(L);
	if (err)
		return closed(L);
	return self(L);
}

/*
 * fail(status) -> whether there was still something to answer: replaces an unsent answer,
 * cuts a sent one.
 */
static int l_fail(lua_State *L)
{
	struct l_response *r = check(L);
	lua_State *caller = http_caller;
	int status = luaL_checkint(L, 2);
	bool open = !r->finished && alive(r);

	if (open) {
		http_caller = L;
		http_fail(r->conn, status);
		http_caller = caller;
		set_finished(L, r);
	}
	lua_pushboolean(L, open);
	return 1;
}

/* wait(fn): fn() when the queue has drained or the client is gone. Any number may wait. */
static int l_wait(lua_State *L)
{
	struct l_response *r = check(L);
	struct http_refs *refs;

	luaL_checktype(L, 2, LUA_TFUNCTION);
	if (!alive(r))
		return closed(L);
	refs = http_refs(r->conn);
	if (refs->drain) {
		lua_rawgeti(L, LUA_REGISTRYINDEX, refs->drain);
		lua_pushvalue(L, 2);
		lua_rawseti(L, -2, (int)lua_objlen(L, -2) + 1);
	} else {
		lua_createtable(L, 1, 0);
		lua_pushvalue(L, 2);
		lua_rawseti(L, -2, 1);
		refs->drain = bind_ref(L, -1);
	}
	lua_pushboolean(L, 1);
	return 1;
}

/* open() -> whether an answer is still owed */
static int l_open(lua_State *L)
{
	struct l_response *r = check(L);

	lua_pushboolean(L, !r->finished && alive(r));
	return 1;
}

static int l_head_sent(lua_State *L)
{
	struct l_response *r = check(L);

	lua_pushboolean(L, r->finished || !alive(r) || http_head_sent(r->conn));
	return 1;
}

static int l_gc(lua_State *L)
{
	struct l_response *r = lua_touserdata(L, 1);

	if (r->finished || !alive(r))
		return 0;
	log_error("response dropped unfinished: %.*s", (int)r->len, r->text);
	http_drop(r->conn);
	return 0;
}

static const luaL_Reg methods[] = {
	{ "status", l_status },        { "header", l_header }, { "finish", l_finish },
	{ "_write", l_write },         { "_fail", l_fail },    { "_wait", l_wait },
	{ "_head_sent", l_head_sent }, { "_open", l_open },    { NULL, NULL },
};

/* A metatable whose __index is the table on top of the stack. */
static const void *new_class(lua_State *L, lua_CFunction gc, int *ref)
{
	const void *class;

	lua_createtable(L, 0, 3);
	class = lua_topointer(L, -1);
	lua_pushvalue(L, -2);
	lua_setfield(L, -2, "__index");
	lua_pushliteral(L, "brood.http.response");
	lua_setfield(L, -2, "__name");
	if (gc) {
		lua_pushcfunction(L, gc);
		lua_setfield(L, -2, "__gc");
	}
	*ref = luaL_ref(L, LUA_REGISTRYINDEX);
	return class;
}

void http_response_classes(lua_State *L)
{
	lua_newtable(L);
	luaL_register(L, NULL, methods);
	open_class = new_class(L, l_gc, &open_ref);
	done_class = new_class(L, NULL, &done_ref);
}

void http_response_push(lua_State *L, struct http_conn *c, const struct http_head *head)
{
	struct l_response *r = lua_newuserdata(L, sizeof(*r));
	size_t len = head->method.len + 1 + head->path.len;

	r->conn = c;
	r->serial = http_serial(c);
	r->finished = false;
	/* In the bytes as they came: an absolute form is logged as such. */
	r->len = (uint8_t)(len < TEXT ? len : TEXT);
	memcpy(r->text, head->base + head->method.at, r->len < head->len ? r->len : head->len);
	lua_rawgeti(L, LUA_REGISTRYINDEX, open_ref);
	lua_setmetatable(L, -2);
}
