/*
 * file_events.c - brood.core.file_events: what happens in directories, as plain values. The
 * descriptor is a number, closed with core.fd.close.
 */
#include "sys/file_events.h"

#include <errno.h>

#include "bind/bind.h"

static const char *const words[] = { "changed", "appeared", "vanished", "gone", "lost" };

/* open() -> fd, or nil, err */
static int l_open(lua_State *L)
{
	int fd = file_events_open();

	if (fd < 0)
		return bind_fail(L, fd, "watch files");
	lua_pushinteger(L, fd);
	return 1;
}

/* watch(fd, directory) -> number, the same for the same directory; or nil, err */
static int l_watch(lua_State *L)
{
	int fd = luaL_checkint(L, 1);
	const char *path = luaL_checkstring(L, 2);
	int watch = file_events_watch(fd, path);

	if (watch < 0)
		return bind_fail(L, watch, "watch %s", path);
	lua_pushinteger(L, watch);
	return 1;
}

static int l_forget(lua_State *L)
{
	file_events_forget(luaL_checkint(L, 1), luaL_checkint(L, 2));
	return 0;
}

static void append(const struct file_event *h, void *arg)
{
	lua_State *L = arg;
	int n = (int)lua_objlen(L, -1);

	lua_pushinteger(L, h->watch);
	lua_rawseti(L, -2, n + 1);
	lua_pushstring(L, words[h->what]);
	lua_rawseti(L, -2, n + 2);
	lua_pushstring(L, h->name ? h->name : "");
	lua_rawseti(L, -2, n + 3);
	lua_pushboolean(L, h->directory);
	lua_rawseti(L, -2, n + 4);
}

/*
 * take(fd) -> { watch, what, name, directory, watch, what, ... }, or nothing where nothing has
 * happened; what: "changed" "appeared" "vanished" "gone" "lost"; name: "" for the directory itself.
 */
static int l_take(lua_State *L)
{
	int fd = luaL_checkint(L, 1);
	int n;

	lua_newtable(L);
	n = file_events_take(fd, append, L);
	if (n < 0)
		return bind_fail(L, n, "watch files");
	return n > 0;
}

static const luaL_Reg functions[] = {
	{ "forget", l_forget }, { "open", l_open }, { "take", l_take },
	{ "watch", l_watch },   { NULL, NULL },
};

int bind_open_file_events(lua_State *L)
{
	lua_newtable(L);
	luaL_register(L, NULL, functions);
	return 1;
}
