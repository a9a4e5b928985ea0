/*
 * posix.h - the parts of brood.core.posix: descriptors, ids, and all the rest.
 */
#ifndef BIND_POSIX_H
#define BIND_POSIX_H

#include "bind/bind.h"

/* Push nil, an error table and the errno: what every function of brood.posix fails with. err is
 * negative. */
int posix_fail(lua_State *L, int err, const char *what);
/* true, or a failure. */
int posix_result(lua_State *L, int err, const char *what);

/* The same for a call's own result: negative with errno set. */
int posix_rc(lua_State *L, int rc, const char *what);

extern const luaL_Reg posix_ids_functions[];
extern const luaL_Reg posix_io_functions[];

#endif
