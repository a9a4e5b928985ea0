/*
 * process.c - brood.core.process: programs and forked children as objects that can be watched,
 * signalled and reaped.
 *
 * Reading what to start is in process_spec.c, what a process asks for itself in process_self.c.
 * When to start and stop is Lua's affair.
 */
#include <stdlib.h>
#include <sys/types.h>

#include "bind/bind.h"
#include "bind/process_self.h"
#include "bind/process_spec.h"
#include "sys/fd.h"
#include "sys/proc.h"

#define CLASS "brood.process"

/* The handle outlives its object until the loop has closed it. */
struct watch {
	uv_poll_t poll;
	lua_State *L;
	struct process *process;
	int fn, arg, self;
};

struct process {
	struct proc proc;
	unsigned generation;
	bool closed, unref;
	struct watch *watch;
};

static struct process *check_any(lua_State *L)
{
	return luaL_checkudata(L, 1, CLASS);
}

/* NULL, with nil and an error pushed, for one that is closed or was made before a fork. */
static struct process *check_live(lua_State *L)
{
	struct process *p = check_any(L);

	if (!p->closed && p->generation == fork_generation())
		return p;
	bind_fail_code(L, "closed", "process: closed");
	return NULL;
}

static struct process *process_push(lua_State *L)
{
	struct process *p = lua_newuserdata(L, sizeof(*p));

	*p = (struct process){ .proc = { .pidfd = -1 },
			       .generation = fork_generation(),
			       .closed = true };
	luaL_getmetatable(L, CLASS);
	lua_setmetatable(L, -2);
	return p;
}

static void on_watch_closed(uv_handle_t *handle)
{
	free(handle->data);
}

static void watch_end(struct watch *w)
{
	proc_await(&w->process->proc, false);
	w->process->watch = NULL;
	bind_unref(w->L, &w->fn);
	bind_unref(w->L, &w->arg);
	bind_unref(w->L, &w->self);
	uv_close((uv_handle_t *)&w->poll, on_watch_closed);
}

static void on_exit_seen(uv_poll_t *handle, int status, int events)
{
	struct watch *w = handle->data;
	lua_State *L = w->L;

	(void)events;
	if (status == 0 && !proc_over(&w->process->proc))
		return;
	lua_rawgeti(L, LUA_REGISTRYINDEX, w->fn);
	lua_rawgeti(L, LUA_REGISTRYINDEX, w->arg);
	watch_end(w);
	bind_call(L, 1, 0, "process exit");
}

static int watch_start(lua_State *L, struct process *p, struct watch **out)
{
	struct watch *w = malloc(sizeof(*w));
	int err;

	if (!w)
		return UV_ENOMEM;
	err = uv_poll_init(bind_loop(L), &w->poll, p->proc.pidfd);
	if (err) {
		free(w);
		return err;
	}
	w->poll.data = w;
	w->L = bind_main(L);
	w->process = p;
	w->fn = w->arg = w->self = LUA_NOREF;
	p->watch = *out = w;
	err = uv_poll_start(&w->poll, UV_READABLE, on_exit_seen);
	if (err)
		watch_end(w);
	else
		proc_await(&p->proc, true);
	return err;
}

/*
 * p:watch(fn [, arg]): fn(arg), once, when it has exited and before it is reaped, which is to
 * happen at once. A second watch replaces the first.
 */
static int l_watch(lua_State *L)
{
	struct process *p;
	struct watch *w;
	int err;

	lua_settop(L, 3);
	luaL_checktype(L, 2, LUA_TFUNCTION);
	p = check_live(L);
	if (!p)
		return 2;
	w = p->watch;
	if (!w) {
		err = watch_start(L, p, &w);
		if (err)
			return bind_fail(L, err, "watch process %d", (int)p->proc.pid);
		w->self = bind_ref(L, 1);
		if (p->unref)
			uv_unref((uv_handle_t *)&w->poll);
	}
	bind_unref(L, &w->fn);
	bind_unref(L, &w->arg);
	w->fn = bind_ref(L, 2);
	w->arg = bind_ref(L, 3);
	lua_pushboolean(L, 1);
	return 1;
}

/* process.spawn(spec) -> p; spec as in process_spec.c. */
static int l_spawn(lua_State *L)
{
	struct proc_spec spec;
	struct process *p;
	char what[PROC_WHAT];
	int err;

	process_spec_read(L, 1, &spec);
	p = process_push(L);
	err = proc_spawn(&p->proc, &spec, what);
	if (err)
		return bind_fail(L, err, "%s", what);
	p->closed = false;
	return 1;
}

/* process.adopt(pid [, own_group]) -> p, for a forked child; own_group: make it lead a process
 * group. */
static int l_adopt(lua_State *L)
{
	pid_t pid = luaL_checkint(L, 1);
	bool own_group = lua_toboolean(L, 2);
	struct process *p = process_push(L);
	int err = proc_adopt(&p->proc, pid, own_group);

	if (err)
		return bind_fail(L, err, "adopt process %d", (int)pid);
	p->closed = false;
	return 1;
}

static int l_pid(lua_State *L)
{
	lua_pushinteger(L, check_any(L)->proc.pid);
	return 1;
}

/* p:reap() -> code | nil, signum | nil; nil, nil when somebody else took its status; nil, nil, err:
 * not over. */
static int l_reap(lua_State *L)
{
	struct process *p = check_live(L);
	int code, signum, err;

	err = p ? proc_reap(&p->proc, &code, &signum) : 0;
	if (p && err)
		bind_fail(L, err, "reap process %d", (int)p->proc.pid);
	if (!p || err) {
		lua_pushnil(L);
		lua_insert(L, -2);
		return 3;
	}
	if (code >= 0)
		lua_pushinteger(L, code);
	else
		lua_pushnil(L);
	if (signum >= 0)
		lua_pushinteger(L, signum);
	else
		lua_pushnil(L);
	return 2;
}

static int push_done(lua_State *L, int err, const char *what, struct process *p)
{
	if (err)
		return bind_fail(L, err, "%s %d", what, (int)p->proc.pid);
	lua_pushboolean(L, 1);
	return 1;
}

static int l_signal(lua_State *L)
{
	struct process *p = check_live(L);
	int signum = luaL_checkint(L, 2);

	return p ? push_done(L, proc_signal(&p->proc, signum), "signal process", p) : 2;
}

static int l_signal_group(lua_State *L)
{
	struct process *p = check_live(L);
	int signum = luaL_checkint(L, 2);

	return p ? push_done(L, proc_signal_group(&p->proc, signum), "signal process group", p) : 2;
}

static int l_group_alive(lua_State *L)
{
	struct process *p = check_live(L);

	if (!p)
		return 2;
	lua_pushboolean(L, proc_group_alive(&p->proc));
	return 1;
}

static int set_ref(lua_State *L, bool unref)
{
	struct process *p = check_live(L);

	if (!p)
		return 2;
	p->unref = unref;
	if (p->watch && unref)
		uv_unref((uv_handle_t *)&p->watch->poll);
	else if (p->watch)
		uv_ref((uv_handle_t *)&p->watch->poll);
	lua_pushboolean(L, 1);
	return 1;
}

static int l_ref(lua_State *L)
{
	return set_ref(L, false);
}

static int l_unref(lua_State *L)
{
	return set_ref(L, true);
}

static int l_close(lua_State *L)
{
	struct process *p = check_any(L);

	/* After a fork the watch's memory is the old loop's, and the pidfd long closed. */
	if (p->closed || p->generation != fork_generation())
		return 0;
	p->closed = true;
	if (p->watch)
		watch_end(p->watch);
	proc_close(&p->proc);
	return 0;
}

static const luaL_Reg methods[] = {
	{ "close", l_close },
	{ "group_alive", l_group_alive },
	{ "pid", l_pid },
	{ "reap", l_reap },
	{ "ref", l_ref },
	{ "signal", l_signal },
	{ "signal_group", l_signal_group },
	{ "unref", l_unref },
	{ "watch", l_watch },
	{ NULL, NULL },
};

static const luaL_Reg functions[] = {
	{ "adopt", l_adopt },
	{ "spawn", l_spawn },
	{ NULL, NULL },
};

int bind_open_process(lua_State *L)
{
	bind_class(L, "process", methods, l_close);
	lua_newtable(L);
	luaL_register(L, NULL, functions);
	luaL_register(L, NULL, process_self_functions);
	return 1;
}
