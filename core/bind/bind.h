/*
 * bind.h - helpers for the binding files: the only other place that includes lua.h.
 *
 * A binding checks its arguments first (that may raise, and owns nothing yet),
 * anchors a userdata with __gc, then acquires in plain C that never raises.
 */
#ifndef BIND_H
#define BIND_H

#include <lauxlib.h>
#include <lua.h>
#include <stdbool.h>
#include <uv.h>

/* The main state: what callbacks from the loop use, whichever coroutine made the object. */
lua_State *bind_main(lua_State *L);
uv_loop_t *bind_loop(lua_State *L);

/*
 * Call the function below nargs arguments, protected and with a traceback. An
 * error is logged as "where: message" and leaves nothing on the stack; returns
 * 0, or -1 after an error. No C-to-Lua call goes around this one. In the child
 * of a fork that was made in there it does not return: see runtime_live.
 */
int bind_call(lua_State *L, int nargs, int nresults, const char *where);

/*
 * Push nil and an error table {message, code}; return 2, for `return bind_fail(...)`. err is
 * a negative errno.
 */
int bind_fail(lua_State *L, int err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* The same with a word for code: "closed", "timeout", ... */
int bind_fail_code(lua_State *L, const char *code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Push only the error table. */
void bind_push_error(lua_State *L, const char *code, const char *message);

/* Register the metatable "brood.<name>" with its methods (__index) and __gc. */
void bind_class(lua_State *L, const char *name, const luaL_Reg *methods, lua_CFunction gc);
/*
 * luaL_checkudata without looking the class up by its name: `meta` is the caller's, one for each
 * class, NULL at first.
 */
void *bind_object(lua_State *L, int index, const char *class, const void **meta);

/* References into the registry. LUA_NOREF is legal everywhere; unref resets to it. */
int bind_ref(lua_State *L, int index);
void bind_unref(lua_State *L, int *ref);
/*
 * Ref the function (or nil: LUA_NOREF) in field `name` of the table at index; anything else
 * raises.
 */
int bind_ref_field(lua_State *L, int index, const char *name);
/*
 * Somebody wants to know when something is over: what stands at index, a function or nothing, is
 * kept in *ref, or called at once where it does not go on any more. Returns whether it does.
 */
bool bind_goes_on(lua_State *L, int index, bool goes_on, int *ref);

/* Push a header's name in lower case. */
void bind_push_name(lua_State *L, const char *name, size_t len);

/* One opener per binding file: pushes the table that becomes brood.core.X. */
int bind_open_channel(lua_State *L);
/* In the child of a fork: none of our functions that was called before goes on. */
void bind_channel_after_fork(void);
int bind_open_value(lua_State *L);
int bind_open_fd(lua_State *L);
int bind_open_file_events(lua_State *L);
int bind_open_http(lua_State *L);
int bind_open_http_answer(lua_State *L);
int bind_open_jobs(lua_State *L);
int bind_open_listener(lua_State *L);
int bind_open_log(lua_State *L);
int bind_open_net(lua_State *L);
int bind_open_notify(lua_State *L);
int bind_open_pidfile(lua_State *L);
int bind_open_posix(lua_State *L);
int bind_open_privileges(lua_State *L);
int bind_open_process(lua_State *L);
int bind_open_relay(lua_State *L);
int bind_open_scoreboard(lua_State *L);
int bind_open_tally(lua_State *L);

/* A function of brood.core's own. */
int bind_at_turn_end(lua_State *L);
int bind_expect_soon(lua_State *L);

/* brood.core itself. */
int bind_open_core(lua_State *L);

#endif
