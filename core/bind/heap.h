/*
 * heap.h - gives the kernel back what a heap holds and does not use.
 */
#ifndef BIND_HEAP_H
#define BIND_HEAP_H

#include <lua.h>

/*
 * Give back the pages in which nothing lives, of Lua's heap and of malloc's. What garbage there is
 * stays: collect it before.
 */
void heap_release(lua_State *L);

#endif
