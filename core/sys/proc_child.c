/*
 * proc_child.c - what a started program's process does between the clone and its exec.
 *
 * It runs in our address space while we stand still. So it makes system calls
 * and nothing else: no allocation, no locks, and none of libc's setuid family,
 * which would signal our threads to follow. It also must not run under a
 * sanitizer, whose record of our stack it would spoil.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sys/fd.h"
#include "sys/proc_plan.h"

#define BARE __attribute__((no_sanitize("address", "undefined"), noinline))

/* i386 and arm have a second, 32 bit wide set of calls for ids. */
#ifdef SYS_setresuid32
#define CALL_SETRESUID SYS_setresuid32
#define CALL_SETRESGID SYS_setresgid32
#define CALL_SETGROUPS SYS_setgroups32
#else
#define CALL_SETRESUID SYS_setresuid
#define CALL_SETRESGID SYS_setresgid
#define CALL_SETGROUPS SYS_setgroups
#endif

#ifndef CLOSE_RANGE_UNSHARE
#define CLOSE_RANGE_UNSHARE (1U << 1)
#endif
#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2)
#endif

static const struct signals no_signals;

/* Every signal to its default, libc's own included. */
BARE static void signals_default(void)
{
	/* All zero is SIG_DFL without flags in every architecture's layout of the kernel's struct.
	 */
	static const unsigned long action[16];

	for (int i = 1; i < _NSIG; i++)
		syscall(SYS_rt_sigaction, i, action, NULL, SIGNAL_SET_SIZE);
}

BARE static int fail_at(struct proc_plan *plan, enum proc_step step, size_t at)
{
	plan->step = step;
	plan->at = at;
	plan->err = errno;
	return -1;
}

/* Without close_range (older kernels, strict containers): every number the kernel lists, else every
 * possible one. */
BARE static void cloexec_one_by_one(void)
{
	struct entry {
		uint64_t ino;
		int64_t next;
		unsigned short size;
		unsigned char type;
		char name[];
	};
	char buffer[2048] __attribute__((aligned(8)));
	int dir = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	long n;

	if (dir < 0) {
		for (int fd = 3; fd < FD_MAX; fd++)
			fcntl(fd, F_SETFD, FD_CLOEXEC);
		return;
	}
	while ((n = syscall(SYS_getdents64, dir, buffer, sizeof(buffer))) > 0) {
		for (long at = 0; at < n; at += ((struct entry *)(buffer + at))->size) {
			const char *name = ((struct entry *)(buffer + at))->name;
			int fd = 0;

			for (; *name >= '0' && *name <= '9'; name++)
				fd = fd * 10 + *name - '0';
			if (fd >= 3)
				fcntl(fd, F_SETFD, FD_CLOEXEC);
		}
	}
	close(dir);
}

/*
 * A supervisor of thousands has thousands of descriptors, whose copies would cost more than all
 * else here: of what we share with it we take a copy of what is needed alone. Where the descriptors
 * are copied already, this tells whether that is possible.
 */
BARE static int leave_fds(struct proc_plan *plan)
{
	long rc = syscall(SYS_close_range, (unsigned)plan->needed, ~0U, CLOSE_RANGE_UNSHARE);

	plan->may_share = rc == 0;
	return rc < 0 && plan->shares_fds ? fail_at(plan, STEP_FD, 0) : 0;
}

BARE static int open_null(struct proc_plan *plan, size_t i)
{
	int dst = plan->fds[i].dst, fd, done;

	do
		fd = open("/dev/null", (dst == 0 ? O_RDONLY : O_WRONLY) | O_CLOEXEC);
	while (fd < 0 && errno == EINTR);
	done = fd == dst ? fcntl(fd, F_SETFD, 0) : fd < 0 ? fd : dup2(fd, dst);
	return done < 0 ? fail_at(plan, STEP_NULL, i) : 0;
}

/*
 * All closes at exec but what is mapped. First every src that a dst might land
 * on moves out of the way, then each goes to its place, where dup2 clears close-on-exec.
 */
BARE static int place_fds(struct proc_plan *plan)
{
	if (leave_fds(plan))
		return -1;
	/* Of those below the standard three are all that is left, as a rule. */
	if ((plan->needed > 3 || !plan->may_share) &&
	    syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
		cloexec_one_by_one();
	for (size_t i = 0; i < plan->spec->nfds; i++) {
		struct proc_fd *fd = &plan->fds[i];

		if (fd->src == PROC_NULL || fd->src == fd->dst || fd->src >= plan->beyond)
			continue;
		fd->src = fcntl(fd->src, F_DUPFD_CLOEXEC, plan->beyond);
		if (fd->src < 0)
			return fail_at(plan, STEP_FD, i);
	}
	for (size_t i = 0; i < plan->spec->nfds; i++) {
		struct proc_fd *fd = &plan->fds[i];
		int done;

		if (fd->src == PROC_NULL)
			continue;
		done = fd->src == fd->dst ? fcntl(fd->dst, F_SETFD, 0) : dup2(fd->src, fd->dst);

		if (done < 0)
			return fail_at(plan, STEP_FD, i);
	}
	/* Last: by then every number that is needed is taken. */
	for (size_t i = 0; i < plan->spec->nfds; i++)
		if (plan->fds[i].src == PROC_NULL && open_null(plan, i))
			return -1;
	return 0;
}

/* After the descriptors, which may lie beyond a new limit; before the ids, because only root may
 * raise one. */
BARE static int set_limits(struct proc_plan *plan)
{
	const struct proc_spec *spec = plan->spec;

	if (plan->has_nofile &&
	    syscall(SYS_prlimit64, 0, plan->nofile.resource, &plan->nofile.value, NULL) < 0)
		return fail_at(plan, STEP_LIMIT, spec->nlimits);
	for (size_t i = 0; i < spec->nlimits; i++)
		if (syscall(SYS_prlimit64, 0, spec->limits[i].resource, &spec->limits[i].value,
			    NULL) < 0)
			return fail_at(plan, STEP_LIMIT, i);
	return 0;
}

/* Groups before the user, who may no longer change them. */
BARE static int set_ids(struct proc_plan *plan)
{
	const struct proc_spec *spec = plan->spec;

	if (plan->keep_ids)
		return 0;
	if (spec->groups && syscall(CALL_SETGROUPS, spec->ngroups, spec->groups) < 0)
		return fail_at(plan, STEP_GROUPS, 0);
	if (spec->gid != (gid_t)-1 && syscall(CALL_SETRESGID, spec->gid, spec->gid, spec->gid) < 0)
		return fail_at(plan, STEP_GID, 0);
	if (spec->uid != (uid_t)-1 && syscall(CALL_SETRESUID, spec->uid, spec->uid, spec->uid) < 0)
		return fail_at(plan, STEP_UID, 0);
	return 0;
}

/* A change of ids clears the death signal, and a parent that died before it was set sends none. */
BARE static int set_death_signal(struct proc_plan *plan)
{
	if (!plan->spec->death_signal)
		return 0;
	if (prctl(PR_SET_PDEATHSIG, (unsigned long)plan->spec->death_signal) < 0)
		return fail_at(plan, STEP_DEATH_SIGNAL, 0);
	if (syscall(SYS_getppid) != plan->parent) {
		errno = ESRCH;
		return fail_at(plan, STEP_DEATH_SIGNAL, 0);
	}
	return 0;
}

BARE static void write_own_pid(char *to)
{
	char digits[16];
	long pid = syscall(SYS_getpid);
	int n = 0;

	do
		digits[n++] = (char)('0' + pid % 10);
	while (pid /= 10);
	while (n)
		*to++ = digits[--n];
	*to = 0;
}

/* Before the death signal: where our parent dies too early for this, that signal or the look behind
 * it ends us. */
BARE static void enter_ward(const struct proc_plan *plan)
{
	uint64_t reserved = plan->ward_entry;

	if (plan->ward)
		__atomic_compare_exchange_n(plan->ward, &reserved,
					    reserved | (uint32_t)syscall(SYS_getpid), false,
					    __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

/* The rules of execvp: go on past what is not there, remember what may not be run, let sh have what
 * has no "#!". */
BARE static int exec_first(struct proc_plan *plan)
{
	int err = ENOENT;

	for (char **path = plan->candidates; *path; path++) {
		execve(*path, plan->spec->argv, plan->env);
		if (errno == ENOEXEC) {
			plan->sh_argv[1] = *path;
			execve("/bin/sh", plan->sh_argv, plan->env);
		}
		if (errno == EACCES)
			err = EACCES;
		else if (errno != ENOENT && errno != ENOTDIR && errno != ESTALE && errno != ENODEV)
			return fail_at(plan, STEP_EXEC, 0);
	}
	errno = err;
	return fail_at(plan, STEP_EXEC, 0);
}

BARE static int prepare(struct proc_plan *plan)
{
	const struct proc_spec *spec = plan->spec;

	if (spec->session) {
		if (setsid() < 0)
			return fail_at(plan, STEP_SESSION, 0);
	} else if (spec->new_group && setpgid(0, 0) < 0) {
		return fail_at(plan, STEP_GROUP, 0);
	}
	enter_ward(plan);
	if (place_fds(plan) || set_limits(plan))
		return -1;
	if (spec->umask >= 0)
		umask((mode_t)spec->umask);
	if (spec->cwd && chdir(spec->cwd) < 0)
		return fail_at(plan, STEP_CWD, 0);
	if (set_ids(plan) || set_death_signal(plan))
		return -1;
	if (plan->listen_pid)
		write_own_pid(plan->listen_pid);
	return 0;
}

BARE int plan_run(void *arg)
{
	struct proc_plan *plan = arg;

	/* Handlers first: they are our code, and the memory is our parent's. Only then may signals
	 * come in. */
	signals_default();
	if (prepare(plan) == 0) {
		syscall(SYS_rt_sigprocmask, SIG_SETMASK, &no_signals, NULL, SIGNAL_SET_SIZE);
		exec_first(plan);
	}
	for (;;)
		syscall(SYS_exit_group, 127);
}
