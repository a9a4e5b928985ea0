/*
 * value.h - look at an encoded Lua value without decoding it.
 *
 * What a process sends is not to be trusted with our memory: in LuaJIT's
 * string.buffer format six bytes can ask for a table of a billion slots. This
 * walks the bytes with nothing but a small stack; what passes can be decoded at
 * a cost that is known beforehand. Pure: usable in any process, at any time.
 */
#ifndef LOOP_VALUE_H
#define LOOP_VALUE_H

#include <stddef.h>

#define VALUE_DEPTH_MAX   90 /* tables in tables; string.buffer itself ends at 100 */
#define VALUE_DEPTH_LIMIT 100
#define VALUE_MEMORY_MAX  ((size_t)1 << 30)

enum value_fault {
	VALUE_OK,
	VALUE_TRUNCATED, /* ends in the middle, or a count is larger than the bytes left */
	VALUE_TRAILING,  /* bytes behind the value */
	VALUE_TAG,   /* a type that no message has: userdata, dictionary entries, unknown tags */
	VALUE_KEY,   /* nil or NaN as a table's key */
	VALUE_DEEP,  /* more tables in tables than max_depth */
	VALUE_HEAVY, /* would take more than VALUE_MEMORY_MAX once decoded */
};

/* Exactly one encoded value, and nothing else? max_depth is at most VALUE_DEPTH_LIMIT. */
enum value_fault value_check(const void *data, size_t size, unsigned max_depth);

/* What the fault means, for a log. */
const char *value_fault_text(enum value_fault fault);

#endif
