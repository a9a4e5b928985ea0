/*
 * proc_aside.c - a fork whose child is the parent's own: made by a small process, looked after by
 * the large one that made that. What the two tell each other of it is decided elsewhere.
 *
 * A process in between forks it and ends at once, so that it comes home to the next subreaper. That
 * one shares our memory (vfork), and costs next to nothing; the fork itself is libc's own, with all
 * that belongs to one.
 */
#include <errno.h>
#include <sched.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sys/proc.h"
#include "sys/proc_plan.h"

/* The child, or -errno: by the process in between, shared in any case, as some vforks are forks. */
static volatile pid_t *made;

static int share(void)
{
	void *memory;

	if (made)
		return 0;
	memory = mmap(NULL, sizeof(*made), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (memory == MAP_FAILED)
		return -errno;
	made = memory;
	return 0;
}

static void reap_between(pid_t pid)
{
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

/* Home to our parent: only then can it ask to hear of whose death it is. */
static void await_parent(pid_t middle)
{
	while (getppid() == middle)
		sched_yield();
}

/* In the process in between, with all that the parent has: who is that child, returns. */
static void fork_between(void)
{
	pid_t self = getpid(), pid = known_fork();

	if (pid != 0) {
		*made = pid < 0 ? -errno : pid;
		_exit(0);
	}
	await_parent(self);
	/* Its own children are not its template's. */
	munmap((void *)made, sizeof(*made));
	made = NULL;
}

pid_t proc_fork_aside(void)
{
	pid_t parent = proc_parent(), pid;
	int err = share();

	if (err)
		return err;
	*made = 0;
	pid = vfork(); /* NOLINT(clang-analyzer-security.insecureAPI.vfork) */
	if (pid < 0)
		return -errno;
	if (pid > 0) {
		reap_between(pid);
		return *made ? *made : -EAGAIN;
	}
	fork_between(); /* NOLINT(clang-analyzer-unix.Vfork) */
	proc_begin(parent);
	return 0;
}
