/*
 * listener.c - brood.core.listener: listening sockets as objects.
 */
#include <stdlib.h>

#include "bind/bind.h"
#include "loop/accept.h"
#include "sys/fd.h"
#include "sys/listen.h"
#include "sys/unix_bind.h"

#define CLASS "brood.listener"

struct box {
	struct listener *listener; /* NULL once closed */
	unsigned generation;
};

static struct listener *check_live(lua_State *L)
{
	struct box *box = luaL_checkudata(L, 1, CLASS);

	if (!box->listener)
		bind_fail_code(L, "closed", "listener: closed");
	return box->listener;
}

static struct box *box_push(lua_State *L)
{
	struct box *box = lua_newuserdata(L, sizeof(*box));

	*box = (struct box){ .generation = fork_generation() };
	luaL_getmetatable(L, CLASS);
	lua_setmetatable(L, -2);
	return box;
}

static int read_integer(lua_State *L, int table, const char *field, int otherwise)
{
	int value;

	lua_getfield(L, table, field);
	value = lua_isnil(L, -1) ? otherwise : luaL_checkint(L, -1);
	lua_pop(L, 1);
	return value;
}

static bool read_boolean(lua_State *L, int table, const char *field)
{
	bool value;

	lua_getfield(L, table, field);
	value = lua_toboolean(L, -1);
	lua_pop(L, 1);
	return value;
}

/* Whatever the umask is: who may connect is the business of the folder. */
#define UNIX_MODE 0666

static void read_options(lua_State *L, int table, int mode, struct listen_options *o)
{
	luaL_checktype(L, table, LUA_TTABLE);
	o->backlog = read_integer(L, table, "backlog", 1024);
	o->reuseport = read_boolean(L, table, "reuseport");
	o->ipv6only = read_boolean(L, table, "ipv6only");
	o->mode = read_integer(L, table, "mode", mode);
	o->uid = (uid_t)read_integer(L, table, "uid", -1);
	o->gid = (gid_t)read_integer(L, table, "gid", -1);
}

/* listener.open{ address =, backlog = 1024, reuseport =, ipv6only =, mode = 0666, uid =, gid = }
 * -> l */
static int l_open(lua_State *L)
{
	struct listen_options o;
	char why[LISTEN_WHY];
	struct box *box;
	int err;

	read_options(L, 1, UNIX_MODE, &o);
	lua_getfield(L, 1, "address");
	o.address = luaL_checkstring(L, -1);
	box = box_push(L);
	err = listener_open(&box->listener, &o, why);
	if (err)
		return bind_fail_code(L, uv_err_name(err), "%s", why);
	return 1;
}

/* listener.from_fd(fd) -> l: takes over a listening socket. */
static int l_from_fd(lua_State *L)
{
	int fd = luaL_checkint(L, 1);
	struct box *box = box_push(L);
	int err = listener_from_fd(&box->listener, fd);

	if (err)
		return bind_fail(L, err, "descriptor %d as a listening socket", fd);
	return 1;
}

static int l_fd(lua_State *L)
{
	struct listener *l = check_live(L);

	if (!l)
		return 2;
	lua_pushinteger(L, listener_fd(l));
	return 1;
}

static int l_address(lua_State *L)
{
	struct listener *l = check_live(L);

	if (!l)
		return 2;
	lua_pushstring(L, listener_address(l));
	return 1;
}

/* l:keep_file(): whoever has the socket now removes its file; close will not. */
static int l_keep_file(lua_State *L)
{
	struct listener *l = check_live(L);

	if (!l)
		return 2;
	listener_keep_file(l);
	lua_pushboolean(L, 1);
	return 1;
}

/* l:file() -> device, inode and folder of its socket file; nil: it has none that we know of. */
static int l_file(lua_State *L)
{
	struct listener *l = check_live(L);
	char folder[PATH_MAX];
	dev_t dev;
	ino_t ino;

	if (!l)
		return 2;
	if (!listener_file(l, &dev, &ino, folder))
		return 0;
	lua_pushnumber(L, (lua_Number)dev);
	lua_pushnumber(L, (lua_Number)ino);
	lua_pushstring(L, folder);
	return 3;
}

/* l:in_place(): whether its address leads to its file still; true where it has none. */
static int l_in_place(lua_State *L)
{
	struct listener *l = check_live(L);

	if (!l)
		return 2;
	lua_pushboolean(L, listener_in_place(l));
	return 1;
}

/* l:know_file(device, inode [, folder]): that is its file, which stays another's to remove. */
static int l_know_file(lua_State *L)
{
	struct listener *l = check_live(L);
	lua_Number dev = luaL_checknumber(L, 2), ino = luaL_checknumber(L, 3);
	const char *folder = luaL_optstring(L, 4, NULL);
	int err;

	if (!l)
		return 2;
	err = listener_know_file(l, (dev_t)dev, (ino_t)ino, folder);
	if (err)
		return bind_fail(L, err, "the folder of %s", listener_address(l));
	lua_pushboolean(L, 1);
	return 1;
}

/* l:adopt_file(): close removes it from now on, if it is still that one. */
static int l_adopt_file(lua_State *L)
{
	struct listener *l = check_live(L);

	if (!l)
		return 2;
	listener_adopt_file(l);
	lua_pushboolean(L, 1);
	return 1;
}

/* l:change(options): backlog and reuseport, or mode, uid and gid of its file, as for open. */
static int l_change(lua_State *L)
{
	struct listener *l = check_live(L);
	struct listen_options o;
	int err;

	read_options(L, 2, UNIX_MODE, &o);
	if (!l)
		return 2;
	err = listener_change(l, &o);
	if (err)
		return bind_fail(L, err, "change %s", listener_address(l));
	lua_pushboolean(L, 1);
	return 1;
}

static int l_close(lua_State *L)
{
	struct box *box = luaL_checkudata(L, 1, CLASS);

	listener_close(box->listener);
	box->listener = NULL;
	return 0;
}

/* A forked child uses descriptors that it kept by their number, long after these objects are
 * garbage there. */
static int l_gc(lua_State *L)
{
	struct box *box = luaL_checkudata(L, 1, CLASS);

	if (box->listener && box->generation != fork_generation())
		listener_forget(box->listener);
	else
		listener_close(box->listener);
	box->listener = NULL;
	return 0;
}

/* listener.look(): into the queues that servers of this process accept from. */
static int l_look(lua_State *L)
{
	(void)L;
	acceptors_look();
	return 0;
}

/* listener.clear(path): remove the file of a Unix socket on which nobody listens. */
static int l_clear(lua_State *L)
{
	const char *path = luaL_checkstring(L, 1);
	int err = unix_clear(path);

	if (err)
		return bind_fail(L, err, "%s", path);
	lua_pushboolean(L, 1);
	return 1;
}

static const luaL_Reg methods[] = {
	{ "address", l_address },
	{ "adopt_file", l_adopt_file },
	{ "change", l_change },
	{ "close", l_close },
	{ "fd", l_fd },
	{ "file", l_file },
	{ "in_place", l_in_place },
	{ "keep_file", l_keep_file },
	{ "know_file", l_know_file },
	{ NULL, NULL },
};

static const luaL_Reg functions[] = {
	{ "clear", l_clear }, { "from_fd", l_from_fd }, { "look", l_look },
	{ "open", l_open },   { NULL, NULL },
};

int bind_open_listener(lua_State *L)
{
	bind_class(L, "listener", methods, l_gc);
	lua_newtable(L);
	luaL_register(L, NULL, functions);
	return 1;
}
