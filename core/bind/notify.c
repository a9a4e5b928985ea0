/*
 * notify.c - brood.core.notify: sockets for the sd_notify messages of children, and sending our
 * own.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "bind/bind.h"
#include "sys/fd.h"
#include "sys/notify.h"

#define CLASS "brood.notify"

/* Messages read in one go, so that a chatty child does not starve the rest. */
#define AT_ONCE 16

/* Lives until the loop has closed its handle; `box` is NULL once Lua has closed it. */
struct receiver {
	uv_poll_t poll;
	lua_State *L;
	int fd;
	int fn, self;
	struct box *box;
};

struct box {
	struct receiver *receiver; /* NULL once closed */
	unsigned generation;
	char path[NOTIFY_PATH];
};

static void on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

static void receiver_close(struct receiver *r)
{
	r->box->receiver = NULL;
	r->box = NULL;
	bind_unref(r->L, &r->fn);
	bind_unref(r->L, &r->self);
	uv_close((uv_handle_t *)&r->poll, on_closed);
	fd_close(&r->fd);
}

static void deliver(struct receiver *r, const char *text, size_t size, pid_t pid, uid_t uid)
{
	lua_State *L = r->L;
	pid_t group = pid > 0 ? getpgid(pid) : -1;

	lua_rawgeti(L, LUA_REGISTRYINDEX, r->fn);
	lua_pushlstring(L, text, size);
	lua_pushinteger(L, pid);
	/* One that ended right after sending has none any more. */
	if (group > 0)
		lua_pushinteger(L, group);
	else
		lua_pushnil(L);
	lua_pushnumber(L, uid);
	bind_call(L, 4, 0, "notify message");
}

static void on_readable(uv_poll_t *handle, int status, int events)
{
	struct receiver *r = handle->data;
	char text[NOTIFY_TEXT];
	pid_t pid;
	uid_t uid;

	(void)status;
	(void)events;
	/* The callback may close it, or fork: in the child the descriptor is gone. */
	for (int i = 0; i < AT_ONCE && r->box && r->box->generation == fork_generation(); i++) {
		ssize_t n = notify_receive(r->fd, text, &pid, &uid);

		if (n < 0)
			return;
		deliver(r, text, (size_t)n, pid, uid);
	}
}

static int receiver_open(lua_State *L, struct box *box)
{
	struct receiver *r = malloc(sizeof(*r));
	int err = r ? notify_open(&r->fd, box->path) : -ENOMEM;

	if (err) {
		free(r);
		return err;
	}
	err = uv_poll_init(bind_loop(L), &r->poll, r->fd);
	if (err) {
		fd_close(&r->fd);
		free(r);
		return err;
	}
	r->poll.data = r;
	r->L = bind_main(L);
	r->fn = r->self = LUA_NOREF;
	r->box = box;
	/* A script does not live on to hear messages: it waits for the child, if for anything. */
	uv_unref((uv_handle_t *)&r->poll);
	box->receiver = r;
	return 0;
}

/* notify.open() -> n */
static int l_open(lua_State *L)
{
	struct box *box = lua_newuserdata(L, sizeof(*box));
	int err;

	*box = (struct box){ .generation = fork_generation() };
	luaL_getmetatable(L, CLASS);
	lua_setmetatable(L, -2);
	err = receiver_open(L, box);
	if (err)
		return bind_fail(L, err, "notify socket");
	return 1;
}

static struct receiver *check_live(lua_State *L)
{
	struct box *box = luaL_checkudata(L, 1, CLASS);

	if (box->receiver && box->generation == fork_generation())
		return box->receiver;
	bind_fail_code(L, "closed", "notify socket: closed");
	return NULL;
}

static int l_path(lua_State *L)
{
	lua_pushstring(L, ((struct box *)luaL_checkudata(L, 1, CLASS))->path);
	return 1;
}

/* n:watch(fn): fn(text, pid, pgid | nil, uid), as the kernel vouches for. */
static int l_watch(lua_State *L)
{
	struct receiver *r = check_live(L);
	int err;

	luaL_checktype(L, 2, LUA_TFUNCTION);
	if (!r)
		return 2;
	err = uv_poll_start(&r->poll, UV_READABLE, on_readable);
	if (err)
		return bind_fail(L, err, "watch notify socket");
	bind_unref(L, &r->fn);
	r->fn = bind_ref(L, 2);
	if (r->self == LUA_NOREF)
		r->self = bind_ref(L, 1);
	lua_pushboolean(L, 1);
	return 1;
}

static int l_close(lua_State *L)
{
	struct box *box = luaL_checkudata(L, 1, CLASS);

	if (box->receiver && box->generation == fork_generation())
		receiver_close(box->receiver);
	return 0;
}

/* notify.send(path, text): to our own supervisor, path as in NOTIFY_SOCKET. */
static int l_send(lua_State *L)
{
	const char *path = luaL_checkstring(L, 1);
	size_t size;
	const char *text = luaL_checklstring(L, 2, &size);
	int err = notify_send(path, text, size);

	if (err)
		return bind_fail(L, err, "notify %s", path);
	lua_pushboolean(L, 1);
	return 1;
}

static const luaL_Reg methods[] = {
	{ "close", l_close },
	{ "path", l_path },
	{ "watch", l_watch },
	{ NULL, NULL },
};

static const luaL_Reg functions[] = {
	{ "open", l_open },
	{ "send", l_send },
	{ NULL, NULL },
};

int bind_open_notify(lua_State *L)
{
	bind_class(L, "notify", methods, l_close);
	lua_newtable(L);
	luaL_register(L, NULL, functions);
	return 1;
}
