/*
 * posix.c - brood.core.posix: thin names over system calls. Wrong types raise; failures are nil,
 * err, errno.
 *
 * fork is not here: it is the runtime's. execve and waitpid are sys/proc.c's.
 */
#include "bind/posix.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sys/proc.h"
#include "sys/signame.h"
#include "sys/title.h"

int posix_fail(lua_State *L, int err, const char *what)
{
	bind_fail(L, err, "%s", what);
	lua_pushinteger(L, -err);
	return 3;
}

int posix_result(lua_State *L, int err, const char *what)
{
	if (err)
		return posix_fail(L, err, what);
	lua_pushboolean(L, 1);
	return 1;
}

int posix_rc(lua_State *L, int rc, const char *what)
{
	return posix_result(L, rc < 0 ? -errno : 0, what);
}

static void check_text(lua_State *L, int index, const char *what)
{
	if (!lua_isstring(L, index) || strlen(lua_tostring(L, index)) != lua_objlen(L, index))
		luaL_error(L, "%s must be strings without zero bytes", what);
}

/* Element i of the table at index goes into out[], as a string that the table `anchor` keeps alive.
 */
static char *anchored(lua_State *L, int anchor)
{
	char *text = (char *)lua_tostring(L, -1);

	lua_rawseti(L, anchor, (int)lua_objlen(L, anchor) + 1);
	return text;
}

/* argv as in C, from index 1: the name first. Where index 0 is there it is the name, as in
 * luaposix. */
static char **check_argv(lua_State *L, int index, int anchor)
{
	int n = (int)lua_objlen(L, index), first;
	char **out = lua_newuserdata(L, ((size_t)n + 2) * sizeof(*out));

	lua_rawgeti(L, index, 0);
	first = lua_isnil(L, -1) ? 1 : 0;
	lua_pop(L, 1);
	luaL_argcheck(L, n >= first, index, "at least the program's name is needed");
	for (int i = first; i <= n; i++) {
		lua_rawgeti(L, index, i);
		check_text(L, -1, "arguments");
		out[i - first] = anchored(L, anchor);
	}
	out[n - first + 1] = NULL;
	return out;
}

/* On the top: a value; below it: its key. Pushes "KEY=VALUE"; a list entry is that already. */
static void push_assignment(lua_State *L)
{
	check_text(L, -1, "environment values");
	if (lua_type(L, -2) == LUA_TNUMBER) {
		lua_pushvalue(L, -1);
		return;
	}
	check_text(L, -2, "environment names");
	lua_pushfstring(L, "%s=%s", lua_tostring(L, -2), lua_tostring(L, -1));
}

/* { NAME = value } or { "NAME=value" }; a value of false is left out. nil: our own. */
static char **check_env(lua_State *L, int index, int anchor)
{
	size_t n = 0, i = 0;
	char **out;

	if (lua_isnoneornil(L, index))
		return environ;
	luaL_checktype(L, index, LUA_TTABLE);
	for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1))
		n++;
	out = lua_newuserdata(L, (n + 1) * sizeof(*out));
	for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
		if (lua_isboolean(L, -1) && !lua_toboolean(L, -1))
			continue;
		push_assignment(L);
		out[i++] = anchored(L, anchor);
	}
	out[i] = NULL;
	return out;
}

/* execve(path, argv [, env]): returns only when it fails. */
static int l_execve(lua_State *L)
{
	const char *path = luaL_checkstring(L, 1);
	char **argv, **env;

	luaL_checktype(L, 2, LUA_TTABLE);
	lua_settop(L, 3);
	lua_newtable(L);
	argv = check_argv(L, 2, 4);
	env = check_env(L, 3, 4);
	lua_pushfstring(L, "exec %s", path);
	return posix_fail(L, proc_exec(path, argv, env), lua_tostring(L, -1));
}

static bool table_has(lua_State *L, int index, const char *name)
{
	bool value;

	lua_getfield(L, index, name);
	value = lua_toboolean(L, -1);
	lua_pop(L, 1);
	return value;
}

/* A number as in C, "nohang" or "untraced", or a table with these as fields. */
static int check_wait_options(lua_State *L, int index)
{
	const char *word;

	if (lua_isnoneornil(L, index))
		return 0;
	if (lua_istable(L, index))
		return (table_has(L, index, "nohang") ? WNOHANG : 0) |
		       (table_has(L, index, "untraced") ? WUNTRACED : 0);
	if (lua_type(L, index) == LUA_TNUMBER)
		return luaL_checkint(L, index);
	word = luaL_checkstring(L, index);
	if (strcmp(word, "nohang") == 0)
		return WNOHANG;
	if (strcmp(word, "untraced") == 0)
		return WUNTRACED;
	return luaL_argerror(L, index, "expected \"nohang\", \"untraced\" or a number");
}

/* waitpid([pid = -1 [, options]]) -> pid, "exited" | "killed" | "stopped" | "continued", status; 0,
 * "running" with nohang */
static int l_waitpid(lua_State *L)
{
	static const char *const words[] = { "running", "exited", "killed", "stopped",
					     "continued" };
	pid_t pid = luaL_optint(L, 1, -1);
	enum proc_state state;
	int status;

	pid = proc_waitpid(pid, check_wait_options(L, 2), &state, &status);
	if (pid < 0)
		return posix_fail(L, pid, "waitpid");
	lua_pushinteger(L, pid);
	lua_pushstring(L, words[state]);
	if (state == PROC_RUNNING)
		return 2;
	lua_pushinteger(L, status);
	return 3;
}

static int check_signal(lua_State *L, int index)
{
	int signum;

	if (lua_type(L, index) == LUA_TNUMBER)
		return luaL_checkint(L, index);
	signum = signal_by_name(luaL_checkstring(L, index));
	luaL_argcheck(L, signum >= 0, index, "no such signal");
	return signum;
}

static int l_kill(lua_State *L)
{
	pid_t pid = luaL_checkint(L, 1);

	return posix_rc(L, kill(pid, check_signal(L, 2)), "kill");
}

static int l_setsid(lua_State *L)
{
	pid_t session = setsid();

	if (session < 0)
		return posix_fail(L, -errno, "setsid");
	lua_pushinteger(L, session);
	return 1;
}

static int l_setproctitle(lua_State *L)
{
	title_set(luaL_checkstring(L, 1));
	lua_pushboolean(L, 1);
	return 1;
}

/* umask([mode]) -> the former one, as octal digits. In Lua a mode is a string: 22 would not be 022.
 */
static int l_umask(lua_State *L)
{
	char text[8];
	mode_t old;

	if (lua_isnoneornil(L, 1)) {
		old = umask(0);
		umask(old);
	} else if (lua_type(L, 1) == LUA_TNUMBER) {
		old = umask((mode_t)luaL_checkint(L, 1) & 0777);
	} else {
		const char *mode = luaL_checkstring(L, 1);

		luaL_argcheck(L, *mode && !mode[strspn(mode, "01234567")] && strlen(mode) <= 4, 1,
			      "a mode is a string of octal digits, as in \"022\"");
		old = umask((mode_t)strtol(mode, NULL, 8) & 0777);
	}
	snprintf(text, sizeof(text), "%03o", (unsigned)old);
	lua_pushstring(L, text);
	return 1;
}

static int l_chdir(lua_State *L)
{
	const char *path = luaL_checkstring(L, 1);

	lua_pushfstring(L, "chdir %s", path);
	return posix_rc(L, chdir(path), lua_tostring(L, -1));
}

/* environ() -> { NAME = value } */
static int l_environ(lua_State *L)
{
	lua_newtable(L);
	for (char **at = environ; *at; at++) {
		const char *equals = strchr(*at, '=');

		if (!equals)
			continue;
		lua_pushlstring(L, *at, (size_t)(equals - *at));
		lua_pushstring(L, equals + 1);
		lua_rawset(L, -3);
	}
	return 1;
}

static const luaL_Reg functions[] = {
	{ "chdir", l_chdir }, { "environ", l_environ },           { "execve", l_execve },
	{ "kill", l_kill },   { "setproctitle", l_setproctitle }, { "setsid", l_setsid },
	{ "umask", l_umask }, { "waitpid", l_waitpid },           { NULL, NULL },
};

int bind_open_posix(lua_State *L)
{
	lua_newtable(L);
	luaL_register(L, NULL, functions);
	luaL_register(L, NULL, posix_ids_functions);
	luaL_register(L, NULL, posix_io_functions);
	lua_pushinteger(L, WNOHANG);
	lua_setfield(L, -2, "WNOHANG");
	lua_pushinteger(L, WUNTRACED);
	lua_setfield(L, -2, "WUNTRACED");
	return 1;
}
