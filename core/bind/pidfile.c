/*
 * pidfile.c - brood.core.pidfile: the master's pidfile as an object.
 */
#include <errno.h>
#include <limits.h>

#include "bind/bind.h"
#include "sys/pidfile.h"

#define CLASS "brood.pidfile"

struct box {
	struct pidfile *pidfile;
};

static int fail(lua_State *L, int err, const char *path, pid_t holder)
{
	if (err == -EEXIST && !holder)
		return bind_fail_code(L, "EEXIST", "pidfile %s is held by another running process",
				      path);
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

/* open(path [, patient]) -> pidfile, or nil, err; code "EEXIST" while a live process holds it.
 * Patient: it is tried for 0.2 s where nobody knows who that is. */
static int l_open(lua_State *L)
{
	const char *path = luaL_checkstring(L, 1);
	bool patient = lua_toboolean(L, 2);
	struct box *box = lua_newuserdata(L, sizeof(*box));
	pid_t holder;
	int err;

	box->pidfile = NULL;
	luaL_getmetatable(L, CLASS);
	lua_setmetatable(L, -2);
	err = pidfile_open(&box->pidfile, path, patient, &holder);
	if (err)
		return fail(L, err, path, holder);
	return 1;
}

/* p:rename(name): the same file, still locked, by another name in its directory. Code "ESTALE": it
 * is not where it was. */
static int l_rename(lua_State *L)
{
	struct box *box = luaL_checkudata(L, 1, CLASS);
	const char *name = luaL_checkstring(L, 2);
	char path[PATH_MAX];
	pid_t holder;
	int err;

	if (!box->pidfile)
		return bind_fail_code(L, "closed", "pidfile: closed");
	err = pidfile_rename(box->pidfile, name, &holder);
	if (err == -ESTALE)
		return bind_fail_code(L, "ESTALE", "pidfile: somebody has removed or replaced it");
	if (err && pidfile_path(box->pidfile, name, path, sizeof(path)) == 0)
		name = path;
	if (err)
		return fail(L, err, name, holder);
	lua_pushboolean(L, 1);
	return 1;
}

/* p:is_at(path): whether the path leads to it still. */
static int l_is_at(lua_State *L)
{
	struct box *box = luaL_checkudata(L, 1, CLASS);
	const char *path = luaL_checkstring(L, 2);

	lua_pushboolean(L, box->pidfile && pidfile_is_at(box->pidfile, path));
	return 1;
}

/* p:path(): where it really is, without symlinks. */
static int l_path(lua_State *L)
{
	struct box *box = luaL_checkudata(L, 1, CLASS);
	char path[PATH_MAX];
	int err;

	if (!box->pidfile)
		return bind_fail_code(L, "closed", "pidfile: closed");
	err = pidfile_path(box->pidfile, NULL, path, sizeof(path));
	if (err)
		return bind_fail(L, err, "where the pidfile is");
	lua_pushstring(L, path);
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
	{ "is_at", l_is_at },
	{ "path", l_path },
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
