/*
 * limits.h - resource limits by name, and the limits that this process was started with.
 */
#ifndef SYS_LIMITS_H
#define SYS_LIMITS_H

#include <sys/resource.h>

struct limit {
	int resource;
	struct rlimit64 value;
};

/* "nofile", "core", ...: the resource, or -1. */
int limit_by_name(const char *name);
const char *limit_name(int resource);

/* Set it in this process. For nofile that is what its children get as well. */
int limit_set(const struct limit *limit);

/*
 * Raise our own soft limit of open files to the hard one. Programs that we start
 * get the former one back: many still use select(2), or close every possible number.
 */
void limits_raise_nofile(void);
/*
 * What limit a failure is about, for its message: " (the limit nofile is 1024)"; "" where it is
 * about none. Good until the next call.
 */
const char *limits_explain(int err);
/* What a started program gets. Returns 0, or -ENOENT where it was never raised. */
int limits_original_nofile(struct limit *out);

#endif
