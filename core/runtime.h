/*
 * runtime.h - what the bindings need of the runtime: its state, its loop, fork.
 */
#ifndef RUNTIME_H
#define RUNTIME_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include <lua.h>
#include <uv.h>

struct runtime;

struct runtime *runtime_current(void);
lua_State *runtime_state(struct runtime *rt);
uv_loop_t *runtime_loop(struct runtime *rt);

/* An error that nobody caught was logged: the end of a script is then 1. */
void runtime_mark_failed(struct runtime *rt);
bool runtime_failed(struct runtime *rt);

/*
 * Fork this process with its Lua state. Returns the child's pid in the parent,
 * 0 in the child, or -errno. The child has a fresh loop and none of the
 * parent's handles; of the owned descriptors only keep[] stay open. Its signals
 * are still blocked: call runtime_unblock_signals when its handlers are in place.
 * aside: it becomes our parent's child, see proc_fork_aside.
 */
pid_t runtime_fork(struct runtime *rt, const int *keep, size_t n, bool aside);
void runtime_unblock_signals(void);

/*
 * In a forked child, where it would return to a frame of its parent's: those never go on, for
 * what they hold (descriptors, lists, places on the old loop) is not its own. Runs its own loop
 * until it is done, here, and exits.
 */
void runtime_live(struct runtime *rt) __attribute__((noreturn));

/* Flush stdio and leave at once; a forked child never runs its parent's exit handlers. */
void runtime_exit(struct runtime *rt, int status) __attribute__((noreturn));

#endif
