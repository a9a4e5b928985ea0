/*
 * posix_io.c - the part of brood.core.posix that is about descriptors. They are the user's: not
 * owned, so that they survive a fork, and blocking. What the runtime owns is refused here, not
 * closed under its hands.
 */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bind/posix.h"
#include "sys/fd.h"

static int push_pair(lua_State *L, int err, const int pair[2], const char *what)
{
	if (err)
		return posix_fail(L, err, what);
	lua_pushinteger(L, pair[0]);
	lua_pushinteger(L, pair[1]);
	return 2;
}

static int l_pipe(lua_State *L)
{
	int pair[2];
	int err = fd_pipe(pair);

	return push_pair(L, err, pair, "pipe");
}

static int l_socketpair(lua_State *L)
{
	int pair[2];
	int err = fd_socketpair(SOCK_STREAM, pair);

	return push_pair(L, err, pair, "socketpair");
}

/* read(fd [, n = 4096]) -> data, "" at the end of file */
static int l_read(lua_State *L)
{
	int fd = luaL_checkint(L, 1);
	lua_Integer size = luaL_optinteger(L, 2, 4096);
	char small[16384], *buffer = small;
	ssize_t n;

	luaL_argcheck(L, size >= 0, 2, "a size is not negative");
	if ((size_t)size > sizeof(small))
		buffer = lua_newuserdata(L, (size_t)size);
	n = fd_read(fd, buffer, (size_t)size);
	if (n < 0)
		return posix_fail(L, (int)n, "read");
	lua_pushlstring(L, buffer, (size_t)n);
	return 1;
}

/* write(fd, data) -> how much of it */
static int l_write(lua_State *L)
{
	int fd = luaL_checkint(L, 1);
	size_t size;
	const char *data = luaL_checklstring(L, 2, &size);
	ssize_t n = fd_write(fd, data, size);

	if (n < 0)
		return posix_fail(L, (int)n, "write");
	lua_pushnumber(L, (lua_Number)n);
	return 1;
}

static bool ours(lua_State *L, int fd, const char *what)
{
	if (!fd_owned(fd))
		return false;
	bind_fail_code(L, "EBADF", "%s: descriptor %d belongs to the runtime", what, fd);
	lua_pushinteger(L, EBADF);
	return true;
}

static int l_dup2(lua_State *L)
{
	int from = luaL_checkint(L, 1), to = luaL_checkint(L, 2), got;

	if (ours(L, to, "dup2"))
		return 3;
	do
		got = dup2(from, to);
	while (got < 0 && (errno == EINTR || errno == EBUSY));
	if (got < 0)
		return posix_fail(L, -errno, "dup2");
	lua_pushinteger(L, got);
	return 1;
}

static int l_close(lua_State *L)
{
	int fd = luaL_checkint(L, 1);

	if (ours(L, fd, "close"))
		return 3;
	/* Closed even where it says EINTR. */
	return posix_result(L, close(fd) < 0 && errno != EINTR ? -errno : 0, "close");
}

const luaL_Reg posix_io_functions[] = {
	{ "close", l_close },
	{ "dup2", l_dup2 },
	{ "pipe", l_pipe },
	{ "read", l_read },
	{ "socketpair", l_socketpair },
	{ "write", l_write },
	{ NULL, NULL },
};
