/*
 * brood.h - the public embedding API: one Lua state on one event loop.
 *
 * A program that links brood creates the runtime once, runs a Lua entry
 * module in it and exits with the status it returns. There is one runtime per
 * process, because signals, children and the fork generation belong to the
 * process and not to a state.
 */
#ifndef BROOD_H
#define BROOD_H

#define BROOD_VERSION "0.1.0"

struct runtime;

/* Prepare the process (stdio, SIGPIPE, file limits), the loop and the Lua state. 0, or -errno with
 * a line in the log that says what failed. */
int runtime_create(struct runtime **out, int argc, char **argv);

/*
 * Require the Lua module `entry` and call it with the argument list as a task,
 * then run the loop until nothing is left to wait for. Returns the exit status.
 * In a process forked from Lua it may return as well: once, in each.
 */
int runtime_run(struct runtime *rt, const char *entry);

#endif
