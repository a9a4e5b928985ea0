/*
 * privileges.c - brood.core.privileges: users and groups by name or number, limits, and giving up
 * root.
 */
#include <errno.h>
#include <stdlib.h>

#include "bind/bind.h"
#include "bind/process_spec.h"
#include "sys/limits.h"
#include "sys/privileges.h"

#define GROUPS_MAX 65536

/* A name, or a number (as text too, where no such name exists). Returns 0, or -errno with *id set
 * to the number, or -1. */
static int find_user(lua_State *L, struct account *out, long long *id)
{
	const char *name = luaL_checkstring(L, 1);
	char *end;
	int err = -ENOENT;

	*id = strtoll(name, &end, 10);
	if (end == name || *end || *id < 0)
		*id = -1;
	if (lua_type(L, 1) == LUA_TSTRING)
		err = user_by_name(out, name);
	return err == -ENOENT && *id >= 0 ? user_by_id(out, (uid_t)*id) : err;
}

static int find_group(lua_State *L, struct account_group *out, long long *id)
{
	const char *name = luaL_checkstring(L, 1);
	char *end;
	int err = -ENOENT;

	*id = strtoll(name, &end, 10);
	if (end == name || *end || *id < 0)
		*id = -1;
	if (lua_type(L, 1) == LUA_TSTRING)
		err = group_by_name(out, name);
	return err == -ENOENT && *id >= 0 ? group_by_id(out, (gid_t)*id) : err;
}

static int push_id(lua_State *L, const char *field, long long id)
{
	lua_createtable(L, 0, 4);
	lua_pushnumber(L, (lua_Number)id);
	lua_setfield(L, -2, field);
	return 1;
}

/* lookup_user(name | number) -> { uid =, gid =, name =, dir = }; a number without an entry has only
 * its uid. */
static int l_lookup_user(lua_State *L)
{
	struct account user;
	long long id;
	int err = find_user(L, &user, &id);

	if (err == -ENOENT && id >= 0)
		return push_id(L, "uid", id);
	if (err == -ENOENT)
		return bind_fail_code(L, "ENOENT", "there is no user '%s'", lua_tostring(L, 1));
	if (err)
		return bind_fail(L, err, "look up user '%s'", lua_tostring(L, 1));
	push_id(L, "uid", user.uid);
	lua_pushnumber(L, user.gid);
	lua_setfield(L, -2, "gid");
	lua_pushstring(L, user.name);
	lua_setfield(L, -2, "name");
	lua_pushstring(L, user.dir);
	lua_setfield(L, -2, "dir");
	return 1;
}

/* lookup_group(name | number) -> { gid =, name = } */
static int l_lookup_group(lua_State *L)
{
	struct account_group group;
	long long id;
	int err = find_group(L, &group, &id);

	if (err == -ENOENT && id >= 0)
		return push_id(L, "gid", id);
	if (err == -ENOENT)
		return bind_fail_code(L, "ENOENT", "there is no group '%s'", lua_tostring(L, 1));
	if (err)
		return bind_fail(L, err, "look up group '%s'", lua_tostring(L, 1));
	push_id(L, "gid", group.gid);
	lua_pushstring(L, group.name);
	lua_setfield(L, -2, "name");
	return 1;
}

/* groups(user_name, gid) -> { gid, ... }: the user's supplementary groups, gid among them. */
static int l_groups(lua_State *L)
{
	const char *name = luaL_checkstring(L, 1);
	gid_t gid = (gid_t)luaL_checknumber(L, 2);
	gid_t *list = lua_newuserdata(L, GROUPS_MAX * sizeof(*list));
	int n = GROUPS_MAX;
	int err = user_groups(name, gid, list, &n);

	if (err)
		return bind_fail(L, err, "groups of %s", name);
	lua_createtable(L, n, 0);
	for (int i = 0; i < n; i++) {
		lua_pushnumber(L, list[i]);
		lua_rawseti(L, -2, i + 1);
	}
	return 1;
}

/* drop(uid, gid [, user_name]): for good, with the user's groups. After an error the process may be
 * half way and must end. */
static int l_drop(lua_State *L)
{
	uid_t uid = (uid_t)luaL_checknumber(L, 1);
	gid_t gid = (gid_t)luaL_checknumber(L, 2);
	const char *user = luaL_optstring(L, 3, NULL);
	const char *step;
	int err = privileges_drop(uid, gid, user, &step);

	if (err)
		return bind_fail(L, err, "%s (user %u, group %u)", step, (unsigned)uid,
				 (unsigned)gid);
	lua_pushboolean(L, 1);
	return 1;
}

/* set_limit(name, soft [, hard]) for this process; values are numbers or "unlimited". */
static int l_set_limit(lua_State *L)
{
	const char *name = luaL_checkstring(L, 1);
	struct limit limit = { .resource = limit_by_name(name) };
	int err;

	luaL_argcheck(L, limit.resource >= 0, 1, "unknown limit");
	lua_settop(L, 3);
	process_limit_values(L, 2, 3, &limit);
	err = limit_set(&limit);
	if (err)
		return bind_fail(L, err, "set limit %s", name);
	lua_pushboolean(L, 1);
	return 1;
}

static const luaL_Reg functions[] = {
	{ "drop", l_drop },
	{ "groups", l_groups },
	{ "lookup_group", l_lookup_group },
	{ "lookup_user", l_lookup_user },
	{ "set_limit", l_set_limit },
	{ NULL, NULL },
};

int bind_open_privileges(lua_State *L)
{
	lua_newtable(L);
	luaL_register(L, NULL, functions);
	return 1;
}
