/*
 * value.h - Lua values to bytes and back without a string in between, for those who have the bytes
 * elsewhere. The format is string.buffer's: see loop/value.h.
 */
#ifndef BIND_VALUE_H
#define BIND_VALUE_H

#include <stdbool.h>

#include "bind/bind.h"
#include "loop/buffer.h"

/*
 * Append the value at index to `out`. false, with nothing appended: it holds something for which
 * string.buffer is to be asked (or which cannot be sent, and that says why).
 */
bool value_write(lua_State *L, int index, struct buffer *out);

/* Push the value that value_check has found sound. false, with nothing pushed: as value_write. */
bool value_push(lua_State *L, const char *data);

#endif
