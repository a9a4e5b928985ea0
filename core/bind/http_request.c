/*
 * http_request.c - `req`: the bytes of a head with offsets, read lazily, and
 * still readable after the response is finished. It has no finalizer. Its body is
 * the connection's, and is gone when the request is.
 */
#include <string.h>
#include <strings.h>

#include "bind/bind.h"
#include "bind/http.h"
#include "loop/http_taken.h"
#include "sys/scoreboard.h"

/* In place of a method: a field that is computed. */
enum field { METHOD = 1, PATH, QUERY, HEADERS, VERSION, REMOTE_ADDRESS, REMOTE_PORT, CLOSED, HOST };

struct l_request {
	struct http_conn *conn;
	uint64_t serial;
	struct http_slice method, path, query;
	struct http_slice host; /* see http_head */
	uint64_t started;       /* ns; 0 outside of a worker */
	uint32_t count;
	uint8_t minor;
	/* It has a table of its own: fields set by the user, and those worth keeping. */
	bool has_table;
	struct conn_peer peer;
	/* count fields, then the bytes of the head. */
	struct http_field fields[];
};

static const void *class;

static struct l_request *check(lua_State *L)
{
	struct l_request *r = lua_touserdata(L, 1);

	if (r && r == http_handed.request)
		return r;
	if (r && lua_getmetatable(L, 1)) {
		bool same = lua_topointer(L, -1) == class;

		lua_pop(L, 1);
		if (same)
			return r;
	}
	luaL_typerror(L, 1, "request");
	return NULL;
}

static const char *bytes_of(const struct l_request *r)
{
	return (const char *)&r->fields[r->count];
}

void http_request_describe(lua_State *L, struct http_asked *asked)
{
	struct l_request *r = check(L);

	asked->conn = r->conn;
	asked->serial = r->serial;
	asked->head = (struct http_head){ .base = bytes_of(r),
					  .len = lua_objlen(L, 1) -
						 (size_t)(bytes_of(r) - (const char *)r),
					  .method = r->method,
					  .path = r->path,
					  .query = r->query,
					  .host = r->host,
					  .fields = r->fields,
					  .count = r->count,
					  .minor = r->minor };
}

static void push_slice(lua_State *L, const struct l_request *r, struct http_slice s)
{
	lua_pushlstring(L, bytes_of(r) + s.at, s.len);
}

/*
 * A name that came before: joined by ", ", but set-cookie, whose values may contain commas,
 * becomes a list.
 */
static void add_repeated(lua_State *L, const struct l_request *r, const struct http_field *f)
{
	/* table, name, old value */
	if (strcmp(lua_tostring(L, -2), "set-cookie") == 0) {
		if (!lua_istable(L, -1)) {
			lua_createtable(L, 2, 0);
			lua_insert(L, -2);
			lua_rawseti(L, -2, 1);
		}
		push_slice(L, r, f->value);
		lua_rawseti(L, -2, (int)lua_objlen(L, -2) + 1);
	} else {
		lua_pushliteral(L, ", ");
		push_slice(L, r, f->value);
		lua_concat(L, 3);
	}
}

static void push_headers(lua_State *L, const struct l_request *r)
{
	lua_createtable(L, 0, (int)r->count);
	for (uint32_t i = 0; i < r->count; i++) {
		bind_push_name(L, bytes_of(r) + r->fields[i].name.at, r->fields[i].name.len);
		lua_pushvalue(L, -1);
		lua_rawget(L, -3);
		if (lua_isnil(L, -1)) {
			lua_pop(L, 1);
			push_slice(L, r, r->fields[i].value);
		} else {
			add_repeated(L, r, &r->fields[i]);
		}
		lua_rawset(L, -3);
	}
}

/* The host that is asked, or nil: what need not have all headers. */
static void push_host(lua_State *L, const struct l_request *r)
{
	for (uint32_t i = 0; i < r->count; i++) {
		const struct http_field *f = &r->fields[i];

		if (f->name.len == 4 && strncasecmp(bytes_of(r) + f->name.at, "host", 4) == 0) {
			push_slice(L, r, f->value);
			return;
		}
	}
	if (r->host.len)
		push_slice(L, r, r->host);
	else
		lua_pushnil(L);
}

/* Set field `key` (an index) of the request's own table to the value on top; leaves the value. */
static void keep(lua_State *L, struct l_request *r, int key)
{
	if (!r->has_table) {
		lua_newtable(L);
		lua_setfenv(L, 1);
		r->has_table = true;
	}
	lua_getfenv(L, 1);
	lua_pushvalue(L, key);
	lua_pushvalue(L, -3);
	lua_rawset(L, -3);
	lua_pop(L, 1);
}

static bool is_closed(const struct l_request *r)
{
	return !http_alive(r->conn, r->serial) || http_client_gone(r->conn);
}

static int push_field(lua_State *L, struct l_request *r, int field)
{
	char address[INET6_ADDRSTRLEN];

	switch (field) {
	case METHOD: push_slice(L, r, r->method); break;
	case PATH: push_slice(L, r, r->path); break;
	case QUERY: push_slice(L, r, r->query); break;
	case HEADERS:
		push_headers(L, r);
		keep(L, r, 2);
		break;
	case VERSION: lua_pushstring(L, r->minor ? "1.1" : "1.0"); break;
	case REMOTE_ADDRESS:
		conn_peer_text(&r->peer, address);
		lua_pushstring(L, address);
		break;
	case REMOTE_PORT: lua_pushinteger(L, r->peer.port); break;
	case CLOSED: lua_pushboolean(L, is_closed(r)); break;
	case HOST: push_host(L, r); break;
	}
	return 1;
}

static int l_index(lua_State *L)
{
	struct l_request *r = check(L);

	if (r->has_table) {
		lua_getfenv(L, 1);
		lua_pushvalue(L, 2);
		lua_rawget(L, -2);
		if (!lua_isnil(L, -1))
			return 1;
		lua_pop(L, 2);
	}
	lua_pushvalue(L, 2);
	lua_rawget(L, lua_upvalueindex(1));
	if (lua_type(L, -1) != LUA_TNUMBER)
		return 1;
	return push_field(L, r, (int)lua_tointeger(L, -1));
}

static int l_newindex(lua_State *L)
{
	keep(L, check(L), 2);
	return 0;
}

static int closed(lua_State *L)
{
	return bind_fail_code(L, "closed", "the client has gone, or the request is answered");
}

static int push_bytes(lua_State *L)
{
	const struct buffer *b = lua_touserdata(L, 1);

	lua_pushlstring(L, b->data ? b->data : "", b->len);
	return 1;
}

/*
 * What has come of the body. Making a string of it may run a finalizer, which may end the request
 * and all that is its connection's: meanwhile the bytes are ours.
 */
static int push_body(lua_State *L, struct l_request *r)
{
	struct buffer body = { 0 };
	int failed;

	lua_pushcfunction(L, push_bytes);
	lua_pushlightuserdata(L, &body);
	if (!http_alive(r->conn, r->serial))
		return closed(L);
	http_body_lend(r->conn, &body);
	failed = lua_pcall(L, 1, 1, 0);
	if (http_alive(r->conn, r->serial))
		http_body_return(r->conn, &body, !failed);
	buffer_free(&body);
	return failed ? lua_error(L) : 1;
}

/* -> all of the body | false: wait | nil, err */
static int take_whole(lua_State *L, struct l_request *r)
{
	const char *bytes;
	size_t len;

	switch (http_body_peek(r->conn, &bytes, &len)) {
	case HTTP_BODY_END: return push_body(L, r);
	case HTTP_BODY_TOO_LARGE:
		return bind_fail_code(L, "too_large", "the request's body is larger than max_body");
	case HTTP_BODY_GONE: return closed(L);
	default:
		if (http_body_want(r->conn, true))
			return closed(L);
		lua_pushboolean(L, 0);
		return 1;
	}
}

/* -> what has come | nil at the end | false: wait | nil, err */
static int take_some(lua_State *L, struct l_request *r)
{
	const char *bytes;
	size_t len;
	enum http_body_state state = http_body_peek(r->conn, &bytes, &len);

	if (state == HTTP_BODY_TOO_LARGE)
		return bind_fail_code(L, "too_large", "the request's body is larger than max_body");
	if (len)
		return push_body(L, r);
	if (state == HTTP_BODY_GONE)
		return closed(L);
	if (state == HTTP_BODY_END) {
		lua_pushnil(L);
		return 1;
	}
	if (http_body_want(r->conn, false))
		return closed(L);
	lua_pushboolean(L, 0);
	return 1;
}

/* take(whole) */
static int l_take(lua_State *L)
{
	struct l_request *r = check(L);
	lua_State *caller = http_caller;
	int n;

	if (!http_alive(r->conn, r->serial))
		return closed(L);
	http_caller = L;
	n = lua_toboolean(L, 2) ? take_whole(L, r) : take_some(L, r);
	http_caller = caller;
	return n;
}

/* gather() -> whether there is enough of the body for one who serves one request at a time */
static int l_gather(lua_State *L)
{
	struct l_request *r = check(L);

	lua_pushboolean(L, !http_alive(r->conn, r->serial) || http_body_gather(r->conn));
	return 1;
}

/* body_gone() -> whether the client has ended its side in the midst of the body */
static int l_body_gone(lua_State *L)
{
	struct l_request *r = check(L);

	lua_pushboolean(L, http_alive(r->conn, r->serial) && http_body_is_gone(r->conn));
	return 1;
}

/* wait(fn): fn() once there may be more to take. */
static int l_wait(lua_State *L)
{
	struct l_request *r = check(L);

	luaL_checktype(L, 2, LUA_TFUNCTION);
	if (!http_alive(r->conn, r->serial))
		return closed(L);
	if (http_refs(r->conn)->body)
		return luaL_error(L, "another task is already reading this request's body");
	http_refs(r->conn)->body = bind_ref(L, 2);
	lua_pushboolean(L, 1);
	return 1;
}

/* watch(fn): fn() when the client goes before the request is answered. */
static int l_watch(lua_State *L)
{
	struct l_request *r = check(L);
	struct http_refs *refs;

	luaL_checktype(L, 2, LUA_TFUNCTION);
	if (is_closed(r)) {
		lua_pushboolean(L, 0);
		return 1;
	}
	refs = http_refs(r->conn);
	if (refs->close)
		luaL_unref(L, LUA_REGISTRYINDEX, refs->close);
	refs->close = bind_ref(L, 2);
	lua_pushboolean(L, 1);
	return 1;
}

/*
 * too_large() -> whether the body goes beyond max_body and the request still waits for its
 * answer
 */
static int l_too_large(lua_State *L)
{
	struct l_request *r = check(L);

	lua_pushboolean(L, http_alive(r->conn, r->serial) && http_body_too_large(r->conn));
	return 1;
}

/* resumed(): its handler goes on, after others may have run. */
static int l_resumed(lua_State *L)
{
	struct l_request *r = check(L);
	struct scoreboard_slot *slot = scoreboard_mine();

	if (slot)
		scoreboard_request(slot, r->started, bytes_of(r) + r->method.at, r->method.len,
				   bytes_of(r) + r->path.at, r->path.len);
	return 0;
}

static const luaL_Reg methods[] = {
	{ "_resumed", l_resumed },     { "_take", l_take },
	{ "_wait", l_wait },           { "_watch", l_watch },
	{ "_too_large", l_too_large }, { "_gather", l_gather },
	{ "_body_gone", l_body_gone }, { NULL, NULL },
};

static const struct {
	const char *name;
	enum field field;
} computed[] = {
	{ "method", METHOD },
	{ "path", PATH },
	{ "query", QUERY },
	{ "headers", HEADERS },
	{ "version", VERSION },
	{ "remote_address", REMOTE_ADDRESS },
	{ "remote_port", REMOTE_PORT },
	{ "closed", CLOSED },
	{ "_host", HOST },
};

static int class_ref = LUA_NOREF;

void http_request_classes(lua_State *L)
{
	luaL_newmetatable(L, "brood.http.request");
	class = lua_topointer(L, -1);
	class_ref = bind_ref(L, -1);
	lua_newtable(L);
	luaL_register(L, NULL, methods);
	for (size_t i = 0; i < sizeof(computed) / sizeof(*computed); i++) {
		lua_pushinteger(L, computed[i].field);
		lua_setfield(L, -2, computed[i].name);
	}
	lua_pushvalue(L, -1);
	lua_pushcclosure(L, l_index, 1);
	lua_setfield(L, -3, "__index");
	lua_pushcfunction(L, l_newindex);
	lua_setfield(L, -3, "__newindex");
	lua_pushliteral(L, "brood.http.request");
	lua_setfield(L, -3, "__name");
	lua_remove(L, -2);
}

const void *http_request_push(lua_State *L, struct http_conn *c, const struct http_head *head)
{
	size_t fields = head->count * sizeof(struct http_field);
	struct l_request *r = lua_newuserdata(L, sizeof(*r) + fields + head->len);
	const struct scoreboard_slot *slot = scoreboard_mine();

	r->conn = c;
	r->serial = http_serial(c);
	r->method = head->method;
	r->path = head->path;
	r->query = head->query;
	r->host = head->host;
	r->started = slot ? slot->request_started : 0;
	r->count = (uint32_t)head->count;
	r->minor = head->minor;
	r->has_table = false;
	r->peer = *http_peer(c);
	if (fields)
		memcpy(r->fields, head->fields, fields);
	memcpy(r->fields + head->count, head->base, head->len);
	lua_rawgeti(L, LUA_REGISTRYINDEX, class_ref);
	lua_setmetatable(L, -2);
	return r;
}
