/*
 * process_spec.c - reading what to start from a table:
 *
 *   { argv = {...}, path = | nil (argv[1]), env = {"K=V", ...} | nil (ours), cwd =, umask = number,
 * uid =, gid =, groups = {gid, ...}, limits = { {name = "nofile", soft = number | "unlimited", hard
 * = } }, fds = { {src, dst}, ... }, new_group = bool, session = bool, death_signal = number,
 * listen_pid = bool }
 *
 * It checks and points; it acquires nothing but memory that Lua collects.
 */
#include "bind/process_spec.h"

#include <lauxlib.h>
#include <string.h>

/* An array in collected memory, left on the stack; one element more than asked for, all zero. */
static void *array(lua_State *L, size_t n, size_t size)
{
	void *memory = lua_newuserdata(L, (n + 1) * size);

	memset(memory, 0, (n + 1) * size);
	return memory;
}

/* Pushes the list in a field and returns its length, or pushes nil and returns -1. */
static int get_list(lua_State *L, int spec, const char *field)
{
	lua_getfield(L, spec, field);
	if (lua_isnil(L, -1))
		return -1;
	if (!lua_istable(L, -1))
		luaL_error(L, "%s must be a list, got %s", field, luaL_typename(L, -1));
	return (int)lua_objlen(L, -1);
}

/* Real strings only: a converted number would be collected under our hands. */
static char **read_strings(lua_State *L, int spec, const char *field)
{
	int n = get_list(L, spec, field);
	int list = lua_gettop(L);
	char **out;

	if (n < 0)
		return NULL;
	out = array(L, (size_t)n, sizeof(char *));
	for (int i = 0; i < n; i++) {
		size_t size;

		lua_rawgeti(L, list, i + 1);
		if (lua_type(L, -1) != LUA_TSTRING)
			luaL_error(L, "%s[%d] must be a string, got %s", field, i + 1,
				   luaL_typename(L, -1));
		out[i] = (char *)lua_tolstring(L, -1, &size);
		if (strlen(out[i]) != size)
			luaL_error(L, "%s[%d] contains a zero byte", field, i + 1);
		lua_pop(L, 1);
	}
	return out;
}

static lua_Number read_number(lua_State *L, int spec, const char *field, lua_Number otherwise)
{
	lua_Number value = otherwise;

	lua_getfield(L, spec, field);
	if (!lua_isnil(L, -1)) {
		if (lua_type(L, -1) != LUA_TNUMBER)
			luaL_error(L, "%s must be a number, got %s", field, luaL_typename(L, -1));
		value = lua_tonumber(L, -1);
	}
	lua_pop(L, 1);
	return value;
}

static bool read_boolean(lua_State *L, int spec, const char *field)
{
	bool value;

	lua_getfield(L, spec, field);
	value = lua_toboolean(L, -1);
	lua_pop(L, 1);
	return value;
}

/* The anchor is the spec's own table, which the caller holds. */
static const char *read_path(lua_State *L, int spec, const char *field)
{
	const char *path;

	lua_getfield(L, spec, field);
	if (!lua_isnil(L, -1) && lua_type(L, -1) != LUA_TSTRING)
		luaL_error(L, "%s must be a string, got %s", field, luaL_typename(L, -1));
	path = lua_tostring(L, -1);
	lua_pop(L, 1);
	return path;
}

static void read_groups(lua_State *L, int spec, struct proc_spec *out)
{
	int n = get_list(L, spec, "groups");
	int list = lua_gettop(L);
	gid_t *groups;

	if (n < 0)
		return;
	groups = array(L, (size_t)n, sizeof(*groups));
	for (int i = 0; i < n; i++) {
		lua_rawgeti(L, list, i + 1);
		groups[i] = (gid_t)luaL_checknumber(L, -1);
		lua_pop(L, 1);
	}
	out->groups = groups;
	out->ngroups = (size_t)n;
}

static void read_fds(lua_State *L, int spec, struct proc_spec *out)
{
	int n = get_list(L, spec, "fds");
	int list = lua_gettop(L);
	struct proc_fd *fds;
	unsigned stdio = 0;

	if (n < 0)
		luaL_error(L, "fds must name at least 0, 1 and 2");
	fds = array(L, (size_t)n, sizeof(*fds));
	for (int i = 0; i < n; i++) {
		lua_rawgeti(L, list, i + 1);
		if (!lua_istable(L, -1))
			luaL_error(L, "fds[%d] must be {source, destination}", i + 1);
		lua_rawgeti(L, -1, 1);
		lua_rawgeti(L, -2, 2);
		fds[i].src = luaL_checkint(L, -2);
		fds[i].dst = luaL_checkint(L, -1);
		if (fds[i].dst >= 0 && fds[i].dst < 3)
			stdio |= 1U << fds[i].dst;
		lua_pop(L, 3);
	}
	if (stdio != 7)
		luaL_error(L, "fds must name at least 0, 1 and 2");
	out->fds = fds;
	out->nfds = (size_t)n;
}

static rlim64_t limit_value(lua_State *L, int index)
{
	if (lua_type(L, index) == LUA_TNUMBER && lua_tonumber(L, index) >= 0)
		return (rlim64_t)lua_tonumber(L, index);
	if (lua_isboolean(L, index) ||
	    (lua_isstring(L, index) && strcmp(lua_tostring(L, index), "unlimited") == 0))
		return RLIM64_INFINITY;
	return (rlim64_t)luaL_error(L, "a limit is a number or \"unlimited\", got %s",
				    luaL_typename(L, index));
}

void process_limit_values(lua_State *L, int soft, int hard, struct limit *out)
{
	out->value.rlim_cur = limit_value(L, soft);
	out->value.rlim_max = lua_isnoneornil(L, hard) ? out->value.rlim_cur : limit_value(L, hard);
}

/* A table {name =, soft =, hard =} on the top of the stack; hard is soft unless given. */
static void read_limit(lua_State *L, struct limit *out)
{
	const char *name;

	luaL_checktype(L, -1, LUA_TTABLE);
	lua_getfield(L, -1, "name");
	name = luaL_checkstring(L, -1);
	out->resource = limit_by_name(name);
	if (out->resource < 0)
		luaL_error(L, "unknown limit '%s'", name);
	lua_pop(L, 1);
	lua_getfield(L, -1, "soft");
	lua_getfield(L, -2, "hard");
	process_limit_values(L, -2, -1, out);
	lua_pop(L, 2);
}

static void read_limits(lua_State *L, int spec, struct proc_spec *out)
{
	int n = get_list(L, spec, "limits");
	int list = lua_gettop(L);
	struct limit *limits;

	if (n < 0)
		return;
	limits = array(L, (size_t)n, sizeof(*limits));
	for (int i = 0; i < n; i++) {
		lua_rawgeti(L, list, i + 1);
		read_limit(L, &limits[i]);
		lua_pop(L, 1);
	}
	out->limits = limits;
	out->nlimits = (size_t)n;
}

void process_spec_read(lua_State *L, int spec, struct proc_spec *out)
{
	luaL_checktype(L, spec, LUA_TTABLE);
	luaL_checkstack(L, 24, "spawn");
	memset(out, 0, sizeof(*out));
	out->argv = read_strings(L, spec, "argv");
	if (!out->argv || !out->argv[0])
		luaL_error(L, "argv must name a program");
	out->env = read_strings(L, spec, "env");
	out->path = read_path(L, spec, "path");
	out->cwd = read_path(L, spec, "cwd");
	out->umask = (int)read_number(L, spec, "umask", -1);
	out->uid = (uid_t)(long long)read_number(L, spec, "uid", -1);
	out->gid = (gid_t)(long long)read_number(L, spec, "gid", -1);
	out->death_signal = (int)read_number(L, spec, "death_signal", 0);
	out->new_group = read_boolean(L, spec, "new_group");
	out->session = read_boolean(L, spec, "session");
	out->listen_pid = read_boolean(L, spec, "listen_pid");
	read_groups(L, spec, out);
	read_fds(L, spec, out);
	read_limits(L, spec, out);
}
