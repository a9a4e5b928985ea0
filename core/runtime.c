/*
 * runtime.c - one Lua state on one loop: creation, the driver, and the fork of both.
 *
 * This is the room above all others: it alone knows how Lua, luv and the loop
 * fit together, and what must happen, in which order, when a process that has
 * all three is forked. What is started, and why, is Lua's business.
 */
#include "runtime.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <lauxlib.h>
#include <lualib.h>
#include <lua-cjson.h>
#include <luv/luv.h>

#include "bind/bind.h"
#include "bind/embed.h"
#include "brood.h"
#include "loop/access_log.h"
#include "loop/http_server.h"
#include "loop/loop.h"
#include "sys/fd.h"
#include "sys/limits.h"
#include "sys/log.h"
#include "sys/proc.h"
#include "sys/title.h"

struct runtime {
	lua_State *L;
	uv_loop_t *loop;
	bool failed;
	pid_t creator;
	char *stack; /* where it begins, about */
};

/* One per process: luv's callback hook and the fork have no other way to it. */
static struct runtime *current;

struct runtime *runtime_current(void)
{
	return current;
}

lua_State *runtime_state(struct runtime *rt)
{
	return rt->L;
}

uv_loop_t *runtime_loop(struct runtime *rt)
{
	return rt->loop;
}

void runtime_mark_failed(struct runtime *rt)
{
	rt->failed = true;
}

bool runtime_failed(struct runtime *rt)
{
	return rt->failed;
}

/* luv exits the process on an uncaught error unless it calls through this. */
static int luv_callback(lua_State *L, int nargs, int nresults, int flags)
{
	int base = lua_gettop(L) - nargs - 1;

	(void)flags;
	if (bind_call(L, nargs, nresults, "luv callback"))
		return -LUA_ERRRUN;
	return lua_gettop(L) - base;
}

struct args {
	int count;
	char **list;
};

/* Debian's header leaves it out. */
int luaopen_cjson_safe(lua_State *L);

/* C modules that the binary carries, so that none of them has to be installed beside it. */
static const luaL_Reg preloaded[] = {
	{ "brood.core", bind_open_core },
	{ "cjson", luaopen_cjson },
	{ "cjson.safe", luaopen_cjson_safe },
	{ "luv", luaopen_luv },
	{ NULL, NULL },
};

static int open_state(lua_State *L)
{
	struct args *args = lua_touserdata(L, 1);

	luaL_openlibs(L);
	luv_set_loop(L, current->loop);
	luv_set_callback(L, luv_callback);
	embed_install(L);
	lua_getglobal(L, "package");
	lua_getfield(L, -1, "preload");
	luaL_register(L, NULL, preloaded);
	lua_pop(L, 2);
	lua_createtable(L, args->count, 0);
	for (int i = 0; i < args->count; i++) {
		lua_pushstring(L, args->list[i]);
		lua_rawseti(L, -2, i);
	}
	lua_setfield(L, LUA_REGISTRYINDEX, "brood.argv");
	return 0;
}

/* libuv aborts where the first pipes it wants cannot be made: whether they can is seen before. */
static int find_descriptors(void)
{
	int pipes[3][2];
	int n = 0, err = 0;

	while (n < 3 && !err) {
		err = fd_pipe(pipes[n]);
		if (!err)
			n++;
	}
	while (n-- > 0) {
		fd_close(&pipes[n][0]);
		fd_close(&pipes[n][1]);
	}
	return err;
}

/* Not SIG_IGN: that would pass on to what os.execute and io.popen start, a handler does not. */
static void on_failed_write(int signum)
{
	(void)signum;
}

/* A write to where nobody reads, or beyond a limit on file sizes, fails; it does not kill. */
static void survive_failed_writes(void)
{
	signal(SIGPIPE, on_failed_write);
	signal(SIGXFSZ, on_failed_write);
}

int runtime_create(struct runtime **out, int argc, char **argv)
{
	struct runtime *rt = calloc(1, sizeof(*rt));
	const char *what = "memory";
	int err = -ENOMEM;

	if (!rt)
		goto fail;
	rt->creator = getpid();
	rt->stack = __builtin_frame_address(0);
	what = "standard input and output";
	err = fd_stdio_ensure();
	if (err)
		goto fail;
	survive_failed_writes();
	/* What is printed is there at once, wherever that is: nothing is lost with a killed
	 * process. */
	setvbuf(stdout, NULL, _IOLBF, 0);
	limits_raise_nofile();
	argv = title_setup(argc, argv);
	what = "event loop";
	err = find_descriptors();
	if (!err)
		err = loop_create(&rt->loop);
	if (err)
		goto fail;
	what = "Lua state";
	err = -ENOMEM;
	rt->L = luaL_newstate();
	if (!rt->L)
		goto fail;
	current = rt;
	if (lua_cpcall(rt->L, open_state, &(struct args){ argc, argv })) {
		what = lua_tostring(rt->L, -1);
		goto fail;
	}
	*out = rt;
	return 0;
fail:
	current = NULL;
	log_error("cannot start: %s: %s", what ? what : "Lua state", strerror(-err));
	free(rt);
	return err;
}

/*
 * The loop ran dry. Lua may have more to start, or knows the status to end
 * with: the hook returns nil to go on, or the status.
 */
static bool run_dry(struct runtime *rt, int *status)
{
	lua_State *L = rt->L;
	bool over = true;

	lua_getfield(L, LUA_REGISTRYINDEX, "brood.dry");
	if (!lua_isfunction(L, -1)) {
		lua_pop(L, 1);
		*status = rt->failed;
		return true;
	}
	*status = 1;
	if (bind_call(L, 0, 1, "end of loop"))
		return true;
	if (lua_isnumber(L, -1))
		*status = (int)lua_tointeger(L, -1);
	else
		over = false;
	lua_pop(L, 1);
	return over;
}

static int drive(struct runtime *rt)
{
	int status = 0;

	do
		uv_run(rt->loop, UV_RUN_DEFAULT);
	while (!run_dry(rt, &status));
	return status;
}

int runtime_run(struct runtime *rt, const char *entry)
{
	lua_State *L = rt->L;

	lua_getglobal(L, "require");
	lua_pushliteral(L, "brood.boot");
	if (bind_call(L, 1, 1, "brood"))
		return 1;
	lua_getfield(L, -1, "start");
	lua_remove(L, -2);
	lua_pushstring(L, entry);
	lua_getfield(L, LUA_REGISTRYINDEX, "brood.argv");
	if (bind_call(L, 2, 0, "brood"))
		return 1;
	return drive(rt);
}

static void block_signals(sigset_t *old)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, old);
}

/* libuv took its handlers with the old loop's handles; what C modules installed goes here. */
static void default_signals(void)
{
	for (int signum = 1; signum < NSIG; signum++)
		signal(signum, SIG_DFL);
	survive_failed_writes();
}

void runtime_unblock_signals(void)
{
	sigset_t none;

	sigemptyset(&none);
	pthread_sigmask(SIG_SETMASK, &none, NULL);
}

/*
 * A main state of the child's own: its parent's stands amid a call for good. That one is kept,
 * for it is still on the stack.
 */
static int renew_state(lua_State *L)
{
	current->L = lua_newthread(L);
	luaL_ref(L, LUA_REGISTRYINDEX);
	luv_set_loop(current->L, current->loop);
	return 0;
}

/* Children of children live above the frames of all their forebears. */
static bool has_stack(const struct runtime *rt)
{
	size_t used = (size_t)(rt->stack - (char *)__builtin_frame_address(0));
	struct rlimit limit;

	if (getrlimit(RLIMIT_STACK, &limit) || limit.rlim_cur == RLIM_INFINITY)
		limit.rlim_cur = 8 << 20;
	return used < limit.rlim_cur / 4 * 3;
}

pid_t runtime_fork(struct runtime *rt, const int *keep, size_t n, bool aside)
{
	uv_loop_t *fresh;
	sigset_t old;
	pid_t pid;
	int err;

	if (!has_stack(rt))
		return -ENOMEM;
	/* What stdio holds back would otherwise be written by both. */
	fflush(NULL);
	block_signals(&old);
	pid = aside ? proc_fork_aside() : proc_fork();
	if (pid != 0) {
		pthread_sigmask(SIG_SETMASK, &old, NULL);
		return pid;
	}
	fork_generation_advance();
	err = loop_after_fork(rt->loop, &fresh);
	if (err) {
		log_error("fork: no event loop for the child: %s", strerror(-err));
		_exit(1);
	}
	fd_close_owned(keep, n);
	default_signals();
	http_after_fork();
	rt->loop = fresh;
	rt->failed = false;
	if (lua_cpcall(rt->L, renew_state, NULL)) {
		log_error("fork: no Lua state for the child: %s", lua_tostring(rt->L, -1));
		_exit(1);
	}
	return 0;
}

void runtime_exit(struct runtime *rt, int status)
{
	access_log_finish();
	fflush(NULL);
	if (getpid() != rt->creator) {
		/* Nobody is left who would end what it has started in its own group. */
		if (proc_is_orphan())
			proc_end_group();
		_exit(status);
	}
	exit(status);
}

void runtime_live(struct runtime *rt)
{
	runtime_exit(rt, drive(rt));
}
