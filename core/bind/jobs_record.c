/*
 * jobs_record.c - what a job was given, and what came of it, as bytes that the collector owns. They
 * are no strings: each of those would be looked for among all that there are, and most jobs' bytes
 * are never looked at again.
 */
#include "bind/jobs.h"

#include <stdint.h>
#include <string.h>

#define MAGIC 0x6a6f6273u

enum {
	ROOM = 24, /* for the output, at least: what is longer is a string after all */
	UNIT = 16,
};

struct record {
	uint32_t magic;
	uint32_t input, output; /* bytes */
	uint32_t room;
	char data[];
};

static struct record *check_record(lua_State *L, int index)
{
	struct record *r = lua_touserdata(L, index);

	luaL_argcheck(L,
		      r && lua_objlen(L, index) >= sizeof(*r) && r->magic == MAGIC &&
			      lua_objlen(L, index) >= sizeof(*r) + r->input + r->room,
		      index, "a job's record expected");
	return r;
}

void jobs_record_push(lua_State *L, const char *input, size_t size)
{
	size_t whole = (sizeof(struct record) + size + ROOM + UNIT - 1) / UNIT * UNIT;
	struct record *r = lua_newuserdata(L, whole);

	r->magic = MAGIC;
	r->input = (uint32_t)size;
	r->output = 0;
	r->room = (uint32_t)(whole - sizeof(*r) - size);
	memcpy(r->data, input, size);
}

bool jobs_record_answer(lua_State *L, int index, const char *output, size_t size)
{
	struct record *r = check_record(L, index);

	if (size > r->room)
		return false;
	memcpy(r->data + r->input, output, size);
	r->output = (uint32_t)size;
	return true;
}

int jobs_record_input(lua_State *L)
{
	const struct record *r = check_record(L, 1);

	lua_pushlstring(L, r->data, r->input);
	return 1;
}

int jobs_record_output(lua_State *L)
{
	const struct record *r = check_record(L, 1);

	lua_pushlstring(L, r->data + r->input, r->output);
	return 1;
}
