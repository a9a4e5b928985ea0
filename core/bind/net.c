/*
 * net.c - brood.core.net: plain connections, servers of them, and connecting.
 * A connection is a userdata that names it by address and life, and closes it
 * when nobody holds it any more. Waiting is Lua's business.
 */
#include <stdlib.h>
#include <string.h>

#include "bind/bind.h"
#include "loop/connect.h"
#include "loop/net.h"
#include "sys/addr.h"
#include "sys/fd.h"

struct l_conn {
	struct net_conn *conn;
	uint64_t life;
	struct conn_peer peer;
};

struct l_server {
	struct net_server *server; /* NULL once it has stopped */
	unsigned generation;
	int connection, stopped, self;
};

/* As in http.h: the state in which one of our functions runs. */
static lua_State *caller;

static lua_State *state(void)
{
	lua_State *L = caller ? caller : bind_main(NULL);

	lua_checkstack(L, 8);
	return L;
}

/* Call fn from `ref` with nothing in between us and it: what it calls comes with its own state. */
static void call_ref(int *ref, const char *where)
{
	lua_State *L = state();
	lua_State *outer = caller;

	if (*ref == 0 || *ref == LUA_NOREF)
		return;
	caller = NULL;
	lua_rawgeti(L, LUA_REGISTRYINDEX, *ref);
	luaL_unref(L, LUA_REGISTRYINDEX, *ref);
	*ref = 0;
	bind_call(L, 0, 0, where);
	caller = outer;
}

/* ---- connections ---- */

static struct l_conn *check_conn(lua_State *L)
{
	return luaL_checkudata(L, 1, "brood.net.conn");
}

static int closed(lua_State *L)
{
	return bind_fail_code(L, "closed", "the connection is closed");
}

static void push_conn(lua_State *L, struct net_conn *c)
{
	struct l_conn *ud = lua_newuserdata(L, sizeof(*ud));

	ud->conn = c;
	ud->life = net_life(c);
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
		call_ref(&refs.read, "connection");
	if (write)
		call_ref(&refs.drain, "connection");
}

/* read() -> bytes | nil at the end | false: wait | nil, err */
static int l_read(lua_State *L)
{
	struct l_conn *ud = check_conn(L);
	lua_State *outer = caller;
	const char *bytes;
	ssize_t n;

	if (!net_alive(ud->conn, ud->life))
		return closed(L);
	caller = L;
	n = net_read(ud->conn, &bytes);
	caller = outer;
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
	lua_State *outer = caller;
	size_t len;
	const char *bytes = luaL_checklstring(L, 2, &len);
	int got;

	if (!net_alive(ud->conn, ud->life))
		return closed(L);
	caller = L;
	got = net_write(ud->conn, bytes, len);
	caller = outer;
	if (got < 0)
		return got == -EPIPE || got == -ECONNRESET ? closed(L) : bind_fail(L, got, "write");
	lua_pushboolean(L, got == 0);
	return 1;
}

/* close() -> true | false: wait until the rest is sent */
static int l_close(lua_State *L)
{
	struct l_conn *ud = check_conn(L);
	lua_State *outer = caller;
	bool now = true;

	if (net_alive(ud->conn, ud->life)) {
		caller = L;
		now = net_close(ud->conn);
		caller = outer;
	}
	lua_pushboolean(L, now);
	return 1;
}

/* close_done() -> whether nothing of it is left */
static int l_close_done(lua_State *L)
{
	struct l_conn *ud = check_conn(L);

	lua_pushboolean(L, !ud->life || net_life(ud->conn) != ud->life);
	return 1;
}

static int wait_on(lua_State *L, bool read)
{
	struct l_conn *ud = check_conn(L);
	int *ref;

	luaL_checktype(L, 2, LUA_TFUNCTION);
	if (!ud->life || net_life(ud->conn) != ud->life)
		return closed(L);
	ref = read ? &net_refs(ud->conn)->read : &net_refs(ud->conn)->drain;
	if (*ref)
		return luaL_error(L, "another task is already %s this connection",
				  read ? "reading" : "writing to");
	*ref = bind_ref(L, 2);
	lua_pushboolean(L, 1);
	return 1;
}

/* wait_read(fn), wait_write(fn): fn() once it is worth trying again. */
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

/* ---- servers ---- */

static struct l_server *check_server(lua_State *L)
{
	return luaL_checkudata(L, 1, "brood.net.server");
}

static bool is_open(const struct l_server *s)
{
	return s->server && s->generation == fork_generation();
}

static void on_connection(void *data, struct net_conn *c)
{
	struct l_server *s = data;
	lua_State *L = state();

	lua_rawgeti(L, LUA_REGISTRYINDEX, s->connection);
	push_conn(L, c);
	bind_call(L, 1, 0, "connection");
}

static void on_stopped(void *data)
{
	struct l_server *s = data;
	lua_State *L = state();
	int stopped = s->stopped;

	s->server = NULL;
	s->stopped = LUA_NOREF;
	bind_unref(L, &s->connection);
	bind_unref(L, &s->self);
	call_ref(&stopped, "server close");
}

static const struct net_app app = { .connection = on_connection, .stopped = on_stopped };

/* server{ connection = fn(conn) } */
static int l_server(lua_State *L)
{
	struct l_server *s;
	int err;

	luaL_checktype(L, 1, LUA_TTABLE);
	s = lua_newuserdata(L, sizeof(*s));
	s->server = NULL;
	s->generation = fork_generation();
	s->connection = s->stopped = s->self = LUA_NOREF;
	luaL_getmetatable(L, "brood.net.server");
	lua_setmetatable(L, -2);
	s->connection = bind_ref_field(L, 1, "connection");
	err = net_server_open(&s->server, bind_loop(L), &app, s);
	if (err)
		return bind_fail(L, err, "server");
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
	err = net_server_listen(s->server, fd);
	if (err)
		return bind_fail(L, err, "listen on descriptor %d", fd);
	lua_pushboolean(L, 1);
	return 1;
}

static int l_pause(lua_State *L)
{
	struct l_server *s = check_server(L);

	if (is_open(s))
		net_server_pause(s->server);
	return 0;
}

static int stop(lua_State *L, void (*how)(struct net_server *))
{
	struct l_server *s = check_server(L);
	lua_State *outer = caller;

	if (!lua_isnoneornil(L, 2)) {
		luaL_checktype(L, 2, LUA_TFUNCTION);
		if (!is_open(s)) {
			lua_pushvalue(L, 2);
			lua_call(L, 0, 0);
			return 0;
		}
		bind_unref(L, &s->stopped);
		s->stopped = bind_ref(L, 2);
	}
	if (!is_open(s))
		return 0;
	caller = L;
	how(s->server);
	caller = outer;
	return 0;
}

static int l_shutdown(lua_State *L)
{
	return stop(L, net_server_shutdown);
}

static int l_server_close(lua_State *L)
{
	return stop(L, net_server_close);
}

static int l_counts(lua_State *L)
{
	struct l_server *s = check_server(L);

	lua_pushnumber(L, is_open(s) ? (lua_Number)net_server_connections(s->server) : 0);
	return 1;
}

/* ---- connecting ---- */

struct l_connect {
	int ref;
	char address[ADDR_TEXT];
};

static void on_connected(void *data, int fd, const struct sockaddr *peer)
{
	struct l_connect *self = data;
	lua_State *L = state();
	struct net_conn *c;
	int err = fd < 0 ? fd : net_conn_open(&c, bind_loop(L), fd, peer);
	int top = lua_gettop(L);

	if (err && fd >= 0)
		fd_close(&fd);
	lua_rawgeti(L, LUA_REGISTRYINDEX, self->ref);
	luaL_unref(L, LUA_REGISTRYINDEX, self->ref);
	if (err) {
		char why[ADDR_TEXT + 128];

		snprintf(why, sizeof(why), "connect to %s: %s", self->address, uv_strerror(err));
		bind_push_error(L, uv_err_name(err), why);
	} else {
		lua_pushnil(L);
		push_conn(L, c);
	}
	free(self);
	bind_call(L, lua_gettop(L) - top - 1, 0, "connect");
}

/* connect(address, fn(err, conn)) -> true | nil, err */
static int l_connect(lua_State *L)
{
	const char *text = luaL_checkstring(L, 1);
	struct connector *connector;
	struct l_connect *self;
	struct addr addr;
	int err;

	luaL_checktype(L, 2, LUA_TFUNCTION);
	err = addr_parse(&addr, text);
	if (err)
		return bind_fail_code(L, uv_err_name(err), "connect to '%s': %s", text,
				      addr_problem(err));
	self = malloc(sizeof(*self));
	if (!self)
		return bind_fail(L, -ENOMEM, "connect");
	snprintf(self->address, sizeof(self->address), "%s", text);
	self->ref = bind_ref(L, 2);
	err = connect_start(&connector, bind_loop(L), &addr, on_connected, self);
	if (err) {
		luaL_unref(L, LUA_REGISTRYINDEX, self->ref);
		free(self);
		return bind_fail(L, err, "connect to %s", text);
	}
	lua_pushboolean(L, 1);
	return 1;
}

static const luaL_Reg conn_methods[] = {
	{ "read", l_read },
	{ "write", l_write },
	{ "close", l_close },
	{ "close_done", l_close_done },
	{ "wait_read", l_wait_read },
	{ "wait_write", l_wait_write },
	{ "remote_address", l_remote_address },
	{ NULL, NULL },
};

static const luaL_Reg server_methods[] = {
	{ "listen", l_listen },      { "pause", l_pause },   { "shutdown", l_shutdown },
	{ "close", l_server_close }, { "counts", l_counts }, { NULL, NULL },
};

static const luaL_Reg functions[] = {
	{ "server", l_server },
	{ "connect", l_connect },
	{ NULL, NULL },
};

int bind_open_net(lua_State *L)
{
	net_set_wake(on_wake);
	bind_class(L, "net.conn", conn_methods, l_conn_gc);
	bind_class(L, "net.server", server_methods, NULL);
	lua_newtable(L);
	luaL_register(L, NULL, functions);
	return 1;
}
