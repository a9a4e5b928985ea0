/*
 * http_response.h - shared by http_response.c, http_response_head.c and relay.c: a response,
 * and how they tell its user what went wrong.
 */
#ifndef BIND_HTTP_RESPONSE_H
#define BIND_HTTP_RESPONSE_H

#include <stdbool.h>
#include <stdint.h>

#include <lua.h>

#include "bind/http.h"

#define RESPONSE_TEXT 64

struct l_response {
	struct http_conn *conn;
	uint64_t serial;
	bool finished;
	bool returned; /* its handler returned what might have been meant for a body */
	uint8_t len;
	char text[]; /* "GET /path", for the log */
};

/*
 * Raise what the caller did wrong, at the place of the call: level 1, or 2 where a Lua method is
 * in between.
 */
int response_mistake(lua_State *L, int level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* The response at an index, or NULL where it is none. */
struct l_response *response_find(lua_State *L, int index);
/* Nothing is owed any more. The index counts from the bottom. */
void response_drop_finalizer(lua_State *L, int index);
/* The response at index 1, or an error in the name of its method. */
struct l_response *response_check(lua_State *L, int level, const char *method);
void response_check_unfinished(lua_State *L, const struct l_response *r, int level,
			       const char *method);
/* The results of a method: nil and an error, or the response. */
int response_closed(lua_State *L);
int response_self(lua_State *L);

static inline bool response_alive(const struct l_response *r)
{
	return http_alive(r->conn, r->serial);
}

/* http_response_head.c */
int response_status(lua_State *L);
int response_header(lua_State *L);

#endif
