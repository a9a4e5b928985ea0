/*
 * embed.h - the Lua modules that the binary carries, and where `require` finds them.
 */
#ifndef BIND_EMBED_H
#define BIND_EMBED_H

#include <stddef.h>

#include <lua.h>

/* Written by core/tools/embed.c, sorted by name, ended by a NULL name. */
struct embedded_module {
	const char *name;
	const unsigned char *data;
	size_t size;
};

extern const struct embedded_module embedded_modules[];

/* Put the searcher for embedded modules into package.loaders, right behind package.preload. */
void embed_install(lua_State *L);
/*
 * Give back the pages that they were loaded from; one that is required later comes from the
 * binary's file again. Between the first and the last lies nothing but constants.
 */
void embed_release(void);

#endif
