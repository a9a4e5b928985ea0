/*
 * process_self.c - the part of brood.core.process that is about this process itself: its orphans,
 * its group, its master; and signals by name.
 */
#include "bind/process_self.h"

#include "sys/end_signal.h"
#include "sys/nice.h"
#include "sys/proc.h"
#include "sys/proc_wards.h"
#include "sys/signame.h"
#include "sys/stop_signal.h"

struct search {
	pid_t pid;
	bool found;
};

static void compare(uv_handle_t *handle, void *arg)
{
	struct search *s = arg;

	if (handle->type == UV_PROCESS && uv_is_active(handle) &&
	    ((uv_process_t *)handle)->pid == s->pid)
		s->found = true;
}

static bool from_uv_spawn(pid_t pid, void *loop)
{
	struct search s = { .pid = pid };

	uv_walk(loop, compare, &s);
	return s.found;
}

/*
 * process.reap_orphans([own]) -> how many, whether to look again soon, whether there are some that
 * only `own` would take
 */
static int l_reap_orphans(lua_State *L)
{
	struct proc_search s = { .foreign = from_uv_spawn, .arg = bind_loop(L) };

	s.own = lua_toboolean(L, 1);
	lua_pushinteger(L, proc_reap_orphans(&s));
	lua_pushboolean(L, s.hidden);
	lua_pushboolean(L, s.left);
	return 3;
}

static int push_result(lua_State *L, int err, const char *what)
{
	if (err)
		return bind_fail(L, err, "%s", what);
	lua_pushboolean(L, 1);
	return 1;
}

static void add_group(pid_t group, void *arg)
{
	lua_State *L = arg;

	lua_pushboolean(L, 1);
	lua_rawseti(L, -2, group);
}

/* process.end_wards(pid, all) -> { [group] = true }: a child of ours is dead; what it looked after
 * is killed. Without `all` not its Lua children, which end by themselves. */
static int l_end_wards(lua_State *L)
{
	pid_t pid = luaL_checkint(L, 1);

	bool all = lua_toboolean(L, 2);

	lua_newtable(L);
	wards_end(pid, all, add_group, L);
	return 1;
}

/* process.ward_left(group, left): a group that was killed like that. It is put into the table
 * `left` where one of ours is left in it, and so is what its dead have looked after. */
static int l_ward_left(lua_State *L)
{
	pid_t group = luaL_checkint(L, 1);

	luaL_checktype(L, 2, LUA_TTABLE);
	lua_settop(L, 2);
	if (wards_left(group, add_group, L))
		add_group(group, L);
	return 0;
}

/* process.insist_on_end(): TERM and INT end us although the loop does not turn; see end_signal.h.
 */
static int l_insist_on_end(lua_State *L)
{
	return push_result(L, end_signals_insist(), "handle TERM and INT");
}

/* process.end_heard(): the loop has picked up what came so far. */
static int l_end_heard(lua_State *L)
{
	(void)L;
	end_signals_heard();
	return 0;
}

/* process.pass_stop_signals(): TTIN and TTOU do not stop us, whoever sends them; see stop_signal.h.
 */
static int l_pass_stop_signals(lua_State *L)
{
	return push_result(L, stop_signals_pass(), "handle TTIN and TTOU");
}

static int l_subreaper(lua_State *L)
{
	return push_result(L, proc_subreaper(), "become subreaper");
}

/* process.new_group(): this process leads a group of its own from now on. */
static int l_new_group(lua_State *L)
{
	return push_result(L, proc_lead_group(), "new process group");
}

/* process.own_master_death(seconds [, master_pid]): nil, err with code ESRCH when it is already
 * gone. */
static int l_own_master_death(lua_State *L)
{
	double seconds = luaL_checknumber(L, 1);
	pid_t master = luaL_optint(L, 2, proc_parent());

	return push_result(L, proc_master_death(seconds, master), "watch for the master's death");
}

/* process.let_go_at_master_death{ fd, ... }: listeners that must not outlive the master for long.
 */
static int l_let_go_at_master_death(lua_State *L)
{
	int fds[1024];
	size_t n;

	luaL_checktype(L, 1, LUA_TTABLE);
	n = lua_objlen(L, 1);
	luaL_argcheck(L, n <= sizeof(fds) / sizeof(*fds), 1, "too many descriptors");
	for (size_t i = 0; i < n; i++) {
		lua_rawgeti(L, 1, (int)i + 1);
		fds[i] = luaL_checkint(L, -1);
		lua_pop(L, 1);
	}
	proc_let_go_at_master_death(fds, n);
	return 0;
}

/* process.forgive_master_death(): live on without the master. */
static int l_forgive_master_death(lua_State *L)
{
	(void)L;
	proc_forgive_master_death();
	return 0;
}

static int l_parent(lua_State *L)
{
	lua_pushinteger(L, proc_parent());
	return 1;
}

/* process.signal_number("TERM" | "SIGTERM") -> 15 | nil */
static int l_signal_number(lua_State *L)
{
	int signum = signal_by_name(luaL_checkstring(L, 1));

	if (signum < 0)
		return 0;
	lua_pushinteger(L, signum);
	return 1;
}

/* process.signal_name(15) -> "TERM" */
static int l_signal_name(lua_State *L)
{
	char name[16];

	lua_pushstring(L, signal_name(luaL_checkint(L, 1), name));
	return 1;
}

/*
 * process.nice(niceness) -> true, or nil, err: this process is as nice as that, and what it forks
 * is not. Code "EBUSY": whoever started it has said how nice it is.
 */
static int l_nice(lua_State *L)
{
	return push_result(L, nice_self((int)luaL_checkinteger(L, 1)), "niceness");
}

const luaL_Reg process_self_functions[] = {
	{ "end_heard", l_end_heard },
	{ "end_wards", l_end_wards },
	{ "forgive_master_death", l_forgive_master_death },
	{ "insist_on_end", l_insist_on_end },
	{ "let_go_at_master_death", l_let_go_at_master_death },
	{ "new_group", l_new_group },
	{ "nice", l_nice },
	{ "own_master_death", l_own_master_death },
	{ "parent", l_parent },
	{ "pass_stop_signals", l_pass_stop_signals },
	{ "reap_orphans", l_reap_orphans },
	{ "signal_name", l_signal_name },
	{ "signal_number", l_signal_number },
	{ "subreaper", l_subreaper },
	{ "ward_left", l_ward_left },
	{ NULL, NULL },
};
