/*
 * net.c - brood.core.net: servers of plain connections, and connecting. What is
 * done with a connection is net_conn.c's.
 */
#include <stdlib.h>
#include <string.h>

#include "bind/net.h"
#include "loop/connect.h"
#include "sys/addr.h"
#include "sys/fd.h"

struct l_server {
	struct net_server *server; /* NULL once it has stopped */
	unsigned generation;
	int connection, stopped, self;
};

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
	lua_State *L = net_state();

	lua_rawgeti(L, LUA_REGISTRYINDEX, s->connection);
	net_conn_push(L, c);
	bind_call(L, 1, 0, "connection");
}

static void on_stopped(void *data)
{
	struct l_server *s = data;
	lua_State *L = net_state();
	int stopped = s->stopped;

	s->server = NULL;
	s->stopped = LUA_NOREF;
	bind_unref(L, &s->connection);
	bind_unref(L, &s->self);
	net_call_ref(&stopped, "server close");
}

static const struct net_app app = { .connection = on_connection, .stopped = on_stopped };

/* server{ connection = fn(conn), idle_timeout = ms | nil } */
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
	lua_getfield(L, 1, "idle_timeout");
	net_server_idle_timeout(s->server, (uint64_t)luaL_optnumber(L, -1, 0));
	lua_pop(L, 1);
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

static int stop(lua_State *L, void (*how)(struct net_server *))
{
	struct l_server *s = check_server(L);
	lua_State *outer = net_caller;

	if (!bind_goes_on(L, 2, is_open(s), &s->stopped))
		return 0;
	net_caller = L;
	how(s->server);
	net_caller = outer;
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
	struct connector *connector; /* NULL once it is over */
	unsigned generation;
	int ref, self;
	char address[ADDR_TEXT];
};

/* Nothing is under way any more: it may be collected. */
static void let_go(lua_State *L, struct l_connect *self)
{
	self->connector = NULL;
	bind_unref(L, &self->ref);
	bind_unref(L, &self->self);
}

static void on_connected(void *data, int fd, const struct sockaddr *peer)
{
	struct l_connect *self = data;
	lua_State *L = net_state();
	struct net_conn *c;
	int err = fd < 0 ? fd : net_conn_open(&c, bind_loop(L), fd, peer);
	int top = lua_gettop(L);

	if (err && fd >= 0)
		fd_close(&fd);
	lua_rawgeti(L, LUA_REGISTRYINDEX, self->ref);
	if (err) {
		char why[ADDR_TEXT + 128];

		snprintf(why, sizeof(why), "connect to %s: %s", self->address, uv_strerror(err));
		bind_push_error(L, uv_err_name(err), why);
	} else {
		lua_pushnil(L);
		net_conn_push(L, c);
	}
	let_go(L, self);
	bind_call(L, lua_gettop(L) - top - 1, 0, "connect");
}

/* cancel(): fn is not called any more */
static int l_cancel(lua_State *L)
{
	struct l_connect *self = luaL_checkudata(L, 1, "brood.net.connect");
	struct connector *connector = self->connector;

	if (!connector || self->generation != fork_generation())
		return 0;
	let_go(L, self);
	connect_cancel(connector);
	return 0;
}

/* connect(address, fn(err, conn)) -> what can be cancelled | nil, err */
static int l_connect(lua_State *L)
{
	const char *text = luaL_checkstring(L, 1);
	struct l_connect *self;
	struct addr addr;
	int err;

	luaL_checktype(L, 2, LUA_TFUNCTION);
	err = addr_parse(&addr, text);
	if (err)
		return bind_fail_code(L, uv_err_name(err), "connect to '%s': %s", text,
				      addr_problem(err));
	self = lua_newuserdata(L, sizeof(*self));
	*self = (struct l_connect){ .generation = fork_generation() };
	luaL_getmetatable(L, "brood.net.connect");
	lua_setmetatable(L, -2);
	snprintf(self->address, sizeof(self->address), "%s", text);
	self->ref = bind_ref(L, 2);
	self->self = bind_ref(L, -1);
	err = connect_start(&self->connector, bind_loop(L), &addr, on_connected, self);
	if (err) {
		let_go(L, self);
		return bind_fail(L, err, "connect to %s", text);
	}
	return 1;
}

static const luaL_Reg server_methods[] = {
	{ "listen", l_listen },
	{ "shutdown", l_shutdown },
	{ "close", l_server_close },
	{ "counts", l_counts },
	{ NULL, NULL },
};

static const luaL_Reg connect_methods[] = {
	{ "cancel", l_cancel },
	{ NULL, NULL },
};

static const luaL_Reg functions[] = {
	{ "server", l_server },
	{ "connect", l_connect },
	{ NULL, NULL },
};

int bind_open_net(lua_State *L)
{
	net_conn_class(L);
	bind_class(L, "net.server", server_methods, NULL);
	bind_class(L, "net.connect", connect_methods, NULL);
	lua_newtable(L);
	luaL_register(L, NULL, functions);
	return 1;
}
