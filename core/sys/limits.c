/*
 * limits.c - limits by name, and our own limit of open files.
 */
#include "sys/limits.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "sys/fd.h"

static const struct {
	const char *name;
	int resource;
} names[] = {
	{ "as", RLIMIT_AS },
	{ "core", RLIMIT_CORE },
	{ "cpu", RLIMIT_CPU },
	{ "data", RLIMIT_DATA },
	{ "fsize", RLIMIT_FSIZE },
	{ "locks", RLIMIT_LOCKS },
	{ "memlock", RLIMIT_MEMLOCK },
	{ "msgqueue", RLIMIT_MSGQUEUE },
	{ "nice", RLIMIT_NICE },
	{ "nofile", RLIMIT_NOFILE },
	{ "nproc", RLIMIT_NPROC },
	{ "rss", RLIMIT_RSS },
	{ "rtprio", RLIMIT_RTPRIO },
	{ "rttime", RLIMIT_RTTIME },
	{ "sigpending", RLIMIT_SIGPENDING },
	{ "stack", RLIMIT_STACK },
};

/* What our programs get for nofile, once it differs from what we run with. */
static struct rlimit64 original;
static bool raised;

int limit_by_name(const char *name)
{
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (strcmp(names[i].name, name) == 0)
			return names[i].resource;
	return -1;
}

const char *limit_name(int resource)
{
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (names[i].resource == resource)
			return names[i].name;
	return "?";
}

int limit_set(const struct limit *limit)
{
	if (setrlimit64((__rlimit_resource_t)limit->resource, &limit->value) < 0)
		return -errno;
	if (limit->resource == RLIMIT_NOFILE)
		raised = false;
	return 0;
}

void limits_raise_nofile(void)
{
	struct rlimit64 now, want;

	if (raised || getrlimit64(RLIMIT_NOFILE, &now) < 0)
		return;
	want = now;
	/* Systemd's hard limit is a billion; what we own is recorded up to FD_MAX. */
	want.rlim_cur = now.rlim_max < FD_MAX ? now.rlim_max : FD_MAX;
	if (want.rlim_cur <= now.rlim_cur || setrlimit64(RLIMIT_NOFILE, &want) < 0)
		return;
	original = now;
	raised = true;
}

const char *limits_explain(int err)
{
	static char text[64];
	struct rlimit64 now;

	if (err != -EMFILE || getrlimit64(RLIMIT_NOFILE, &now) < 0)
		return "";
	snprintf(text, sizeof(text), " (the limit nofile is %llu)",
		 (unsigned long long)now.rlim_cur);
	return text;
}

int limits_original_nofile(struct limit *out)
{
	if (!raised)
		return -ENOENT;
	out->resource = RLIMIT_NOFILE;
	out->value = original;
	return 0;
}
