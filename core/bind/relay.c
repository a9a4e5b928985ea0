/*
 * relay.c - brood.core.relay: requests that another server answers. One call begins it, and one
 * function is called at its end; what then becomes of a failure is Lua's business.
 */
#include <string.h>

#include "bind/bind.h"
#include "bind/http.h"
#include "bind/http_response.h"
#include "loop/http_taken.h"
#include "loop/relay.h"

static const char *code_of(enum relay_fault fault)
{
	switch (fault) {
	case RELAY_CONNECT: return "connect";
	case RELAY_TIMEOUT: return "timeout";
	case RELAY_BAD_ANSWER: return "bad_answer";
	case RELAY_TOO_LARGE: return "too_large";
	default: return "closed";
	}
}

static void set_flag(lua_State *L, const char *name, bool value)
{
	lua_pushboolean(L, value);
	lua_setfield(L, -2, name);
}

static void push_failure(lua_State *L, const struct relay_end *end)
{
	bind_push_error(L, code_of(end->fault), end->why);
	set_flag(L, "sent", end->sent);
	set_flag(L, "came", end->came);
	set_flag(L, "began", end->began);
	set_flag(L, "kept", end->kept);
	set_flag(L, "whole", end->whole);
	set_flag(L, "client", end->fault == RELAY_GONE);
	if (end->err) {
		lua_pushstring(L, uv_err_name(end->err));
		lua_setfield(L, -2, "reason");
	}
}

/* The response is its handler's again, where it can still be answered. */
static void give_back(lua_State *L, int ref, bool over)
{
	struct l_response *response;

	lua_rawgeti(L, LUA_REGISTRYINDEX, ref);
	luaL_unref(L, LUA_REGISTRYINDEX, ref);
	response = lua_touserdata(L, -1);
	if (over)
		response_drop_finalizer(L, lua_gettop(L));
	else
		response->finished = false;
	lua_pop(L, 1);
}

static void on_over(struct relay_refs refs, const struct relay_end *end)
{
	lua_State *L = http_state();
	lua_State *caller = http_caller;

	http_caller = NULL;
	give_back(L, refs.response, end->fault == RELAY_DONE || end->began);
	lua_rawgeti(L, LUA_REGISTRYINDEX, refs.over);
	luaL_unref(L, LUA_REGISTRYINDEX, refs.over);
	if (end->fault == RELAY_DONE) {
		bind_call(L, 0, 0, "forward");
	} else {
		push_failure(L, end);
		bind_call(L, 1, 0, "forward");
	}
	http_caller = caller;
}

static struct l_response *check_response(lua_State *L)
{
	struct l_response *response = response_find(L, 2);

	luaL_argcheck(L, response, 2, "a response is needed");
	return response;
}

/* What its handler has done with it, after which nobody else can answer; or NULL. */
static const char *spoiled(const struct l_response *response, const struct http_asked *asked)
{
	if (response->finished)
		return "the response is already finished";
	if (!response_alive(response) || !http_alive(asked->conn, asked->serial))
		return NULL;
	if (!http_body_is_untouched(asked->conn))
		return "the request's body has been read, at least in part";
	return http_head_sent(asked->conn) ? "the head of an answer has already been sent" : NULL;
}

static uint64_t milliseconds(lua_State *L, int index)
{
	lua_Number n = luaL_checknumber(L, index);

	return n > 0 ? (uint64_t)n : 0;
}

/*
 * start(req, res, address, timeout, connect_timeout, keep, host | nil, fresh, fn) -> true | nil,
 * err Times in ms, 0: never. fn(err) at the end; err: { message, code, sent, came, began, kept,
 * whole, client }. Where it did not begin fn is not called.
 */
static int l_start(lua_State *L)
{
	struct http_asked asked;
	struct l_response *response;
	struct relay_plan plan;
	struct relay_refs refs;
	struct relay_end end;
	lua_State *caller = http_caller;
	const char *mistake;
	int err;

	http_request_describe(L, &asked);
	response = check_response(L);
	mistake = spoiled(response, &asked);
	if (mistake)
		return luaL_error(L, "forward: %s", mistake);
	plan = (struct relay_plan){ .address = luaL_checkstring(L, 3),
				    .timeout = milliseconds(L, 4),
				    .connect_timeout = milliseconds(L, 5),
				    .keep = lua_toboolean(L, 6),
				    .host = luaL_optstring(L, 7, NULL),
				    .fresh = lua_toboolean(L, 8) };
	luaL_checktype(L, 9, LUA_TFUNCTION);
	if (!response_alive(response) || !http_alive(asked.conn, asked.serial)) {
		lua_pushnil(L);
		push_failure(L, &(struct relay_end){ .fault = RELAY_GONE,
						     .why = "the client has gone" });
		return 2;
	}
	lua_settop(L, 9);
	refs.over = luaL_ref(L, LUA_REGISTRYINDEX);
	refs.response = bind_ref(L, 2);
	response->finished = true;
	http_caller = L;
	err = relay_start(bind_loop(L), asked.conn, &asked.head, &plan, on_over, refs, &end);
	http_caller = caller;
	if (!err) {
		lua_pushboolean(L, 1);
		return 1;
	}
	luaL_unref(L, LUA_REGISTRYINDEX, refs.over);
	give_back(L, refs.response, false);
	lua_pushnil(L);
	push_failure(L, &end);
	return 2;
}

/* mistake(req, res) -> why it cannot be answered by somebody else any more, by its handler's fault
 * | nil */
static int l_mistake(lua_State *L)
{
	struct http_asked asked;

	http_request_describe(L, &asked);
	lua_pushstring(L, spoiled(check_response(L), &asked));
	return 1;
}

/* kept() -> how many connections wait for another request */
static int l_kept(lua_State *L)
{
	lua_pushinteger(L, (lua_Integer)relay_kept());
	return 1;
}

static const luaL_Reg functions[] = {
	{ "start", l_start },
	{ "mistake", l_mistake },
	{ "kept", l_kept },
	{ NULL, NULL },
};

int bind_open_relay(lua_State *L)
{
	lua_newtable(L);
	luaL_register(L, NULL, functions);
	return 1;
}
