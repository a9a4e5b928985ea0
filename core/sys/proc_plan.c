/*
 * proc_plan.c - everything that starting a program needs, laid out before the clone in one piece of
 * memory.
 */
#include "sys/proc_plan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_PATH "/usr/local/bin:/usr/bin:/bin"
#define LISTEN_PID   "LISTEN_PID="
#define DIGITS       16

static size_t count(char *const *list)
{
	size_t n = 0;

	while (list[n])
		n++;
	return n;
}

static const char *path_of(char *const *env)
{
	for (; *env; env++)
		if (strncmp(*env, "PATH=", 5) == 0)
			return *env + 5;
	return DEFAULT_PATH;
}

static size_t count_dirs(const char *path)
{
	size_t n = 1;

	for (; *path; path++)
		n += *path == ':';
	return n;
}

/* A bump allocator over plan->memory. Pointers are taken first, so all is aligned. */
static void *take(char **at, size_t size)
{
	char *p = *at;

	*at += size;
	return p;
}

static const char *program_of(const struct proc_spec *spec)
{
	const char *name = spec->path ? spec->path : spec->argv[0];

	return name ? name : "";
}

/* As execvp does: "" in PATH is the directory the program starts in. */
static void list_candidates(struct proc_plan *plan, const char *path, char **at)
{
	const char *name = program_of(plan->spec);
	char **to = plan->candidates;

	if (!*name)
		return;
	if (strchr(name, '/')) {
		*to = (char *)name;
		return;
	}
	for (;;) {
		size_t size = strcspn(path, ":");
		char *text = take(at, size + strlen(name) + 2);

		memcpy(text, path, size);
		sprintf(text + size, "%s%s", size ? "/" : "", name);
		*to++ = text;
		if (!path[size])
			return;
		path += size + 1;
	}
}

/* A copy of env with our own LISTEN_PID, its digits still missing. */
static void env_with_listen_pid(struct proc_plan *plan, char *const *env, char **copy, char **at)
{
	char *own = take(at, sizeof(LISTEN_PID) + DIGITS);
	size_t n = 0;

	for (; *env; env++)
		if (strncmp(*env, LISTEN_PID, sizeof(LISTEN_PID) - 1) != 0)
			copy[n++] = *env;
	memcpy(own, LISTEN_PID, sizeof(LISTEN_PID));
	plan->listen_pid = own + sizeof(LISTEN_PID) - 1;
	copy[n] = own;
	plan->env = copy;
}

static void list_sh_argv(struct proc_plan *plan)
{
	char *const *from = plan->spec->argv + 1;
	char **to = plan->sh_argv;

	*to++ = (char *)"/bin/sh";
	*to++ = NULL;
	while (*from)
		*to++ = *from++;
}

static int copy_fds(struct proc_plan *plan)
{
	const struct proc_spec *spec = plan->spec;
	unsigned stdio = 0;

	plan->beyond = plan->needed = 3;
	for (size_t i = 0; i < spec->nfds; i++) {
		const struct proc_fd *fd = &spec->fds[i];

		if (fd->src < PROC_NULL || fd->dst < 0)
			return -EBADF;
		for (size_t j = 0; j < i; j++)
			if (spec->fds[j].dst == fd->dst)
				return -EINVAL;
		if (fd->dst < 3)
			stdio |= 1U << fd->dst;
		if (fd->dst >= plan->beyond)
			plan->beyond = fd->dst + 1;
		if (fd->src >= plan->needed)
			plan->needed = fd->src + 1;
		plan->fds[i] = *fd;
	}
	/* A program whose stdio is closed gives its numbers to the files it opens. */
	return stdio == 7 ? 0 : -EINVAL;
}

/* Only root may set groups; to name ourselves as the user is no mistake. */
static bool already_so(const struct proc_spec *spec)
{
	return geteuid() != 0 && (spec->uid == (uid_t)-1 || spec->uid == geteuid()) &&
	       (spec->gid == (gid_t)-1 || spec->gid == getegid());
}

/* What limits_raise_nofile took from our programs, unless they are told what to have. */
static void find_nofile(struct proc_plan *plan)
{
	plan->has_nofile = limits_original_nofile(&plan->nofile) == 0;
	for (size_t i = 0; i < plan->spec->nlimits; i++)
		if (plan->spec->limits[i].resource == RLIMIT_NOFILE)
			plan->has_nofile = false;
}

int plan_make(struct proc_plan *plan, const struct proc_spec *spec)
{
	char *const *env = spec->env ? spec->env : environ;
	const char *path = path_of(env);
	size_t dirs = count_dirs(path), argc = count(spec->argv), nenv = count(env);
	size_t pointers = (dirs + 1) + (argc + 3) + (nenv + 2);
	size_t text =
		strlen(path) + dirs * (strlen(program_of(spec)) + 2) + sizeof(LISTEN_PID) + DIGITS;
	char **env_copy, *at;
	int err;

	memset(plan, 0, sizeof(*plan));
	plan->spec = spec;
	plan->parent = getpid();
	if (argc == 0)
		return -EINVAL;
	at = plan->memory =
		calloc(1, pointers * sizeof(char *) + spec->nfds * sizeof(struct proc_fd) + text);
	if (!at)
		return -ENOMEM;
	plan->candidates = take(&at, (dirs + 1) * sizeof(char *));
	plan->sh_argv = take(&at, (argc + 3) * sizeof(char *));
	env_copy = take(&at, (nenv + 2) * sizeof(char *));
	plan->fds = take(&at, spec->nfds * sizeof(struct proc_fd));
	err = copy_fds(plan);
	if (err) {
		plan->step = STEP_FD;
		plan_free(plan);
		return err;
	}
	plan->env = env;
	if (spec->listen_pid)
		env_with_listen_pid(plan, env, env_copy, &at);
	list_candidates(plan, path, &at);
	list_sh_argv(plan);
	find_nofile(plan);
	plan->keep_ids = already_so(spec);
	return 0;
}

void plan_free(struct proc_plan *plan)
{
	free(plan->memory);
	plan->memory = NULL;
}

void plan_describe(const struct proc_plan *plan, int err, char what[PROC_WHAT])
{
	const struct proc_spec *spec = plan->spec;
	const char *name = program_of(spec);

	switch (plan->step) {
	case STEP_START:
		snprintf(what, PROC_WHAT, "start %s%s", name,
			 err == -EAGAIN ? " (no more processes: nproc, or pids.max of the cgroup)"
					: "");
		break;
	case STEP_GROUP: snprintf(what, PROC_WHAT, "start %s: new process group", name); break;
	case STEP_SESSION: snprintf(what, PROC_WHAT, "start %s: new session", name); break;
	case STEP_FD: snprintf(what, PROC_WHAT, "start %s: pass descriptors", name); break;
	case STEP_NULL: snprintf(what, PROC_WHAT, "start %s: open /dev/null", name); break;
	case STEP_LIMIT:
		snprintf(what, PROC_WHAT, "start %s: set limit %s", name,
			 plan->at < spec->nlimits ? limit_name(spec->limits[plan->at].resource)
						  : "nofile");
		break;
	case STEP_CWD: snprintf(what, PROC_WHAT, "chdir %s", spec->cwd); break;
	case STEP_GROUPS:
		snprintf(what, PROC_WHAT, "start %s: set supplementary groups", name);
		break;
	case STEP_GID:
		snprintf(what, PROC_WHAT, "start %s: set group %u", name, (unsigned)spec->gid);
		break;
	case STEP_UID:
		snprintf(what, PROC_WHAT, "start %s: set user %u", name, (unsigned)spec->uid);
		break;
	case STEP_DEATH_SIGNAL:
		snprintf(what, PROC_WHAT, "start %s: set death signal", name);
		break;
	case STEP_EXEC: snprintf(what, PROC_WHAT, "exec %s", name); break;
	}
}
