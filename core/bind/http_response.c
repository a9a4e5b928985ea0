/*
 * http_response.c - `res`. While it is unfinished it has a finalizer, so that an
 * answer that nobody can give any more becomes a logged 500; once finished it
 * takes another metatable without one, because finalizers are what would cost most here.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "bind/bind.h"
#include "bind/http_response.h"
#include "sys/log.h"

static const void *open_class, *done_class;
static int open_ref = LUA_NOREF, done_ref = LUA_NOREF;

int response_mistake(lua_State *L, int level, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	luaL_where(L, level);
	lua_pushstring(L, text);
	lua_concat(L, 2);
	return lua_error(L);
}

struct l_response *response_find(lua_State *L, int index)
{
	struct l_response *r = lua_touserdata(L, index);

	if (r && r == http_handed.response)
		return r;
	if (r && lua_getmetatable(L, index)) {
		const void *class = lua_topointer(L, -1);

		lua_pop(L, 1);
		if (class == open_class || class == done_class)
			return r;
	}
	return NULL;
}

struct l_response *response_check(lua_State *L, int level, const char *name)
{
	struct l_response *r = response_find(L, 1);

	if (!r)
		response_mistake(L, level, "res:%s: call it with a colon, on a response; got %s",
				 name, luaL_typename(L, 1));
	return r;
}

int response_closed(lua_State *L)
{
	return bind_fail_code(L, "closed", "the client has gone");
}

void response_drop_finalizer(lua_State *L, int index)
{
	lua_rawgeti(L, LUA_REGISTRYINDEX, done_ref);
	lua_setmetatable(L, index);
}

static void drop_finalizer(lua_State *L)
{
	response_drop_finalizer(L, 1);
}

static void set_finished(lua_State *L, struct l_response *r)
{
	r->finished = true;
	drop_finalizer(L);
}

void response_check_unfinished(lua_State *L, const struct l_response *r, int level,
			       const char *name)
{
	if (r->finished)
		response_mistake(L, level, "res:%s: the response is already finished", name);
}

int response_self(lua_State *L)
{
	lua_settop(L, 1);
	return 1;
}

/* ---- the body ---- */

static const char *check_bytes(lua_State *L, int level, const char *method, const char *what,
			       size_t *len)
{
	int type = lua_type(L, 2);

	if (type != LUA_TSTRING && type != LUA_TNUMBER)
		response_mistake(L, level, "res:%s: the %s must be a string, got %s", method, what,
				 luaL_typename(L, 2));
	return lua_tolstring(L, 2, len);
}

static int wrong_length(lua_State *L, int level, const char *method, uint64_t total, uint64_t said)
{
	return response_mistake(
		L, level,
		"res:%s: the body has %llu bytes, and its Content-Length, as it was set, is "
		"%llu",
		method, (unsigned long long)total, (unsigned long long)said);
}

/* write(bytes) -> true | false: so much waits that the writer should too | nil, err */
static int l_write(lua_State *L)
{
	struct l_response *r = response_check(L, 2, "write");
	lua_State *caller = http_caller;
	const char *bytes;
	size_t len;
	int got;

	response_check_unfinished(L, r, 2, "write");
	if (!response_alive(r))
		return response_closed(L);
	bytes = check_bytes(L, 2, "write", "chunk", &len);
	http_caller = L;
	got = http_write(r->conn, bytes, len);
	http_caller = caller;
	if (got == -EMSGSIZE)
		return wrong_length(L, 2, "write", http_body_sent(r->conn) + len,
				    http_declared(r->conn));
	if (got < 0)
		return response_closed(L);
	lua_pushboolean(L, got == 0);
	return 1;
}

static int l_finish(lua_State *L)
{
	struct l_response *r = response_check(L, 1, "finish");
	lua_State *caller = http_caller;
	const char *bytes = "";
	uint64_t sent, declared;
	size_t len = 0;
	int err;

	response_check_unfinished(L, r, 1, "finish");
	if (!response_alive(r)) {
		drop_finalizer(L);
		return response_closed(L);
	}
	if (!lua_isnoneornil(L, 2))
		bytes = check_bytes(L, 1, "finish", "body", &len);
	sent = http_body_sent(r->conn);
	declared = http_declared(r->conn);
	http_caller = L;
	err = http_finish(r->conn, bytes, len);
	http_caller = caller;
	if (!err)
		set_finished(L, r);
	else if (!response_alive(r))
		drop_finalizer(L);
	if (err == -EMSGSIZE)
		return wrong_length(L, 1, "finish", sent + len, declared);
	return err ? response_closed(L) : response_self(L);
}

/*
 * fail(status) -> whether there was still something to answer: replaces an unsent answer,
 * cuts a sent one.
 */
static int l_fail(lua_State *L)
{
	struct l_response *r = response_check(L, 2, "write");
	lua_State *caller = http_caller;
	int status = luaL_checkint(L, 2);
	bool open = !r->finished && response_alive(r);

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
	struct l_response *r = response_check(L, 2, "write");
	struct http_refs *refs;

	luaL_checktype(L, 2, LUA_TFUNCTION);
	if (!response_alive(r))
		return response_closed(L);
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
	struct l_response *r = response_check(L, 2, "write");

	lua_pushboolean(L, !r->finished && response_alive(r));
	return 1;
}

/* cut() -> why the answer was over before its handler had finished it; nil where it was not */
static int l_cut(lua_State *L)
{
	struct l_response *r = response_check(L, 2, "write");

	if (r->finished || response_alive(r))
		lua_pushnil(L);
	else
		lua_pushstring(L, http_cut_by(r->conn, r->serial));
	return 1;
}

/* returned(): its handler has returned a value */
static int l_returned(lua_State *L)
{
	response_check(L, 2, "write")->returned = true;
	return 0;
}

static int l_gc(lua_State *L)
{
	struct l_response *r = lua_touserdata(L, 1);

	if (r->finished || !response_alive(r))
		return 0;
	log_error("response dropped unfinished: %.*s: its handler returned without res:finish(), "
		  "and nothing is left that could call it%s",
		  (int)r->len, r->text, r->returned ? "; what a handler returns is not sent" : "");
	http_drop(r->conn);
	return 0;
}

static const luaL_Reg methods[] = {
	{ "status", response_status }, { "header", response_header },
	{ "finish", l_finish },        { "_write", l_write },
	{ "_fail", l_fail },           { "_wait", l_wait },
	{ "_open", l_open },           { "_cut", l_cut },
	{ "_returned", l_returned },   { NULL, NULL },
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

const void *http_response_push(lua_State *L, struct http_conn *c, const struct http_head *head)
{
	size_t len = head->method.len + 1 + head->path.len;
	size_t kept = len < RESPONSE_TEXT ? len : RESPONSE_TEXT;
	struct l_response *r = lua_newuserdata(L, sizeof(*r) + kept);

	r->conn = c;
	r->serial = http_serial(c);
	r->finished = r->returned = false;
	/* In the bytes as they came: an absolute form is logged as such. */
	r->len = (uint8_t)kept;
	memcpy(r->text, head->base + head->method.at, r->len < head->len ? r->len : head->len);
	lua_rawgeti(L, LUA_REGISTRYINDEX, open_ref);
	lua_setmetatable(L, -2);
	return r;
}
