/*
 * pidfile.c - brood.core.pidfile: the master's pidfile as an object.
 */
#include <errno.h>

#include "bind/bind.h"
#include "sys/pidfile.h"

#define CLASS "brood.pidfile"

struct box {
	struct pidfile *pidfile;
};

static int fail(lua_State *L, int err, const char *path, pid_t holder)
{
	if (err == -EEXIST)
		return bind_fail_code(L, "EEXIST", "pidfile %s is held by the running process %d",
				      path, (int)holder);
	if (err == -EBADMSG)
		return bind_fail_code(
			L, "EBADMSG",
			"pidfile %s is something else, which stays as it is: name another file",
			path);
	if (err == -ELOOP)
		return bind_fail_code(L, "ELOOP",
				      "pidfile %s is a symbolic link, which is not followed: name "
				      "the file itself",
				      path);
	return bind_fail(L, err, "pidfile %s", path);
}

/* open(path) -> pidfile, or nil, err; code "EEXIST" while a live process holds it. */
static int l_open(lua_State *L)
{
	const char *path = luaL_checkstring(L, 1);
	struct box *box = lua_newuserdata(L, sizeof(*box));
	pid_t holder;
	int err;

	box->pidfile = NULL;
	luaL_getmetatable(L, CLASS);
	lua_setmetatable(L, -2);
	err = pidfile_open(&box->pidfile, path, &holder);
	if (err)
		return fail(L, err, path, holder);
	return 1;
}

/* p:rename(path): the same file, still locked, by another name. Code "ESTALE": it is not where it
 * was. */
static int l_rename(lua_State *L)
{
	struct box *box = luaL_checkudata(L, 1, CLASS);
	const char *path = luaL_checkstring(L, 2);
	pid_t holder;
	int err;

	if (!box->pidfile)
		return bind_fail_code(L, "closed", "pidfile: closed");
	err = pidfile_rename(&box->pidfile, path, &holder);
	if (err == -ESTALE)
		return bind_fail_code(L, "ESTALE", "pidfile: somebody has removed or replaced it");
	if (err)
		return fail(L, err, path, holder);
	lua_pushboolean(L, 1);
	return 1;
}

static int l_close(lua_State *L)
{
	struct box *box = luaL_checkudata(L, 1, CLASS);

	pidfile_close(box->pidfile);
	box->pidfile = NULL;
	return 0;
}

static const luaL_Reg methods[] = {
	{ "close", l_close },
	{ "rename", l_rename },
	{ NULL, NULL },
};

static const luaL_Reg functions[] = {
	{ "open", l_open },
	{ NULL, NULL },
};

int bind_open_pidfile(lua_State *L)
{
	bind_class(L, "pidfile", methods, l_close);
	lua_newtable(L);
	luaL_register(L, NULL, functions);
	return 1;
}
