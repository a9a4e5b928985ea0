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
	if (err)
		return bind_fail(L, err, "pidfile %s", path);
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
