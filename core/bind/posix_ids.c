/*
 * posix_ids.c - the part of brood.core.posix that is about process, user and group ids.
 */
#include <errno.h>
#include <grp.h>
#include <unistd.h>

#include "bind/posix.h"
#include "sys/privileges.h"

#define GET_ID(name)                                   \
	static int l_##name(lua_State *L)              \
	{                                              \
		lua_pushnumber(L, (lua_Number)name()); \
		return 1;                              \
	}

GET_ID(getpid)
GET_ID(getppid)
GET_ID(getuid)
GET_ID(getgid)

static int l_setuid(lua_State *L)
{
	return posix_rc(L, setuid((uid_t)luaL_checknumber(L, 1)), "setuid");
}

static int l_setgid(lua_State *L)
{
	return posix_rc(L, setgid((gid_t)luaL_checknumber(L, 1)), "setgid");
}

static int l_initgroups(lua_State *L)
{
	const char *user = luaL_checkstring(L, 1);

	return posix_rc(L, initgroups(user, (gid_t)luaL_checknumber(L, 2)), "initgroups");
}

static int l_setgroups(lua_State *L)
{
	gid_t *groups;
	int n;

	luaL_checktype(L, 1, LUA_TTABLE);
	n = (int)lua_objlen(L, 1);
	groups = lua_newuserdata(L, ((size_t)n + 1) * sizeof(*groups));
	for (int i = 0; i < n; i++) {
		lua_rawgeti(L, 1, i + 1);
		groups[i] = (gid_t)luaL_checknumber(L, -1);
		lua_pop(L, 1);
	}
	return posix_rc(L, setgroups((size_t)n, groups), "setgroups");
}

static void set_text(lua_State *L, const char *field, const char *value)
{
	lua_pushstring(L, value);
	lua_setfield(L, -2, field);
}

static void set_number(lua_State *L, const char *field, lua_Number value)
{
	lua_pushnumber(L, value);
	lua_setfield(L, -2, field);
}

/* getpwnam(name | uid) -> { name =, uid =, gid =, dir =, shell = } */
static int l_getpwnam(lua_State *L)
{
	struct account user;
	int err = lua_type(L, 1) == LUA_TNUMBER ? user_by_id(&user, (uid_t)lua_tonumber(L, 1))
						: user_by_name(&user, luaL_checkstring(L, 1));

	if (err)
		return posix_fail(L, err, "getpwnam");
	lua_createtable(L, 0, 5);
	set_text(L, "name", user.name);
	set_number(L, "uid", user.uid);
	set_number(L, "gid", user.gid);
	set_text(L, "dir", user.dir);
	set_text(L, "shell", user.shell);
	return 1;
}

/* getgrnam(name | gid) -> { name =, gid = } */
static int l_getgrnam(lua_State *L)
{
	struct account_group group;
	int err = lua_type(L, 1) == LUA_TNUMBER ? group_by_id(&group, (gid_t)lua_tonumber(L, 1))
						: group_by_name(&group, luaL_checkstring(L, 1));

	if (err)
		return posix_fail(L, err, "getgrnam");
	lua_createtable(L, 0, 2);
	set_text(L, "name", group.name);
	set_number(L, "gid", group.gid);
	return 1;
}

const luaL_Reg posix_ids_functions[] = {
	{ "getgid", l_getgid },
	{ "getgrnam", l_getgrnam },
	{ "getpid", l_getpid },
	{ "getppid", l_getppid },
	{ "getpwnam", l_getpwnam },
	{ "getuid", l_getuid },
	{ "initgroups", l_initgroups },
	{ "setgid", l_setgid },
	{ "setgroups", l_setgroups },
	{ "setuid", l_setuid },
	{ NULL, NULL },
};
