/*
 * process_spec.h - a Lua table that describes a program, as a struct proc_spec.
 */
#ifndef BIND_PROCESS_SPEC_H
#define BIND_PROCESS_SPEC_H

#include <lua.h>

#include "sys/proc.h"

/*
 * Raises on a mistake. What the result points to is anchored by the table at
 * index and by values left on the stack, so it lives as long as the calling C function.
 */
void process_spec_read(lua_State *L, int index, struct proc_spec *out);

/* Limit values at two indices: a number, or "unlimited" (or false); no hard one means the same as
 * the soft one. */
void process_limit_values(lua_State *L, int soft, int hard, struct limit *out);

#endif
