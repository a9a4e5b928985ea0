/*
 * http.h - what the files of the HTTP binding share. A request and its
 * response are userdata that name a request by connection and serial; both
 * outlive it without harm.
 */
#ifndef BIND_HTTP_H
#define BIND_HTTP_H

#include <lua.h>

#include "loop/http_server.h"

/*
 * The state that Lua is running in while one of our functions is on the stack,
 * else NULL. What the loop tells us meanwhile is passed on in that state: the
 * main one is then in the middle of a resume.
 */
extern lua_State *http_caller;

lua_State *http_state(void);

/*
 * The request and the response that are being handed to a handler. They lie on our stack meanwhile:
 * nothing else can have these addresses, which spares most calls the look at their class.
 */
struct http_handed {
	const void *request, *response;
};
extern struct http_handed http_handed;

/* http_request.c */
/* Pushes the methods, for Lua to add its own. */
void http_request_classes(lua_State *L);
/* Returns its address. */
const void *http_request_push(lua_State *L, struct http_conn *c, const struct http_head *head);

/* What a request object stands for; head is valid as long as the object. */
struct http_asked {
	struct http_conn *conn;
	uint64_t serial;
	struct http_head head;
};
/* Of the one at index 1; raises where there is none. */
void http_request_describe(lua_State *L, struct http_asked *asked);

/* http_response.c */
/* The same. */
void http_response_classes(lua_State *L);
const void *http_response_push(lua_State *L, struct http_conn *c, const struct http_head *head);

/* http_log.c */
/* Adds its functions to the table on top. */
void http_log_functions(lua_State *L);
/* Where the access log is made by a function, it will be given the request at index. */
void http_log_keep(lua_State *L, struct http_conn *c, int index);

#endif
