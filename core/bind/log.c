/*
 * log.c - brood.core.log: the log as Lua sets it up and writes it.
 */
#include <string.h>

#include "bind/bind.h"
#include "sys/log.h"

static enum log_level check_level(lua_State *L, int index)
{
	const char *name = luaL_checkstring(L, index);
	int level = log_level_parse(name);

	if (level < 0)
		luaL_error(L, "unknown log level '%s' (debug, info, warn or error)", name);
	return (enum log_level)level;
}

static void read_format(lua_State *L, struct log_options *o)
{
	const char *name = luaL_checkstring(L, -1);

	if (strcmp(name, "text") != 0 && strcmp(name, "json") != 0)
		luaL_error(L, "unknown log format '%s' (text or json)", name);
	o->format = strcmp(name, "json") == 0 ? LOG_JSON : LOG_TEXT;
}

/* log.setup{ level =, format = "text" | "json", fd =, color = bool }: what is not given stays as it
 * is. */
static int l_setup(lua_State *L)
{
	struct log_options o;

	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 1);
	log_options(&o);
	lua_getfield(L, 1, "level");
	if (!lua_isnil(L, -1))
		o.level = check_level(L, -1);
	lua_getfield(L, 1, "format");
	if (!lua_isnil(L, -1))
		read_format(L, &o);
	lua_getfield(L, 1, "fd");
	if (!lua_isnil(L, -1))
		o.fd = luaL_checkint(L, -1);
	lua_getfield(L, 1, "color");
	if (!lua_isnil(L, -1))
		o.color = lua_toboolean(L, -1) ? LOG_COLOR_ON : LOG_COLOR_OFF;
	log_setup(&o);
	return 0;
}

/* log.write(level, text) */
static int l_write(lua_State *L)
{
	enum log_level level = check_level(L, 1);
	size_t size;
	const char *text = luaL_checklstring(L, 2, &size);

	log_write(level, text, size);
	return 0;
}

static int l_level(lua_State *L)
{
	struct log_options o;

	log_options(&o);
	lua_pushstring(L, log_level_name(o.level));
	return 1;
}

static const luaL_Reg functions[] = {
	{ "level", l_level },
	{ "setup", l_setup },
	{ "write", l_write },
	{ NULL, NULL },
};

int bind_open_log(lua_State *L)
{
	lua_newtable(L);
	luaL_register(L, NULL, functions);
	return 1;
}
