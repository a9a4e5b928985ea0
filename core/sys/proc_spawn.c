/*
 * proc_spawn.c - starting a program: a clone that shares our memory until it execs.
 *
 * Why not fork: that copies the page tables of a master that may be large. What the child does is
 * in proc_child.c.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sys/fd.h"
#include "sys/proc_plan.h"
#include "sys/proc_wards.h"

#define STACK_SIZE (128 * 1024)
#define GUARD_SIZE 4096

#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x00001000
#endif

static void signals_block_all(struct signals *saved)
{
	struct signals all;

	memset(&all, 0xff, sizeof(all));
	syscall(SYS_rt_sigprocmask, SIG_BLOCK, &all, saved, SIGNAL_SET_SIZE);
}

static void signals_restore(const struct signals *saved)
{
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, saved, NULL, SIGNAL_SET_SIZE);
}

/* One for all: we stand still while it is in use. */
static char *child_stack(void)
{
	static char *stack;
	char *fresh;

	if (stack)
		return stack;
	fresh = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	if (fresh == MAP_FAILED)
		return NULL;
	mprotect(fresh, GUARD_SIZE, PROT_NONE);
	stack = fresh;
	return stack;
}

/* Found out by the first child, whose descriptors are a copy. */
static bool may_share_fds;

static pid_t clone_child(struct proc_plan *plan, char *stack, int *pidfd)
{
	int flags = CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD;
	struct signals mask;
	int dumpable = prctl(PR_GET_DUMPABLE);
	pid_t pid;

	/* None of our handlers may run in the child. */
	signals_block_all(&mask);
	plan->shares_fds = may_share_fds;
	if (may_share_fds)
		flags |= CLONE_FILES;
	pid = clone(plan_run, stack + STACK_SIZE, flags, plan, pidfd);
	if (pid < 0)
		pid = -errno;
	may_share_fds = plan->may_share;
	/* A child that changes its ids makes the memory it shares, ours, undumpable. */
	if (dumpable == 1 && plan->spec->uid != (uid_t)-1)
		prctl(PR_SET_DUMPABLE, 1);
	signals_restore(&mask);
	return pid;
}

static void reap_failed(pid_t pid)
{
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

/* What is to survive us has no death signal. */
static void reserve_ward(struct proc_plan *plan)
{
	const struct proc_spec *spec = plan->spec;

	plan->ward = NULL;
	if ((spec->new_group || spec->session) && spec->death_signal)
		plan->ward = wards_reserve(&plan->ward_entry);
}

static void release_ward(struct proc_plan *plan)
{
	if (plan->ward)
		__atomic_store_n(plan->ward, 0, __ATOMIC_RELEASE);
}

static int spawn(struct proc *out, struct proc_plan *plan)
{
	char *stack = child_stack();
	int pidfd = -1;
	pid_t pid;

	if (!stack || known_reserve())
		return -ENOMEM;
	reserve_ward(plan);
	pid = clone_child(plan, stack, &pidfd);
	if (pid < 0 || plan->err)
		release_ward(plan);
	if (pid < 0)
		return pid;
	fd_own(pidfd);
	if (plan->err) {
		reap_failed(pid);
		fd_close(&pidfd);
		return -plan->err;
	}
	proc_known_add(pid);
	/* No setpgid from this side: the vfork has waited until the exec, and so for the child's
	 * own. */
	*out = (struct proc){ .pid = pid,
			      .pidfd = pidfd,
			      .own_group = plan->spec->new_group || plan->spec->session };
	return 0;
}

int proc_spawn(struct proc *out, const struct proc_spec *spec, char what[PROC_WHAT])
{
	struct proc_plan plan;
	int err = plan_make(&plan, spec);

	if (!err)
		err = spawn(out, &plan);
	if (err)
		plan_describe(&plan, err, what);
	plan_free(&plan);
	return err;
}
