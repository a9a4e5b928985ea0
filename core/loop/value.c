/*
 * value.c - the walk over an encoded value. It mirrors what LuaJIT's decoder
 * accepts (string.buffer of LuaJIT 2.1: a tag or a string's length as a number
 * of one, two or five bytes, then its content), and refuses what a message
 * never holds. It allocates nothing and recurses nowhere.
 */
#include "loop/value.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum {
	TAG_NIL = 0x00,
	TAG_TRUE = 0x02,
	TAG_NULL = 0x03, /* json.null */
	TAG_INT = 0x06,
	TAG_NUM = 0x07,
	TAG_TABLE =
		0x08, /* +1: has a hash part; +2: an array part; +4: one whose slot 0 is not sent */
	TAG_TABLE_LAST = 0x0d,
	TAG_INT64 = 0x10,
	TAG_UINT64 = 0x11,
	TAG_COMPLEX = 0x12,
	TAG_STRING = 0x20, /* + length */
};

/* Rounded up from LuaJIT's 64-bit object headers. */
enum { COST_TABLE = 64, COST_SLOT = 8, COST_NODE = 24, COST_STRING = 24, COST_CDATA = 32 };

struct level {
	uint32_t values; /* of the array part, still to come */
	uint64_t fields; /* keys and values of the hash part, still to come */
};

struct walk {
	const uint8_t *at, *end;
	size_t memory;
	unsigned depth, max_depth;
	struct level levels[VALUE_DEPTH_LIMIT];
};

static size_t left(const struct walk *w)
{
	return (size_t)(w->end - w->at);
}

static bool read_number(struct walk *w, uint32_t *out)
{
	uint32_t v;

	if (left(w) < 1)
		return false;
	v = *w->at++;
	if (v == 0xff) {
		if (left(w) < 4)
			return false;
		v = (uint32_t)w->at[0] | (uint32_t)w->at[1] << 8 | (uint32_t)w->at[2] << 16 |
		    (uint32_t)w->at[3] << 24;
		w->at += 4;
	} else if (v >= 0xe0) {
		if (left(w) < 1)
			return false;
		v = ((v & 0x1f) << 8) + *w->at++ + 0xe0;
	}
	*out = v;
	return true;
}

static enum value_fault skip(struct walk *w, size_t size, size_t cost)
{
	if (size > left(w))
		return VALUE_TRUNCATED;
	w->at += size;
	w->memory += cost;
	return VALUE_OK;
}

/* Hash parts have a power of two of nodes. */
static size_t nodes_for(uint32_t fields)
{
	size_t n = 1;

	while (n < fields)
		n <<= 1;
	return n;
}

static enum value_fault enter_table(struct walk *w, uint32_t tag)
{
	struct level *level;
	uint32_t slots = 0, fields = 0;

	if (w->depth == w->max_depth)
		return VALUE_DEEP;
	if (tag >= TAG_TABLE + 2 && !read_number(w, &slots))
		return VALUE_TRUNCATED;
	if ((tag & 1) && !read_number(w, &fields))
		return VALUE_TRUNCATED;
	level = &w->levels[w->depth++];
	level->values = tag >= TAG_TABLE + 4 && slots ? slots - 1 : slots;
	level->fields = (uint64_t)fields * 2;
	/* Every value takes a byte at least. Checked before the sizes are used for anything. */
	if (level->values + level->fields > left(w))
		return VALUE_TRUNCATED;
	w->memory += COST_TABLE + (size_t)slots * COST_SLOT +
		     (fields ? nodes_for(fields) * COST_NODE : 0);
	return VALUE_OK;
}

static enum value_fault step_number(struct walk *w, bool key)
{
	double number;

	if (key && left(w) >= sizeof(number)) {
		memcpy(&number, w->at, sizeof(number));
		if (isnan(number))
			return VALUE_KEY;
	}
	return skip(w, sizeof(number), 0);
}

static enum value_fault step(struct walk *w, bool key)
{
	uint32_t tag;

	if (!read_number(w, &tag))
		return VALUE_TRUNCATED;
	/* Of the shortest strings there are few, and each exists once. */
	if (tag >= TAG_STRING)
		return skip(w, tag - TAG_STRING,
			    tag - TAG_STRING > 2 ? COST_STRING + tag - TAG_STRING : 0);
	if (tag >= TAG_TABLE && tag <= TAG_TABLE_LAST)
		return enter_table(w, tag);
	switch (tag) {
	case TAG_NIL: return key ? VALUE_KEY : VALUE_OK;
	case TAG_NIL + 1:
	case TAG_TRUE:
	case TAG_NULL: return VALUE_OK;
	case TAG_INT: return skip(w, 4, 0);
	case TAG_NUM: return step_number(w, key);
	case TAG_INT64:
	case TAG_UINT64: return skip(w, 8, COST_CDATA);
	case TAG_COMPLEX: return skip(w, 16, COST_CDATA);
	default: return VALUE_TAG;
	}
}

/* Leave the tables that are complete; false when nothing is left to read. */
static bool next_value(struct walk *w, bool *key)
{
	while (w->depth > 0) {
		struct level *level = &w->levels[w->depth - 1];

		*key = false;
		if (level->values > 0) {
			level->values--;
			return true;
		}
		if (level->fields > 0) {
			*key = level->fields % 2 == 0;
			level->fields--;
			return true;
		}
		w->depth--;
	}
	return false;
}

enum value_fault value_check(const void *data, size_t size, unsigned max_depth)
{
	struct walk w = { .at = data, .end = (const uint8_t *)data + size };
	enum value_fault fault;
	bool key = false;

	w.max_depth = max_depth < VALUE_DEPTH_LIMIT ? max_depth : VALUE_DEPTH_LIMIT;
	do {
		fault = step(&w, key);
		if (fault == VALUE_OK && w.memory > VALUE_MEMORY_MAX)
			fault = VALUE_HEAVY;
	} while (fault == VALUE_OK && next_value(&w, &key));
	if (fault == VALUE_OK && left(&w) > 0)
		fault = VALUE_TRAILING;
	return fault;
}

const char *value_fault_text(enum value_fault fault)
{
	switch (fault) {
	case VALUE_OK: return "is sound";
	case VALUE_TRUNCATED: return "ends too early or promises more than it holds";
	case VALUE_TRAILING: return "has bytes behind its end";
	case VALUE_TAG: return "holds a type that no message has";
	case VALUE_KEY: return "has nil or NaN as a key";
	case VALUE_DEEP: return "is nested too deep";
	case VALUE_HEAVY: return "would take more than 1 GB of memory";
	}
	return "is broken";
}
