/*
 * net_conn.c - a plain connection as an object: a userdata that names it by address
 * and life, and closes it when nobody holds it any more. Waiting is Lua's business.
 */
#include <stdlib.h>

#include "bind/net.h"
#include "sys/fd.h"

struct l_conn {
	struct net_conn *conn;
	uint64_t life;
	unsigned generation;
	struct conn_peer peer;
};

lua_State *net_caller;

lua_State *net_state(void)
{
	lua_State *L = net_caller ? net_caller : bind_main(NULL);

	lua_checkstack(L, 8);
	return L;
}

void net_call_ref(int *ref, const char *where)
{
	lua_State *L = net_state();
	lua_State *outer = net_caller;

	if (*ref == 0 || *ref == LUA_NOREF)
		return;
	net_caller = NULL;
	lua_rawgeti(L, LUA_REGISTRYINDEX, *ref);
	luaL_unref(L, LUA_REGISTRYINDEX, *ref);
	*ref = 0;
	bind_call(L, 0, 0, where);
	net_caller = outer;
}

static struct l_conn *check_conn(lua_State *L)
{
	return luaL_checkudata(L, 1, "brood.net.conn");
}

static int closed(lua_State *L)
{
	return bind_fail_code(L, "closed", "the connection is closed");
}

void net_conn_push(lua_State *L, struct net_conn *c)
{
	struct l_conn *ud = lua_newuserdata(L, sizeof(*ud));

	ud->conn = c;
	ud->life = net_life(c);
	ud->generation = fork_generation();
	ud->peer = *net_peer(c);
	luaL_getmetatable(L, "brood.net.conn");
	lua_setmetatable(L, -2);
}

static void on_wake(struct net_conn *c, bool read, bool write)
{
	struct net_refs refs = *net_refs(c);

	/* Taken before anybody runs: the connection may be somebody else's afterwards. */
	if (read)
		net_refs(c)->read = 0;
	if (write)
		net_refs(c)->drain = 0;
	if (read)
		net_call_ref(&refs.read, "connection");
	if (write)
		net_call_ref(&refs.drain, "connection");
}

/* read() -> bytes | nil at the end | false: wait | nil, err */
static int l_read(lua_State *L)
{
	struct l_conn *ud = check_conn(L);
	lua_State *outer = net_caller;
	const char *bytes;
	ssize_t n;

	if (!net_alive(ud->conn, ud->life))
		return closed(L);
	net_caller = L;
	n = net_read(ud->conn, &bytes);
	net_caller = outer;
	if (n == -EAGAIN)
		lua_pushboolean(L, 0);
	else if (n < 0)
		return bind_fail(L, (int)n, "read");
	else if (n == 0)
		lua_pushnil(L);
	else
		lua_pushlstring(L, bytes, (size_t)n);
	return 1;
}

/* write(bytes) -> true | false: wait | nil, err */
static int l_write(lua_State *L)
{
	struct l_conn *ud = check_conn(L);
	lua_State *outer = net_caller;
	size_t len;
	const char *bytes = luaL_checklstring(L, 2, &len);
	int got;

	if (!net_alive(ud->conn, ud->life))
		return closed(L);
	net_caller = L;
	got = net_write(ud->conn, bytes, len);
	net_caller = outer;
	if (got < 0)
		return got == -EPIPE || got == -ECONNRESET ? closed(L) : bind_fail(L, got, "write");
	lua_pushboolean(L, got == 0);
	return 1;
}

/* finish(): the end of our side, behind what still waits to be sent */
static int l_finish(lua_State *L)
{
	struct l_conn *ud = check_conn(L);

	if (!net_alive(ud->conn, ud->life))
		return closed(L);
	net_end(ud->conn);
	lua_pushboolean(L, 1);
	return 1;
}

/* keep(on): whether the loop lives on for it */
static int l_keep(lua_State *L)
{
	struct l_conn *ud = check_conn(L);
	int err;

	if (!net_alive(ud->conn, ud->life))
		return closed(L);
	err = net_keep(ud->conn, lua_toboolean(L, 2));
	if (err)
		return bind_fail(L, err, "watch");
	lua_pushboolean(L, 1);
	return 1;
}

/* close() -> true | false: wait until the rest is sent */
static int l_close(lua_State *L)
{
	struct l_conn *ud = check_conn(L);
	lua_State *outer = net_caller;
	bool now = true;

	if (net_alive(ud->conn, ud->life)) {
		net_caller = L;
		now = net_close(ud->conn);
		net_caller = outer;
	}
	lua_pushboolean(L, now);
	return 1;
}

/* abort(): close now, by a reset; what waits to be sent is lost */
static int l_abort(lua_State *L)
{
	struct l_conn *ud = check_conn(L);
	lua_State *outer = net_caller;

	/* One that closes slowly, too. */
	if (ud->generation != fork_generation() || net_life(ud->conn) != ud->life)
		return 0;
	net_caller = L;
	net_abort(ud->conn);
	net_caller = outer;
	return 0;
}

/* close_done() -> whether nothing of it is left to send */
static int l_close_done(lua_State *L)
{
	struct l_conn *ud = check_conn(L);

	lua_pushboolean(L, !ud->life || net_closed(ud->conn, ud->life));
	return 1;
}

static int wait_on(lua_State *L, bool read)
{
	struct l_conn *ud = check_conn(L);
	int *ref;

	if (!lua_isnil(L, 2))
		luaL_checktype(L, 2, LUA_TFUNCTION);
	if (!ud->life || net_life(ud->conn) != ud->life)
		return closed(L);
	ref = read ? &net_refs(ud->conn)->read : &net_refs(ud->conn)->drain;
	if (lua_isnil(L, 2)) {
		if (*ref)
			luaL_unref(L, LUA_REGISTRYINDEX, *ref);
		*ref = 0;
		return 0;
	}
	if (*ref)
		return luaL_error(L, "another task is already %s this connection",
				  read ? "reading" : "writing to");
	*ref = bind_ref(L, 2);
	lua_pushboolean(L, 1);
	return 1;
}

/* wait_read(fn), wait_write(fn): fn() once it is worth trying again; nil: not any more. */
static int l_wait_read(lua_State *L)
{
	return wait_on(L, true);
}

static int l_wait_write(lua_State *L)
{
	return wait_on(L, false);
}

static int l_remote_address(lua_State *L)
{
	struct l_conn *ud = check_conn(L);
	char text[INET6_ADDRSTRLEN];

	conn_peer_text(&ud->peer, text);
	lua_pushstring(L, text);
	lua_pushinteger(L, ud->peer.port);
	return 2;
}

static int l_conn_gc(lua_State *L)
{
	struct l_conn *ud = lua_touserdata(L, 1);

	if (net_alive(ud->conn, ud->life) && !net_refs(ud->conn)->read &&
	    !net_refs(ud->conn)->drain)
		net_close(ud->conn);
	return 0;
}

void net_conn_class(lua_State *L)
{
	static const luaL_Reg conn_methods[] = {
		{ "read", l_read },
		{ "write", l_write },
		{ "abort", l_abort },
		{ "close", l_close },
		{ "close_done", l_close_done },
		{ "finish", l_finish },
		{ "keep", l_keep },
		{ "wait_read", l_wait_read },
		{ "wait_write", l_wait_write },
		{ "remote_address", l_remote_address },
		{ NULL, NULL },
	};

	net_set_wake(on_wake);
	bind_class(L, "net.conn", conn_methods, l_conn_gc);
}
