/*
 * core.c - the table brood.core: fork, exit and what the runtime tells Lua, with
 * every other binding as a field. Fields are opened when first used, so that a
 * short script pays only for what it touches.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bind/bind.h"
#include "bind/embed.h"
#include "bind/heap.h"
#include "bind/http.h"
#include "bind/net.h"
#include "brood.h"
#include "loop/access_log.h"
#include "loop/loop.h"
#include "runtime.h"
#include "sys/cpus.h"
#include "sys/fd.h"
#include "sys/log.h"

#define KEEP_MAX 1024

static const luaL_Reg openers[] = {
	{ "channel", bind_open_channel },
	{ "fd", bind_open_fd },
	{ "file_events", bind_open_file_events },
	{ "http", bind_open_http },
	{ "http_answer", bind_open_http_answer },
	{ "jobs", bind_open_jobs },
	{ "listener", bind_open_listener },
	{ "log", bind_open_log },
	{ "net", bind_open_net },
	{ "notify", bind_open_notify },
	{ "pidfile", bind_open_pidfile },
	{ "posix", bind_open_posix },
	{ "privileges", bind_open_privileges },
	{ "process", bind_open_process },
	{ "relay", bind_open_relay },
	{ "scoreboard", bind_open_scoreboard },
	{ "tally", bind_open_tally },
	{ "value", bind_open_value },
	{ NULL, NULL },
};

static size_t check_keep(lua_State *L, int index, int *keep)
{
	size_t n;

	if (lua_isnoneornil(L, index))
		return 0;
	luaL_checktype(L, index, LUA_TTABLE);
	n = lua_objlen(L, index);
	luaL_argcheck(L, n <= KEEP_MAX, index, "too many descriptors to keep");
	for (size_t i = 0; i < n; i++) {
		lua_rawgeti(L, index, (int)i + 1);
		keep[i] = luaL_checkint(L, -1);
		lua_pop(L, 1);
	}
	return n;
}

/* In the child none of the bindings' functions that Lua has called before goes on. */
static pid_t fork_runtime(const int *keep, size_t n, bool aside)
{
	pid_t pid = runtime_fork(runtime_current(), keep, n, aside);

	if (pid == 0) {
		http_caller = net_caller = NULL;
		http_handed = (struct http_handed){ NULL, NULL };
		bind_channel_after_fork();
	}
	return pid;
}

/*
 * fork(keep[, prepare]) -> pid | 0; returns in both processes. prepare() runs in the child
 * while signals still wait.
 */
static int l_fork(lua_State *L)
{
	int keep[KEEP_MAX];
	size_t n = check_keep(L, 1, keep);
	bool prepare = !lua_isnoneornil(L, 2);
	pid_t pid;

	if (prepare)
		luaL_checktype(L, 2, LUA_TFUNCTION);
	pid = fork_runtime(keep, n, false);
	if (pid < 0)
		return bind_fail(L, (int)pid, "fork");
	if (pid == 0) {
		if (prepare) {
			lua_pushvalue(L, 2);
			/* Half a child would go on as a copy of its parent. */
			if (bind_call(L, 0, 0, "fork"))
				runtime_exit(runtime_current(), 1);
		}
		runtime_unblock_signals();
	}
	lua_pushinteger(L, pid);
	return 1;
}

/*
 * fork_main(keep, main [, aside]) -> pid. The child calls main() with signals still
 * waiting, then runs its own loop and exits: it never returns to the caller.
 * aside: it is our parent's child, see proc_fork_aside.
 */
static int l_fork_main(lua_State *L)
{
	struct runtime *rt = runtime_current();
	int keep[KEEP_MAX];
	size_t n = check_keep(L, 1, keep);
	lua_State *main;
	pid_t pid;

	luaL_checktype(L, 2, LUA_TFUNCTION);
	pid = fork_runtime(keep, n, lua_toboolean(L, 3));
	if (pid < 0)
		return bind_fail(L, (int)pid, "fork");
	if (pid > 0) {
		lua_pushinteger(L, pid);
		return 1;
	}
	main = runtime_state(rt);
	lua_pushvalue(L, 2);
	lua_xmove(L, main, 1);
	if (bind_call(main, 0, 0, "worker"))
		runtime_exit(rt, 1);
	runtime_unblock_signals();
	runtime_live(rt);
}

/* unblock_signals(): in a forked child whose handlers are in place. What it starts hears them, too.
 */
static int l_unblock_signals(lua_State *L)
{
	(void)L;
	runtime_unblock_signals();
	return 0;
}

/*
 * yieldable() -> whether the running coroutine could suspend here: not in the main state,
 * not across a C call.
 */
static int l_yieldable(lua_State *L)
{
	lua_pushboolean(L, lua_isyieldable(L));
	return 1;
}

static int l_exit(lua_State *L)
{
	runtime_exit(runtime_current(), luaL_optint(L, 1, 0));
}

/* live(): in the child of a fork, where what follows is its parent's. It does not return. */
static int l_live(lua_State *L)
{
	(void)L;
	runtime_live(runtime_current());
}

/* uncaught(text): log an error that nobody caught; the end of a script is then 1. */
static int l_uncaught(lua_State *L)
{
	log_error("%s", luaL_checkstring(L, 1));
	runtime_mark_failed(runtime_current());
	return 0;
}

/* failed([true]) -> whether an error was not caught; true says that there was one. */
static int l_failed(lua_State *L)
{
	if (lua_toboolean(L, 1))
		runtime_mark_failed(runtime_current());
	lua_pushboolean(L, runtime_failed(runtime_current()));
	return 1;
}

/*
 * on_dry(fn): what to do when nothing is left to wait for; fn returns the exit status, or
 * nil to go on.
 */
static int l_on_dry(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TFUNCTION);
	lua_settop(L, 1);
	lua_setfield(L, LUA_REGISTRYINDEX, "brood.dry");
	return 0;
}

/*
 * release_memory(): what modules were loaded from, and where nothing lives in the heap. From now on
 * the pages of the program and its libraries are given back too, before each long wait.
 */
static int l_release_memory(lua_State *L)
{
	embed_release();
	heap_release(L);
	loop_settled();
	return 0;
}

static int l_generation(lua_State *L)
{
	lua_pushinteger(L, fork_generation());
	return 1;
}

static int l_cpus(lua_State *L)
{
	lua_pushinteger(L, cpus_available());
	return 1;
}

/*
 * raise_signal(n): end as that signal's default action does. Returns only where it does not
 * end us.
 */
static int l_raise_signal(lua_State *L)
{
	int signum = luaL_checkint(L, 1);

	access_log_finish();
	fflush(NULL);
	signal(signum, SIG_DFL);
	raise(signum);
	return 0;
}

struct count {
	int signum;
	int found;
};

static void count_watcher(uv_handle_t *handle, void *arg)
{
	struct count *count = arg;
	uv_signal_t *watch = (uv_signal_t *)handle;

	if (handle->type != UV_SIGNAL)
		return;
	if (uv_is_active(handle) && watch->signum == count->signum)
		count->found++;
	/*
	 * One that was closed within this turn, as it is by a handler that wants its signal once:
	 * whether it was called before whoever asks is up to the addresses of the two. Its number
	 * is forgotten by now.
	 */
	else if (uv_is_closing(handle) && watch->caught_signals > 0)
		count->found++;
}

/*
 * signal_watchers(n) -> how many handles of this loop watch the signal, or did when this turn
 * began, the user's own luv handles among them.
 */
static int l_signal_watchers(lua_State *L)
{
	struct count count = { .signum = luaL_checkint(L, 1) };

	uv_walk(bind_loop(L), count_watcher, &count);
	lua_pushinteger(L, count.found);
	return 1;
}

/*
 * realpath-free absolute path: against $PWD where that names the working directory, so that
 * symlinks stay.
 */
static int l_cwd(lua_State *L)
{
	char *path = get_current_dir_name();

	if (!path)
		return bind_fail(L, -errno, "working directory");
	lua_pushstring(L, path);
	free(path);
	return 1;
}

static int l_index(lua_State *L)
{
	const char *name = luaL_checkstring(L, 2);

	for (const luaL_Reg *o = openers; o->name; o++) {
		if (strcmp(o->name, name) == 0) {
			o->func(L);
			lua_pushvalue(L, -1);
			lua_setfield(L, 1, name);
			return 1;
		}
	}
	return 0;
}

static int l_error_tostring(lua_State *L)
{
	lua_getfield(L, 1, "message");
	return 1;
}

static int l_error_concat(lua_State *L)
{
	for (int i = 1; i <= 2; i++) {
		if (lua_istable(L, i))
			lua_getfield(L, i, "message");
		else
			lua_pushvalue(L, i);
	}
	lua_concat(L, 2);
	return 1;
}

static const luaL_Reg functions[] = {
	{ "at_turn_end", bind_at_turn_end },
	{ "expect_soon", bind_expect_soon },
	{ "cpus", l_cpus },
	{ "cwd", l_cwd },
	{ "exit", l_exit },
	{ "failed", l_failed },
	{ "fork", l_fork },
	{ "fork_main", l_fork_main },
	{ "generation", l_generation },
	{ "live", l_live },
	{ "release_memory", l_release_memory },
	{ "on_dry", l_on_dry },
	{ "raise_signal", l_raise_signal },
	{ "signal_watchers", l_signal_watchers },
	{ "uncaught", l_uncaught },
	{ "unblock_signals", l_unblock_signals },
	{ "yieldable", l_yieldable },
	{ NULL, NULL },
};

int bind_open_core(lua_State *L)
{
	luaL_newmetatable(L, "brood.error");
	lua_pushcfunction(L, l_error_tostring);
	lua_setfield(L, -2, "__tostring");
	lua_pushcfunction(L, l_error_concat);
	lua_setfield(L, -2, "__concat");
	lua_newtable(L);
	luaL_register(L, NULL, functions);
	lua_pushliteral(L, BROOD_VERSION);
	lua_setfield(L, -2, "version");
	lua_pushvalue(L, -2);
	lua_setfield(L, -2, "error_meta");
	lua_createtable(L, 0, 1);
	lua_pushcfunction(L, l_index);
	lua_setfield(L, -2, "__index");
	lua_setmetatable(L, -2);
	return 1;
}
