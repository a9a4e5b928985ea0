/*
 * proc_orphans.c - whose children are whose: the known ones, and reaping those that nobody waits
 * for.
 *
 * A process that is subreaper (or PID 1) inherits orphans, and must reap them;
 * but user code, popen and uv.spawn wait for their own. So a dead child is looked at
 * before it is taken, and left alone unless it is certain that nobody else wants it.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sys/fd.h"
#include "sys/proc_plan.h"
#include "sys/proc_wards.h"

struct known {
	pid_t pid;
	bool abandoned;
	bool awaited; /* its end is heard of by itself, and it is reaped at once */
};

/* Sorted by pid; pids mostly grow, so a new one mostly goes to the end. */
static struct {
	struct known *list;
	size_t count, room;
} set;

int known_reserve(void)
{
	size_t room = set.room ? set.room * 2 : 64;
	struct known *grown;

	if (set.count < set.room)
		return 0;
	grown = realloc(set.list, room * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	set.list = grown;
	set.room = room;
	return 0;
}

/* Forks that are not ours: a C module's, whose children are dead in our group until it waits. */
static bool forking, others_fork;

void known_forget_all(void)
{
	set.count = 0;
	others_fork = false;
}

/* The first place whose pid is not less. */
static size_t find(pid_t pid)
{
	size_t low = 0, high = set.count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (set.list[middle].pid < pid)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct known *lookup(pid_t pid)
{
	size_t at = find(pid);

	return at < set.count && set.list[at].pid == pid ? &set.list[at] : NULL;
}

int proc_known_add(pid_t pid)
{
	struct known *old = lookup(pid);
	int err = old ? 0 : known_reserve();
	size_t at;

	if (err)
		return err;
	if (old) {
		old->abandoned = old->awaited = false;
		return 0;
	}
	at = find(pid);
	memmove(&set.list[at + 1], &set.list[at], (set.count - at) * sizeof(*set.list));
	set.list[at] = (struct known){ .pid = pid };
	set.count++;
	return 0;
}

void proc_known_remove(pid_t pid)
{
	size_t at = find(pid);

	if (at == set.count || set.list[at].pid != pid)
		return;
	set.count--;
	memmove(&set.list[at], &set.list[at + 1], (set.count - at) * sizeof(*set.list));
}

bool known_child(pid_t pid)
{
	const struct known *k = lookup(pid);

	return k && !k->abandoned;
}

void known_abandon(pid_t pid)
{
	struct known *k = lookup(pid);

	if (k)
		k->abandoned = true;
}

void proc_await(const struct proc *p, bool awaited)
{
	struct known *k = p->reaped ? NULL : lookup(p->pid);

	if (k)
		k->awaited = awaited;
}

static void on_fork(void)
{
	others_fork = others_fork || !forking;
}

static void __attribute__((constructor)) hear_of_forks(void)
{
	pthread_atfork(NULL, on_fork, NULL);
}

pid_t known_fork(void)
{
	pid_t pid;

	forking = true;
	pid = fork();
	forking = false;
	return pid;
}

static bool nobodys(pid_t pid, struct proc_search *s)
{
	struct known *k = lookup(pid);

	if (k)
		return k->abandoned;
	if (wards_awaited(getpgid(pid)))
		return false;
	/* A zombie still has its group. popen and the like fork into ours, and so does everything
	 * we do not know of; so do those who leave a program behind. */
	if (getpgid(pid) == getpgrp() && (others_fork || !s->own)) {
		s->left = s->left || !others_fork;
		return false;
	}
	return !s->foreign || !s->foreign(pid, s->arg);
}

static pid_t first_dead(idtype_t type, pid_t pid, int options)
{
	siginfo_t si;
	int rc;

	memset(&si, 0, sizeof(si));
	do
		rc = waitid(type, (id_t)pid, &si, WEXITED | WNOHANG | options);
	while (rc < 0 && errno == EINTR);
	return rc < 0 ? 0 : si.si_pid;
}

static bool reap(pid_t pid)
{
	pid_t group = getpgid(pid);

	wards_end(pid, false, NULL, NULL);
	if (first_dead(P_PID, pid, 0) != pid)
		return false;
	proc_known_remove(pid);
	wards_reaped(group);
	return true;
}

/* All our children, the running ones too. Empty where /proc or the kernel does not have it. */
static char *read_children(void)
{
	char path[64], *text = NULL;
	size_t size = 4096;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
	for (;;) {
		char *grown = realloc(text, size);

		if (!grown)
			break;
		text = grown;
		n = fd_read_file(path, text, size);
		if (n < 0)
			break;
		if ((size_t)n < size - 1)
			return text;
		size *= 4;
	}
	free(text);
	return NULL;
}

static int reap_listed(struct proc_search *s)
{
	char *text = read_children(), *at = text;
	int n = 0;

	while (at && *at) {
		char *end;
		pid_t pid = (pid_t)strtol(at, &end, 10);

		if (end == at)
			break;
		at = end + strspn(end, " \n");
		if (first_dead(P_PID, pid, WNOWAIT) == pid && nobodys(pid, s) && reap(pid))
			n++;
	}
	free(text);
	return n;
}

static bool awaited_known(pid_t pid)
{
	const struct known *k = lookup(pid);

	return k && k->awaited && !k->abandoned;
}

int proc_reap_orphans(struct proc_search *s)
{
	pid_t pid;
	int n = 0;

	s->hidden = s->left = false;
	while ((pid = first_dead(P_ALL, 0, WNOWAIT)) > 0) {
		/*
		 * The look always shows the same first one. If that is about to go, another look
		 * comes cheaper than a list of all; if it is somebody else's, see who stands behind
		 * it.
		 */
		s->hidden = awaited_known(pid);
		if (s->hidden)
			return n;
		if (!nobodys(pid, s))
			return n + reap_listed(s);
		if (!reap(pid))
			break;
		n++;
	}
	return n;
}
