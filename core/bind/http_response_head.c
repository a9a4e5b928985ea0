/*
 * http_response_head.c - res:status and res:header: what may be set, and when. All of what is
 * given is looked at before any of it counts.
 */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "bind/bind.h"
#include "bind/http_response.h"

/* Whether it is too late, because the client has gone; where it is by the handler's fault: raise.
 */
static bool is_gone(lua_State *L, const struct l_response *r, const char *name)
{
	response_check_unfinished(L, r, 1, name);
	if (!response_alive(r))
		return true;
	if (http_head_sent(r->conn))
		response_mistake(L, 1, "res:%s: the head has already been sent, by res:write",
				 name);
	return false;
}

static int bad_status(lua_State *L)
{
	const char *got = luaL_typename(L, 2);
	char number[32];

	if (lua_type(L, 2) == LUA_TNUMBER) {
		snprintf(number, sizeof(number), LUA_NUMBER_FMT, lua_tonumber(L, 2));
		got = number;
	}
	return response_mistake(
		L, 1, "res:status: the status must be a whole number from 200 to 999, got %s", got);
}

int response_status(lua_State *L)
{
	struct l_response *r = response_check(L, 1, "status");
	lua_Number n = lua_type(L, 2) == LUA_TNUMBER ? lua_tonumber(L, 2) : 0;

	if (is_gone(L, r, "status"))
		return response_closed(L);
	if (!(n >= 200 && n <= 999) || n != (int)n)
		return bad_status(L);
	http_set_status(r->conn, (int)n);
	return response_self(L);
}

/* ---- headers ---- */

static void printable(char *into, size_t room, const char *text)
{
	size_t i = 0;

	for (; text[i] && i < room - 1; i++)
		into[i] = text[i] < 0x20 || text[i] == 0x7f ? '?' : text[i];
	into[i] = '\0';
}

static void check_fault(lua_State *L, enum http_header_fault fault, const char *name,
			const char *value)
{
	char shown[64];

	switch (fault) {
	case HTTP_HEADER_FINE: break;
	case HTTP_HEADER_NAME:
		printable(shown, sizeof(shown), name);
		response_mistake(L, 1,
				 "res:header: '%s' is no name of a header: letters, digits and "
				 "!#$%%&'*+-.^_`|~ may be in one",
				 shown);
		break;
	case HTTP_HEADER_VALUE:
		response_mistake(L, 1,
				 "res:header: the value of '%s' must hold no line break and no NUL "
				 "or other control byte",
				 name);
		break;
	case HTTP_HEADER_LENGTH:
		response_mistake(L, 1, "res:header: '%s' must be a number of bytes, got '%s'", name,
				 value);
		break;
	case HTTP_HEADER_OWN:
		response_mistake(
			L, 1,
			"res:header: '%s' is the server's own: it follows from write and finish",
			name);
	}
}

/* The value on top of the stack, or at index 3. */
static const char *check_value(lua_State *L, int index, const char *name, size_t name_len,
			       size_t *len)
{
	const char *value = NULL;
	int type = lua_type(L, index);

	*len = 0;
	if (type == LUA_TSTRING || type == LUA_TNUMBER)
		value = lua_tolstring(L, index, len);
	else
		response_mistake(
			L, 1,
			"res:header: the value of '%s' must be a string, a number, a list of these "
			"or nil, got %s",
			name, luaL_typename(L, index));
	check_fault(L, http_check_header(name, name_len, value, *len), name, value);
	return value;
}

/* All of a list is looked at before any of it counts. */
static int check_list(lua_State *L, const char *name, size_t name_len)
{
	int n = (int)lua_objlen(L, 3);
	size_t len;

	lua_pushnil(L);
	if (n == 0 && lua_next(L, 3))
		response_mistake(
			L, 1, "res:header: the value of '%s' must be a list, got a table of names",
			name);
	for (int i = 1; i <= n; i++) {
		lua_rawgeti(L, 3, i);
		check_value(L, -1, name, name_len, &len);
		lua_pop(L, 1);
	}
	if (n > 1 && name_len == 14 && strncasecmp(name, "content-length", 14) == 0)
		response_mistake(L, 1, "res:header: '%s' must be one number of bytes, got %d", name,
				 n);
	return n;
}

static void set_list(lua_State *L, struct http_conn *c, const char *name, size_t name_len)
{
	int n = check_list(L, name, name_len);
	size_t len;

	http_set_header(c, name, name_len, NULL, 0);
	for (int i = 1; i <= n; i++) {
		const char *value;

		lua_rawgeti(L, 3, i);
		value = lua_tolstring(L, -1, &len);
		http_add_header(c, name, name_len, value, len);
		lua_pop(L, 1);
	}
}

/* header(name, value): a list sends one line each, nil removes */
int response_header(lua_State *L)
{
	struct l_response *r = response_check(L, 1, "header");
	size_t name_len = 0, len = 0;
	const char *name, *value = NULL;
	int type = lua_type(L, 3);

	if (is_gone(L, r, "header"))
		return response_closed(L);
	if (lua_type(L, 2) != LUA_TSTRING)
		return response_mistake(L, 1, "res:header: the name must be a string, got %s",
					luaL_typename(L, 2));
	if (type == LUA_TNONE)
		return response_mistake(L, 1,
					"res:header: a name and a value are needed (nil removes)");
	name = lua_tolstring(L, 2, &name_len);
	/* With a value of the right type, its check is one of the name too. */
	if (type != LUA_TSTRING && type != LUA_TNUMBER)
		check_fault(L, http_check_header(name, name_len, NULL, 0), name, NULL);
	if (type == LUA_TTABLE) {
		set_list(L, r->conn, name, name_len);
		return response_self(L);
	}
	if (type != LUA_TNIL)
		value = check_value(L, 3, name, name_len, &len);
	http_set_header(r->conn, name, name_len, value, len);
	return response_self(L);
}
