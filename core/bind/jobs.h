/*
 * jobs.h - what the bindings of the job store, its lanes and inboxes share.
 */
#ifndef BIND_JOBS_H
#define BIND_JOBS_H

#include <stdbool.h>

#include "bind/bind.h"
#include "loop/job_wire.h"
#include "loop/lane.h"
#include "loop/store.h"

/* The userdata of a store. */
struct jobs_store {
	struct store *store; /* NULL: closed */
	unsigned generation;
};

/* The store at index; raises where it is closed, or another process's. */
struct store *jobs_check_store(lua_State *L, int index);
/* store:lane() */
int jobs_lane_new(lua_State *L);
void jobs_open_lane(lua_State *L);
/* lane:inbox(), with a lane's slot: pushes the inbox. */
int jobs_inbox_new(lua_State *L, struct job_slot *slot);
void jobs_open_inbox(lua_State *L);

uint64_t jobs_check_seq(lua_State *L, int index);
/* A time in seconds, not negative. */
double jobs_check_time(lua_State *L, int index);
/* The same, and the present where there is none. */
double jobs_opt_now(lua_State *L, int index);
/* A record with a job's input: pushes it. */
void jobs_record_push(lua_State *L, const char *input, size_t size);
/* Keep the output in the record at index; false where there is no room. */
bool jobs_record_answer(lua_State *L, int index, const char *output, size_t size);
/* input(record), output(record) -> payload */
int jobs_record_input(lua_State *L);
int jobs_record_output(lua_State *L);
/* The words for enum wire_kind, ended by NULL. */
extern const char *const jobs_kinds[WIRE_KINDS + 1];
/* The word, without making the string anew. */
void jobs_push_kind(lua_State *L, enum wire_kind kind);

#endif
