/*
 * http_answer.c - brood.core.http_answer: the parser of answers as an object. It is
 * memory only: a copy of it in a forked child is the child's own.
 */
#include <errno.h>
#include <string.h>

#include "bind/bind.h"
#include "loop/http_answer.h"

#define CLASS "brood.http_answer"

struct box {
	struct http_answer *answer;
};

static struct http_answer *check(lua_State *L)
{
	return ((struct box *)luaL_checkudata(L, 1, CLASS))->answer;
}

/* new() -> answer */
static int l_new(lua_State *L)
{
	struct box *box = lua_newuserdata(L, sizeof(*box));
	int err;

	box->answer = NULL;
	luaL_getmetatable(L, CLASS);
	lua_setmetatable(L, -2);
	err = http_answer_open(&box->answer);
	return err ? bind_fail(L, err, "http answer") : 1;
}

/* begin(no_body, max_body | nil): the next answer */
static int l_begin(lua_State *L)
{
	struct http_answer *a = check(L);
	lua_Number max = luaL_optnumber(L, 3, -1);

	http_answer_begin(a, lua_toboolean(L, 2),
			  max >= 0 && max < 0x1p63 ? (uint64_t)max : HTTP_ANSWER_NO_LIMIT);
	return 0;
}

static const char *code_of(int err)
{
	switch (err) {
	case -EMSGSIZE: return "too_large";
	case -ECONNRESET: return "closed";
	default: return uv_err_name(err);
	}
}

static int push_state(lua_State *L, struct http_answer *a, int err)
{
	static const char *const words[] = { [HTTP_ANSWER_HEAD] = "head",
					     [HTTP_ANSWER_BODY] = "body",
					     [HTTP_ANSWER_DONE] = "done",
					     [HTTP_ANSWER_BAD] = "bad" };

	if (err)
		return bind_fail_code(L, code_of(err), "%s", http_answer_problem(a));
	lua_pushstring(L, words[http_answer_state(a)]);
	return 1;
}

/* feed(bytes) -> "head" | "body" | "done": what is still to come | nil, err */
static int l_feed(lua_State *L)
{
	struct http_answer *a = check(L);
	size_t len;
	const char *bytes = luaL_checklstring(L, 2, &len);

	return push_state(L, a, http_answer_feed(a, bytes, len));
}

/* finish(): the server has ended its side -> "done" | nil, err */
static int l_finish(lua_State *L)
{
	struct http_answer *a = check(L);

	return push_state(L, a, http_answer_end(a));
}

/* With the name and the value on top: nth = 1 starts a list, later ones join it. */
static void add_cookie(lua_State *L, int headers)
{
	lua_pushvalue(L, -2);
	lua_rawget(L, headers);
	if (lua_isnil(L, -1)) {
		lua_pop(L, 1);
		lua_newtable(L);
		lua_pushvalue(L, -3);
		lua_pushvalue(L, -2);
		lua_rawset(L, headers);
	}
	lua_insert(L, -2);
	lua_rawseti(L, -2, (int)lua_objlen(L, -2) + 1);
	lua_pop(L, 2);
}

static void add_header(lua_State *L, int headers)
{
	lua_pushvalue(L, -2);
	lua_rawget(L, headers);
	if (lua_isnil(L, -1)) {
		lua_pop(L, 1);
	} else {
		lua_insert(L, -2);
		lua_pushliteral(L, ", ");
		lua_insert(L, -2);
		lua_concat(L, 3);
	}
	lua_rawset(L, headers);
}

/* Lower-case names; repeated ones joined by ", ", but set-cookie, which is always a list. */
static void push_headers(lua_State *L, const struct http_answer_head *head)
{
	int headers;

	lua_createtable(L, 0, (int)head->count);
	headers = lua_gettop(L);
	for (size_t i = 0; i < head->count; i++) {
		const struct http_field *f = &head->fields[i];

		bind_push_name(L, head->base + f->name.at, f->name.len);
		lua_pushlstring(L, head->base + f->value.at, f->value.len);
		if (strcmp(lua_tostring(L, -2), "set-cookie") == 0)
			add_cookie(L, headers);
		else
			add_header(L, headers);
	}
}

/* head() -> status, reason, headers | nil while it has not come */
static int l_head(lua_State *L)
{
	const struct http_answer_head *head = http_answer_head(check(L));

	if (!head)
		return 0;
	lua_pushinteger(L, (lua_Integer)head->status);
	lua_pushlstring(L, head->base + head->reason.at, head->reason.len);
	push_headers(L, head);
	return 3;
}

/* take() -> what has come of the body since the last time, "" where nothing has */
static int l_take(lua_State *L)
{
	struct http_answer *a = check(L);
	size_t len;
	const char *bytes = http_answer_body(a, &len);

	lua_pushlstring(L, bytes ? bytes : "", len);
	http_answer_drop(a);
	return 1;
}

/* came() -> how many bytes of this answer have come */
static int l_came(lua_State *L)
{
	lua_pushnumber(L, (lua_Number)http_answer_came(check(L)));
	return 1;
}

/* keeps_alive() -> whether the connection may carry another request */
static int l_keeps_alive(lua_State *L)
{
	lua_pushboolean(L, http_answer_keeps_alive(check(L)));
	return 1;
}

static int l_gc(lua_State *L)
{
	struct box *box = luaL_checkudata(L, 1, CLASS);

	http_answer_free(box->answer);
	box->answer = NULL;
	return 0;
}

static const luaL_Reg methods[] = {
	{ "begin", l_begin },   { "came", l_came }, { "feed", l_feed },
	{ "finish", l_finish }, { "head", l_head }, { "keeps_alive", l_keeps_alive },
	{ "take", l_take },     { NULL, NULL },
};

int bind_open_http_answer(lua_State *L)
{
	bind_class(L, "http_answer", methods, l_gc);
	lua_newtable(L);
	lua_pushcfunction(L, l_new);
	lua_setfield(L, -2, "new");
	return 1;
}
