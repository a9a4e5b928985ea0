/*
 * channel.c - brood.core.channel: channels as Lua objects. Payloads are opaque
 * strings here; what they mean is lua/brood/message.lua's and rules/protocol.lua's.
 */
#include <errno.h>
#include <stdint.h>

#include "bind/bind.h"
#include "loop/channel.h"
#include "sys/fd.h"

#define CLASS "brood.channel"
/* Larger payloads are not copied: the string is kept until it has been sent. */
#define BORROW_SIZE 8192
#define WAITING_MAX (1u << 20)

struct bound {
	struct channel *channel; /* NULL: closed */
	unsigned generation;
	int self; /* keeps this object while it is open */
	int frame, close, drain;
};

/*
 * Callbacks from the loop use the main state; but a method called in a task may
 * call back too, and then the main state is not the one that runs.
 */
static lua_State *active;

static lua_State *state(void)
{
	return active ? active : bind_main(NULL);
}

void bind_channel_after_fork(void)
{
	active = NULL;
}

static lua_State *enter(lua_State *L)
{
	lua_State *before = active;

	active = L;
	return before;
}

static struct bound *check_bound(lua_State *L)
{
	struct bound *b = luaL_checkudata(L, 1, CLASS);

	/* In the child of a fork it is the parent's: neither used nor freed. */
	if (b->generation != fork_generation())
		b->channel = NULL;
	return b;
}

static void release_refs(struct bound *b)
{
	lua_State *L = state();

	b->channel = NULL;
	bind_unref(L, &b->frame);
	bind_unref(L, &b->close);
	bind_unref(L, &b->drain);
	bind_unref(L, &b->self);
}

/* ---- from the loop ---- */

static void on_frame(void *arg, const struct channel_frame *frame)
{
	lua_State *L = state();
	struct bound *b = arg;

	lua_rawgeti(L, LUA_REGISTRYINDEX, b->frame);
	lua_pushinteger(L, frame->type);
	lua_pushinteger(L, frame->room);
	lua_pushlstring(L, frame->data, frame->size);
	if (frame->fd >= 0)
		lua_pushinteger(L, frame->fd);
	else
		lua_pushnil(L);
	if (frame->fd_error)
		lua_pushstring(L, uv_err_name(frame->fd_error));
	else
		lua_pushnil(L);
	bind_call(L, 5, 0, "channel");
}

static void on_close(void *arg, int err, const char *reason)
{
	lua_State *L = state();
	struct bound *b = arg;
	int close = b->close;

	b->close = LUA_NOREF;
	release_refs(b);
	if (close == LUA_NOREF)
		return;
	lua_rawgeti(L, LUA_REGISTRYINDEX, close);
	bind_unref(L, &close);
	if (err)
		bind_push_error(L, uv_err_name(err), reason);
	else
		lua_pushnil(L);
	bind_call(L, 1, 0, "channel");
}

static void on_drain(void *arg)
{
	lua_State *L = state();
	struct bound *b = arg;

	if (b->drain == LUA_NOREF)
		return;
	lua_rawgeti(L, LUA_REGISTRYINDEX, b->drain);
	bind_call(L, 0, 0, "channel");
}

static const struct channel_ops ops = { .frame = on_frame, .close = on_close, .drain = on_drain };

/* ---- from Lua ---- */

/*
 * new(fd, {frame = fn(type, room, payload, fd, fd_error), close = fn(err), drain = fn()})
 * -> channel | nil, err
 */
static int l_new(lua_State *L)
{
	int fd = luaL_checkint(L, 1), err;
	struct bound *b;

	luaL_checktype(L, 2, LUA_TTABLE);
	b = lua_newuserdata(L, sizeof(*b));
	*b = (struct bound){ .generation = fork_generation(),
			     .self = LUA_NOREF,
			     .frame = LUA_NOREF,
			     .close = LUA_NOREF,
			     .drain = LUA_NOREF };
	luaL_getmetatable(L, CLASS);
	lua_setmetatable(L, -2);
	b->frame = bind_ref_field(L, 2, "frame");
	if (b->frame == LUA_NOREF)
		return luaL_argerror(L, 2, "field 'frame' is missing");
	b->close = bind_ref_field(L, 2, "close");
	b->drain = bind_ref_field(L, 2, "drain");
	b->self = bind_ref(L, -1);
	err = channel_create(&b->channel, bind_loop(L), fd, &ops, b);
	if (err) {
		release_refs(b);
		return bind_fail(L, err, "channel");
	}
	return 1;
}

static void release_string(void *arg)
{
	int ref = (int)(intptr_t)arg;

	bind_unref(state(), &ref);
}

static int fail_send(lua_State *L, int err)
{
	if (err == -EPIPE)
		return bind_fail_code(L, "stopped", "nobody is at the other end");
	if (err == -EMSGSIZE)
		return bind_fail_code(L, "too_large", "a message has at most 64 MB");
	return bind_fail(L, err, "send");
}

/* send(type, room, payload [, fd]) -> true | false: more than 1 MB waits | nil, err */
static int l_send(lua_State *L)
{
	struct bound *b = check_bound(L);
	int type = luaL_checkint(L, 2), room = luaL_checkint(L, 3), ref = LUA_NOREF, err;
	struct channel_frame frame = { 0 };
	lua_State *before;

	frame.data = luaL_checklstring(L, 4, &frame.size);
	frame.fd = luaL_optint(L, 5, -1);
	luaL_argcheck(L, type >= 0 && type <= UINT8_MAX, 2, "a type is 0 to 255");
	luaL_argcheck(L, room >= 0 && room <= UINT16_MAX, 3, "a room is 0 to 65535");
	frame.type = (uint8_t)type;
	frame.room = (uint16_t)room;
	if (!b->channel)
		return fail_send(L, -EPIPE);
	if (frame.size > BORROW_SIZE)
		ref = bind_ref(L, 4);
	before = enter(L);
	err = channel_send(b->channel, &frame, ref == LUA_NOREF ? NULL : release_string,
			   (void *)(intptr_t)ref);
	active = before;
	if (err) {
		bind_unref(L, &ref);
		return fail_send(L, err);
	}
	lua_pushboolean(L, channel_pending(b->channel) <= WAITING_MAX);
	return 1;
}

/* pending() -> bytes that the kernel has not taken yet */
static int l_pending(lua_State *L)
{
	struct bound *b = check_bound(L);

	lua_pushinteger(L, b->channel ? (lua_Integer)channel_pending(b->channel) : 0);
	return 1;
}

/* read_now(): read and dispatch until nothing is left; does nothing inside a frame callback */
static int l_read_now(lua_State *L)
{
	struct bound *b = check_bound(L);
	lua_State *before = enter(L);

	if (b->channel)
		channel_read(b->channel);
	active = before;
	return 0;
}

/* flush_blocking(ms) -> true | nil, err: wait, with the loop standing still, until all is sent */
static int l_flush_blocking(lua_State *L)
{
	struct bound *b = check_bound(L);
	int ms = luaL_checkint(L, 2), err;
	lua_State *before;

	if (!b->channel)
		return bind_fail_code(L, "closed", "the channel is closed");
	before = enter(L);
	err = channel_flush(b->channel, ms);
	active = before;
	if (err == -EPIPE)
		return fail_send(L, err);
	if (err)
		return bind_fail_code(L, "timeout", "the other side does not read");
	lua_pushboolean(L, true);
	return 1;
}

static int pause_reading(lua_State *L, bool pause)
{
	struct bound *b = check_bound(L);

	if (b->channel)
		channel_pause(b->channel, pause);
	return 0;
}

static int l_pause(lua_State *L)
{
	return pause_reading(L, true);
}

static int l_resume(lua_State *L)
{
	return pause_reading(L, false);
}

/* hold(on): keep frames of bulk types (128 and up) back while control frames go on */
static int l_hold(lua_State *L)
{
	struct bound *b = check_bound(L);

	luaL_checktype(L, 2, LUA_TBOOLEAN);
	if (b->channel)
		channel_hold(b->channel, lua_toboolean(L, 2));
	return 0;
}

static int keep_loop(lua_State *L, bool ref)
{
	struct bound *b = check_bound(L);

	if (b->channel)
		channel_ref(b->channel, ref);
	return 0;
}

static int l_ref(lua_State *L)
{
	return keep_loop(L, true);
}

static int l_unref(lua_State *L)
{
	return keep_loop(L, false);
}

/* close(): now, without a callback; what still waits is lost */
static int l_close(lua_State *L)
{
	struct bound *b = check_bound(L);
	struct channel *channel = b->channel;
	lua_State *before;

	if (!channel)
		return 0;
	before = enter(L);
	release_refs(b);
	channel_close(channel);
	active = before;
	return 0;
}

/* Open channels are anchored, so this one is closed, the parent's, or the whole state ends. */
static int l_gc(lua_State *L)
{
	struct bound *b = luaL_checkudata(L, 1, CLASS);

	lua_State *before = enter(L);

	if (b->channel && b->generation == fork_generation())
		channel_close(b->channel);
	b->channel = NULL;
	active = before;
	return 0;
}

/* pair() -> fd, fd: two connected ends, each to be given to `new` or kept for a child */
static int l_pair(lua_State *L)
{
	int pair[2];
	int err = channel_pair(pair);

	if (err)
		return bind_fail(L, err, "socketpair");
	lua_pushinteger(L, pair[0]);
	lua_pushinteger(L, pair[1]);
	return 2;
}

int bind_open_channel(lua_State *L)
{
	static const luaL_Reg methods[] = {
		{ "close", l_close },     { "flush_blocking", l_flush_blocking },
		{ "hold", l_hold },       { "pause", l_pause },
		{ "pending", l_pending }, { "read_now", l_read_now },
		{ "ref", l_ref },         { "resume", l_resume },
		{ "send", l_send },       { "unref", l_unref },
		{ NULL, NULL },
	};
	static const luaL_Reg functions[] = { { "new", l_new },
					      { "pair", l_pair },
					      { NULL, NULL } };

	bind_class(L, "channel", methods, l_gc);
	lua_newtable(L);
	luaL_register(L, NULL, functions);
	return 1;
}
