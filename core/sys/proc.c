/*
 * proc.c - forking, waiting and signalling.
 *
 * A child is waited for by its pidfd, so that its number is never mistaken for
 * somebody else's; a group by its number, which stays taken while it has a member.
 * When to stop what is decided elsewhere.
 */
#include "sys/proc.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sys/fd.h"
#include "sys/proc_plan.h"
#include "sys/proc_wards.h"

/* linux/wait.h and sys/wait.h exclude each other; the number is the kernel's. */
#define BY_PIDFD ((idtype_t)3)

static pid_t forked_by, forked_as;

pid_t proc_fork(void)
{
	pid_t parent = getpid(), pid;
	int err = known_reserve();

	if (err)
		return err;
	wards_share();
	pid = known_fork();
	if (pid < 0)
		return -errno;
	if (pid > 0) {
		proc_known_add(pid);
		return pid;
	}
	proc_begin(parent);
	return 0;
}

void proc_begin(pid_t parent)
{
	forked_by = parent;
	forked_as = getpid();
	known_forget_all();
	wards_begin();
}

pid_t proc_parent(void)
{
	return forked_by ? forked_by : getppid();
}

bool proc_was_forked(void)
{
	return forked_as == getpid();
}

int proc_lead_group(void)
{
	/* A session leader leads its group already, and may not be asked again (EPERM). */
	if (getpgrp() != getpid() && setpgid(0, 0) < 0)
		return -errno;
	/* Whoever forked us may be killed before it has said so itself. */
	if (proc_was_forked())
		wards_add(forked_by, getpid(), true);
	return 0;
}

/* waitid without blocking: 1 with *si filled, 0 when nothing happened, or -errno. */
static int look(idtype_t type, id_t id, siginfo_t *si, int options)
{
	int rc;

	memset(si, 0, sizeof(*si));
	do
		rc = waitid(type, id, si, options | WEXITED | WNOHANG);
	while (rc < 0 && errno == EINTR);
	return rc < 0 ? -errno : si->si_pid != 0;
}

int proc_adopt(struct proc *out, pid_t pid, bool own_group)
{
	int err = known_reserve();
	siginfo_t si;
	int fd;

	if (err)
		return err;
	/* Who is not our child is not ours to look after, whatever has that number by now. */
	if (look(P_PID, (id_t)pid, &si, WNOWAIT) < 0)
		return -ESRCH;
	fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (fd < 0)
		return -errno;
	fd_own(fd);
	/* The child does the same; whoever comes first, it has happened before anyone signals the
	 * group. */
	if (own_group && setpgid(pid, pid) < 0 && errno != ESRCH && getpgid(pid) != pid) {
		err = -errno;
		fd_close(&fd);
		return err;
	}
	proc_known_add(pid);
	if (own_group)
		wards_add(getpid(), pid, true);
	*out = (struct proc){ .pid = pid, .pidfd = fd, .own_group = own_group };
	return 0;
}

/* Only what is ignored: exec itself resets what is caught. Returns which they were. */
static sigset_t ignored_to_default(void)
{
	sigset_t changed;

	sigemptyset(&changed);
	for (int i = 1; i < _NSIG; i++) {
		struct sigaction now;

		if (sigaction(i, NULL, &now) < 0 || now.sa_handler != SIG_IGN)
			continue;
		sigaddset(&changed, i);
		signal(i, SIG_DFL);
	}
	return changed;
}

int proc_exec(const char *path, char *const *argv, char *const *env)
{
	struct rlimit64 nofile;
	struct limit original;
	bool lowered = limits_original_nofile(&original) == 0 &&
		       getrlimit64(RLIMIT_NOFILE, &nofile) == 0 &&
		       setrlimit64(RLIMIT_NOFILE, &original.value) == 0;
	sigset_t ignored = ignored_to_default(), none, mask;
	int err;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, &mask);
	execve(path, argv, env);
	err = -errno;
	sigprocmask(SIG_SETMASK, &mask, NULL);
	for (int i = 1; i < _NSIG; i++)
		if (sigismember(&ignored, i) == 1)
			signal(i, SIG_IGN);
	if (lowered)
		setrlimit64(RLIMIT_NOFILE, &nofile);
	return err;
}

bool proc_over(const struct proc *p)
{
	siginfo_t si;

	/* An error is ECHILD: somebody else has reaped it. */
	return p->reaped || look(BY_PIDFD, (id_t)p->pidfd, &si, WNOWAIT) != 0;
}

int proc_reap(struct proc *p, int *code, int *signum)
{
	siginfo_t si;
	int rc;

	*code = *signum = -1;
	if (p->reaped)
		return -ESRCH;
	rc = look(BY_PIDFD, (id_t)p->pidfd, &si, 0);
	if (rc == 0)
		return -EAGAIN;
	if (rc < 0 && rc != -ECHILD)
		return rc;
	p->reaped = true;
	proc_known_remove(p->pid);
	if (rc > 0)
		*(si.si_code == CLD_EXITED ? code : signum) = si.si_status;
	return 0;
}

int proc_signal(const struct proc *p, int signum)
{
	if (p->reaped)
		return -ESRCH;
	return syscall(SYS_pidfd_send_signal, p->pidfd, signum, NULL, 0) < 0 ? -errno : 0;
}

int proc_signal_group(struct proc *p, int signum)
{
	if (!p->own_group)
		return -EINVAL;
	/* Without its leader an empty group's number may already be another's. */
	if (p->reaped && !proc_group_alive(p))
		return -ESRCH;
	return kill(-p->pid, signum) < 0 ? -errno : 0;
}

static bool is_empty(pid_t group)
{
	return kill(-group, 0) < 0 && errno == ESRCH;
}

bool proc_group_alive(struct proc *p)
{
	siginfo_t si;

	if (!p->reaped)
		return true;
	if (!p->own_group || p->group_gone)
		return false;
	/* Asked first, because it is quick: a look at the dead goes through all our children. */
	while (!is_empty(p->pid) && look(P_PGID, (id_t)p->pid, &si, WNOWAIT) > 0) {
		wards_end(si.si_pid, true, NULL, NULL);
		if (look(P_PID, (id_t)si.si_pid, &si, 0) > 0)
			proc_known_remove(si.si_pid);
	}
	if (!is_empty(p->pid))
		return true;
	p->group_gone = true;
	wards_remove(p->pid);
	return false;
}

void proc_close(struct proc *p)
{
	if (!p->reaped && p->pid > 0)
		known_abandon(p->pid);
	/* What is left of it stays our ward, unless that was the last. */
	if (p->own_group && p->reaped && !p->group_gone)
		wards_reaped(p->pid);
	fd_close(&p->pidfd);
}

pid_t proc_waitpid(pid_t pid, int options, enum proc_state *state, int *status)
{
	int raw = 0;
	pid_t got;

	do
		got = waitpid(pid, &raw, options);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return -errno;
	*state = PROC_RUNNING;
	*status = 0;
	if (got == 0)
		return 0;
	if (WIFEXITED(raw)) {
		*state = PROC_EXITED;
		*status = WEXITSTATUS(raw);
	} else if (WIFSIGNALED(raw)) {
		*state = PROC_KILLED;
		*status = WTERMSIG(raw);
	} else if (WIFSTOPPED(raw)) {
		*state = PROC_STOPPED;
		*status = WSTOPSIG(raw);
	} else if (WIFCONTINUED(raw)) {
		*state = PROC_CONTINUED;
		*status = SIGCONT;
	}
	if (*state == PROC_EXITED || *state == PROC_KILLED)
		proc_known_remove(got);
	return got;
}
