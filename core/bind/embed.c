/*
 * embed.c - the package loader for the modules inside the binary. With
 * BROOD_LUA=dir in the environment brood's own modules are read from dir instead.
 */
#include "bind/embed.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <lauxlib.h>

static size_t module_count(void)
{
	static size_t n;

	while (embedded_modules[n].name)
		n++;
	return n;
}

static int compare(const void *key, const void *item)
{
	return strcmp(key, ((const struct embedded_module *)item)->name);
}

/* The file of module `name` below dir: dir/a/b.lua or dir/a/b/init.lua. */
static bool find_on_disk(const char *dir, const char *name, char *path, size_t size)
{
	char base[256];

	if (snprintf(base, sizeof(base), "%s", name) >= (int)sizeof(base))
		return false;
	for (char *p = base; *p; p++) {
		if (*p == '.')
			*p = '/';
	}
	snprintf(path, size, "%s/%s.lua", dir, base);
	if (access(path, R_OK) == 0)
		return true;
	snprintf(path, size, "%s/%s/init.lua", dir, base);
	return access(path, R_OK) == 0;
}

/*
 * Our own modules see the globals as they were at the beginning: what a config or an app assigns
 * by mistake (`type = "web"`) must not be what brood stumbles over.
 */
static const char own_globals;

static void keep_globals(lua_State *L)
{
	lua_newtable(L);
	lua_pushnil(L);
	while (lua_next(L, LUA_GLOBALSINDEX)) {
		lua_pushvalue(L, -2);
		lua_insert(L, -2);
		lua_rawset(L, -4);
	}
	lua_pushlightuserdata(L, (void *)&own_globals);
	lua_insert(L, -2);
	lua_rawset(L, LUA_REGISTRYINDEX);
}

/* The chunk on the stack is one of ours. */
static void use_own_globals(lua_State *L)
{
	lua_pushlightuserdata(L, (void *)&own_globals);
	lua_rawget(L, LUA_REGISTRYINDEX);
	lua_setfenv(L, -2);
}

static bool is_ours(const char *name)
{
	return strncmp(name, "brood", 5) == 0 && (name[5] == 0 || name[5] == '.');
}

static int l_search(lua_State *L)
{
	const char *name = luaL_checkstring(L, 1);
	const char *dir = getenv("BROOD_LUA");
	const struct embedded_module *found;
	char path[4096];

	if (dir && is_ours(name) && find_on_disk(dir, name, path, sizeof(path))) {
		if (luaL_loadfile(L, path))
			return lua_error(L);
		use_own_globals(L);
		return 1;
	}
	found = bsearch(name, embedded_modules, module_count(), sizeof(*found), compare);
	if (!found) {
		lua_pushfstring(L, "\n\tno module '%s' in brood itself", name);
		return 1;
	}
	if (luaL_loadbuffer(L, (const char *)found->data, found->size, name))
		return lua_error(L);
	if (is_ours(name))
		use_own_globals(L);
	return 1;
}

void embed_release(void)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), from = UINTPTR_MAX, to = 0;

	for (const struct embedded_module *m = embedded_modules; m->name; m++) {
		uintptr_t at = (uintptr_t)m->data;

		from = at < from ? at : from;
		to = at + m->size > to ? at + m->size : to;
	}
	from = (from + page - 1) / page * page;
	to = to / page * page;
	if (from < to)
		madvise((void *)from, to - from, MADV_DONTNEED);
}

void embed_install(lua_State *L)
{
	keep_globals(L);
	lua_getglobal(L, "package");
	lua_getfield(L, -1, "loaders");
	for (int i = (int)lua_objlen(L, -1); i >= 2; i--) {
		lua_rawgeti(L, -1, i);
		lua_rawseti(L, -2, i + 1);
	}
	lua_pushcfunction(L, l_search);
	lua_rawseti(L, -2, 2);
	lua_pop(L, 2);
}
