/*
 * fd.c - brood.core.fd: pipes between this process and a child, read on our
 * loop. What the user opens with brood.posix is the user's, and not touched here.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "bind/bind.h"
#include "sys/fd.h"
#include "sys/reserve.h"

/* pipe() -> r, w: ours, owned; neither end blocks on our side until it is handed to a child. */
static int l_pipe(lua_State *L)
{
	int fds[2];
	int err = fd_pipe(fds);

	if (err)
		return bind_fail(L, err, "pipe");
	lua_pushinteger(L, fds[0]);
	lua_pushinteger(L, fds[1]);
	return 2;
}

static int l_nonblock(lua_State *L)
{
	int fd = luaL_checkint(L, 1);
	int err = fd_nonblock(fd, lua_toboolean(L, 2));

	if (err)
		return bind_fail(L, err, "descriptor %d", fd);
	lua_pushboolean(L, 1);
	return 1;
}

/* read(fd, n) -> data, "" at the end of file, or nil, err ("EAGAIN": nothing there yet). */
static int l_read(lua_State *L)
{
	int fd = luaL_checkint(L, 1);
	luaL_Buffer buffer;
	ssize_t n;

	luaL_buffinit(L, &buffer);
	do
		n = read(fd, luaL_prepbuffer(&buffer), LUAL_BUFFERSIZE);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return bind_fail(L, -errno, "read");
	luaL_addsize(&buffer, (size_t)n);
	luaL_pushresult(&buffer);
	return 1;
}

static int l_close(lua_State *L)
{
	int fd = luaL_checkint(L, 1);

	fd_close(&fd);
	return 0;
}

/* dup_above(fd, least) -> a close-on-exec duplicate that is not below `least`. */
static int l_dup_above(lua_State *L)
{
	int fd = fcntl(luaL_checkint(L, 1), F_DUPFD_CLOEXEC, luaL_checkint(L, 2));

	if (fd < 0)
		return bind_fail(L, -errno, "duplicate descriptor %d", luaL_checkint(L, 1));
	lua_pushinteger(L, fd);
	return 1;
}

/* replace(fd, target): target becomes what fd is; see fd_replace. */
static int l_replace(lua_State *L)
{
	int target = luaL_checkint(L, 2);
	int err = fd_replace(luaL_checkint(L, 1), target);

	if (err)
		return bind_fail(L, err, "descriptor %d", target);
	lua_pushboolean(L, 1);
	return 1;
}

/* unread(fd) -> how many bytes of a pipe nobody has read yet, asked of either end; or nil, err. */
static int l_unread(lua_State *L)
{
	int n = 0;

	if (ioctl(luaL_checkint(L, 1), FIONREAD, &n))
		return bind_fail(L, -errno, "descriptor %d", luaL_checkint(L, 1));
	lua_pushinteger(L, n);
	return 1;
}

/* own(fd): a forked Lua child closes it. release(fd): it belongs to somebody else from now on. */
static int l_own(lua_State *L)
{
	fd_own(luaL_checkint(L, 1));
	return 0;
}

static int l_release(lua_State *L)
{
	fd_disown(luaL_checkint(L, 1));
	return 0;
}

/* reserve(name) -> fd that keeps the name, owned; or nil, err ("EADDRINUSE": somebody has it). */
static int l_reserve(lua_State *L)
{
	const char *name = luaL_checkstring(L, 1);
	int fd;
	int err = name_reserve(name, &fd);

	if (err)
		return bind_fail(L, err, "%s", name);
	lua_pushinteger(L, fd);
	return 1;
}

static const luaL_Reg functions[] = {
	{ "close", l_close },
	{ "dup_above", l_dup_above },
	{ "nonblock", l_nonblock },
	{ "own", l_own },
	{ "pipe", l_pipe },
	{ "read", l_read },
	{ "release", l_release },
	{ "replace", l_replace },
	{ "reserve", l_reserve },
	{ "unread", l_unread },
	{ NULL, NULL },
};

int bind_open_fd(lua_State *L)
{
	lua_newtable(L);
	luaL_register(L, NULL, functions);
	return 1;
}
