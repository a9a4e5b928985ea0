/*
 * net.h - what the files of the plain connections' binding share.
 */
#ifndef BIND_NET_H
#define BIND_NET_H

#include "bind/bind.h"
#include "loop/net.h"

/* As in http.h: the state in which one of our functions runs, and where callbacks run meanwhile. */
extern lua_State *net_caller;

lua_State *net_state(void);
/* Call fn from `ref` with nothing in between us and it: what it calls comes with its own state. */
void net_call_ref(int *ref, const char *where);

/* net_conn.c */
void net_conn_class(lua_State *L);
void net_conn_push(lua_State *L, struct net_conn *c);

#endif
