/*
 * value_codec.c - the plain values of messages, in string.buffer's format: nil, booleans, numbers,
 * strings, json.null and tables of these. It is for speed alone: whatever is rare or wrong is left
 * to string.buffer itself, which raises, or knows what to do.
 */
#include <stdint.h>
#include <string.h>

#include "bind/value.h"
#include "loop/value.h"

enum {
	TAG_NIL = 0x00,
	TAG_FALSE = 0x01,
	TAG_TRUE = 0x02,
	TAG_NULL = 0x03,
	TAG_INT = 0x06,
	TAG_NUM = 0x07,
	TAG_TABLE = 0x08,
	TAG_HASH = 0x01,
	TAG_ARRAY = 0x02,     /* from slot 0 on */
	TAG_ARRAY_ONE = 0x04, /* slot 0 is counted, and not sent */
	TAG_STRING = 0x20,
};

/* What is larger is string.buffer's: it and its callers know what is too much. */
#define SIZE_MAX_HERE ((size_t)16 << 20)
#define SLOTS_MAX     (1 << 20)

/* ---- writing ---- */

struct writer {
	lua_State *L;
	struct buffer *out;
	size_t memory, size; /* what it takes when it is decoded; what it has in bytes */
	unsigned depth;
};

static inline bool put_bytes(struct writer *w, const void *bytes, size_t size)
{
	w->size += size;
	return w->size <= SIZE_MAX_HERE && buffer_append(w->out, bytes, size) == 0;
}

static bool put_number(struct writer *w, uint32_t n)
{
	uint8_t bytes[5] = { (uint8_t)n };

	if (n < 0xe0)
		return put_bytes(w, bytes, 1);
	if (n < 0x1fe0) {
		n -= 0xe0;
		bytes[0] = (uint8_t)(0xe0 | n >> 8);
		bytes[1] = (uint8_t)n;
		return put_bytes(w, bytes, 2);
	}
	bytes[0] = 0xff;
	for (int i = 0; i < 4; i++)
		bytes[i + 1] = (uint8_t)(n >> 8 * i);
	return put_bytes(w, bytes, 5);
}

static bool put_string(struct writer *w, int index)
{
	size_t size;
	const char *text = lua_tolstring(w->L, index, &size);

	w->memory += 24 + size;
	return size < SIZE_MAX_HERE && put_number(w, TAG_STRING + (uint32_t)size) &&
	       put_bytes(w, text, size);
}

static bool put_double(struct writer *w, double n)
{
	uint8_t bytes[9] = { TAG_NUM };

	memcpy(bytes + 1, &n, sizeof(n));
	return put_bytes(w, bytes, sizeof(bytes));
}

static bool put_value(struct writer *w, int index);

/* Whether the key at index is one of the first n of the array part. */
static bool in_array(lua_State *L, int index, int n)
{
	lua_Number key;

	if (n == 0 || lua_type(L, index) != LUA_TNUMBER)
		return false;
	key = lua_tonumber(L, index);
	return key >= 1 && key <= n && key == (lua_Number)(int)key;
}

static uint32_t count_fields(lua_State *L, int index, int n)
{
	uint32_t fields = 0;

	lua_pushnil(L);
	while (lua_next(L, index)) {
		lua_pop(L, 1);
		fields += !in_array(L, -1, n);
	}
	return fields;
}

/* At most `max` of them. */
static bool put_fields(struct writer *w, int index, int n, uint32_t *count, uint32_t max)
{
	lua_State *L = w->L;
	int top = lua_gettop(L);

	*count = 0;
	lua_pushnil(L);
	while (lua_next(L, index)) {
		if (!in_array(L, top + 1, n) &&
		    (++*count > max || !put_value(w, top + 1) || !put_value(w, top + 2))) {
			lua_settop(L, top);
			return false;
		}
		lua_settop(L, top + 1);
	}
	return true;
}

/* What value_check counts, or more. */
static bool add_memory(struct writer *w, size_t slots, size_t fields)
{
	w->memory += 64 + 8 * slots + 48 * fields;
	return w->memory <= VALUE_MEMORY_MAX;
}

#define FEW 0xdf

/* Without an array part, and with no more than FEW fields: their number is one byte. */
static bool put_record(struct writer *w, int index, bool *many)
{
	size_t start = w->out->len, size = w->size;
	uint32_t fields;

	if (!put_bytes(w, (char[]){ TAG_TABLE | TAG_HASH, 0 }, 2))
		return false;
	if (put_fields(w, index, 0, &fields, FEW)) {
		w->out->data[start + 1] = (char)fields;
		if (fields == 0) {
			w->out->data[start] = TAG_TABLE;
			w->out->len--;
		}
		return add_memory(w, 0, fields);
	}
	*many = fields > FEW;
	w->out->len = start;
	w->size = size;
	return false;
}

static bool put_any(struct writer *w, int index, int n)
{
	lua_State *L = w->L;
	uint32_t fields = count_fields(L, index, n), count = 0;
	bool ok = add_memory(w, (size_t)n + 1, fields);

	ok = ok && put_number(w, TAG_TABLE | (n ? TAG_ARRAY_ONE : 0) | (fields ? TAG_HASH : 0));
	if (n)
		ok = ok && put_number(w, (uint32_t)n + 1);
	if (fields)
		ok = ok && put_number(w, fields);
	for (int i = 1; ok && i <= n; i++) {
		lua_rawgeti(L, index, i);
		ok = put_value(w, lua_gettop(L));
		lua_pop(L, 1);
	}
	return ok && (!fields || put_fields(w, index, n, &count, fields));
}

static bool put_table(struct writer *w, int index)
{
	size_t length = lua_objlen(w->L, index);
	bool many = false, ok = false;

	if (w->depth == VALUE_DEPTH_MAX || length >= SLOTS_MAX || !lua_checkstack(w->L, 8))
		return false;
	w->depth++;
	if (length == 0)
		ok = put_record(w, index, &many);
	if (length > 0 || many)
		ok = put_any(w, index, (int)length);
	w->depth--;
	return ok;
}

static bool put_tag(struct writer *w, uint8_t tag)
{
	return put_bytes(w, &tag, 1);
}

/* `index` is absolute. */
static bool put_value(struct writer *w, int index)
{
	lua_State *L = w->L;

	switch (lua_type(L, index)) {
	case LUA_TNIL: return put_tag(w, TAG_NIL);
	case LUA_TBOOLEAN: return put_tag(w, lua_toboolean(L, index) ? TAG_TRUE : TAG_FALSE);
	case LUA_TNUMBER: return put_double(w, lua_tonumber(L, index));
	case LUA_TSTRING: return put_string(w, index);
	case LUA_TTABLE: return put_table(w, index);
	case LUA_TLIGHTUSERDATA: return !lua_touserdata(L, index) && put_tag(w, TAG_NULL);
	default: return false;
	}
}

bool value_write(lua_State *L, int index, struct buffer *out)
{
	struct writer w = { .L = L, .out = out };
	size_t len = out->len;
	int top = lua_gettop(L);

	if (index < 0)
		index = top + 1 + index;
	if (put_value(&w, index))
		return true;
	lua_settop(L, top);
	out->len = len;
	return false;
}

/* ---- reading: what is here has been checked ---- */

static uint32_t read_number(const uint8_t **at)
{
	uint32_t v = *(*at)++;

	if (v >= 0xe0 && v != 0xff) {
		v = ((v & 0x1f) << 8) + *(*at)++ + 0xe0;
	} else if (v == 0xff) {
		memcpy(&v, *at, sizeof(v));
		*at += sizeof(v);
	}
	return v;
}

static bool push_value(lua_State *L, const uint8_t **at);

/* A key that comes twice is a mistake. */
static bool read_field(lua_State *L, const uint8_t **at, int table)
{
	bool fresh;

	if (!push_value(L, at))
		return false;
	lua_pushvalue(L, -1);
	lua_rawget(L, table);
	fresh = lua_isnil(L, -1);
	lua_pop(L, 1);
	if (!fresh || !push_value(L, at))
		return false;
	lua_rawset(L, table);
	return true;
}

static bool push_table(lua_State *L, const uint8_t **at, uint32_t tag)
{
	uint32_t slots = 0, fields = 0;
	int first = tag & TAG_ARRAY_ONE ? 1 : 0, table;

	if (tag & (TAG_ARRAY | TAG_ARRAY_ONE))
		slots = read_number(at);
	if (tag & TAG_HASH)
		fields = read_number(at);
	if (slots > SLOTS_MAX || fields > SLOTS_MAX || !lua_checkstack(L, 8))
		return false;
	lua_createtable(L, slots ? (int)slots - 1 : 0, (int)fields);
	table = lua_gettop(L);
	for (int i = first; i < (int)slots; i++) {
		if (!push_value(L, at))
			return false;
		lua_rawseti(L, table, i);
	}
	for (; fields > 0; fields--)
		if (!read_field(L, at, table))
			return false;
	return true;
}

static bool push_value(lua_State *L, const uint8_t **at)
{
	uint32_t tag = read_number(at);
	int32_t integer;
	double number;

	if (tag >= TAG_STRING) {
		lua_pushlstring(L, (const char *)*at, tag - TAG_STRING);
		*at += tag - TAG_STRING;
		return true;
	}
	switch (tag) {
	case TAG_NIL: lua_pushnil(L); return true;
	case TAG_FALSE:
	case TAG_TRUE: lua_pushboolean(L, tag == TAG_TRUE); return true;
	case TAG_NULL: lua_pushlightuserdata(L, NULL); return true;
	case TAG_INT:
		memcpy(&integer, *at, sizeof(integer));
		*at += sizeof(integer);
		lua_pushinteger(L, integer);
		return true;
	case TAG_NUM:
		memcpy(&number, *at, sizeof(number));
		*at += sizeof(number);
		lua_pushnumber(L, number);
		return true;
	default:
		return tag >= TAG_TABLE && tag < TAG_TABLE + 6 &&
		       push_table(L, at, tag - TAG_TABLE);
	}
}

bool value_push(lua_State *L, const char *data)
{
	const uint8_t *at = (const uint8_t *)data;
	int top = lua_gettop(L);

	if (push_value(L, &at))
		return true;
	lua_settop(L, top);
	return false;
}
