/*
 * proc.h - processes: the only fork, vfork, exec and wait of brood.
 *
 * A struct proc is a child known by its pidfd, which is owned; the pidfd is
 * readable once the child has exited. It belongs to the process that started
 * it: a fork's child must not touch it. Functions return 0 or a negative errno.
 */
#ifndef SYS_PROC_H
#define SYS_PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "sys/limits.h"

struct proc {
	pid_t pid;
	int pidfd;
	bool own_group;  /* it leads a process group of its own */
	bool reaped;     /* its number may already be somebody else's */
	bool group_gone; /* the group was seen empty after that */
};

struct proc_fd {
	int src; /* PROC_NULL: /dev/null, for reading as 0, else for writing */
	int dst;
};

#define PROC_NULL (-1)

/* A program to start. Everything is borrowed for the call. */
struct proc_spec {
	char *const *argv;
	const char *path;    /* NULL: argv[0]; without '/' looked up in PATH of env */
	char *const *env;    /* NULL: ours */
	const char *cwd;     /* NULL: ours */
	int umask;           /* -1: ours */
	uid_t uid;           /* -1: unchanged */
	gid_t gid;           /* -1: unchanged */
	const gid_t *groups; /* NULL: unchanged */
	size_t ngroups;
	const struct limit *limits;
	size_t nlimits;
	const struct proc_fd *fds; /* 0, 1 and 2 are among the dst; what is not named is closed */
	size_t nfds;
	bool new_group;   /* lead a group of its own */
	bool session;     /* lead a session of its own (and so a group) */
	int death_signal; /* when the thread that started it ends; 0: none */
	bool listen_pid;  /* set LISTEN_PID in env to the new pid */
};

#define PROC_WHAT 384

/*
 * Start a program, as fast as vfork can. Either it runs when this returns, or
 * nothing is left of it and what[] names the step that failed ("exec /no/such").
 */
int proc_spawn(struct proc *out, const struct proc_spec *spec, char what[PROC_WHAT]);

/*
 * fork(2) that remembers the child, so that nobody else reaps it. Returns the
 * pid, 0 in the child (which has no known children) or -errno. Signals, loop
 * and descriptors are the caller's affair: only runtime_fork calls this.
 */
pid_t proc_fork(void);
/*
 * The same for a child that is not to be ours but our parent's, which must be a subreaper, and has
 * to be told of it. Only in a process that proc_fork made.
 */
pid_t proc_fork_aside(void);
/* A child made by either. own_group: make it lead a group of its own, if it has not yet done so
 * itself. -ESRCH: it is none of ours. */
int proc_adopt(struct proc *out, pid_t pid, bool own_group);

/* Replace this process: signals to default, original limits. Returns only a failure, with all as
 * before. */
int proc_exec(const char *path, char *const *argv, char *const *env);

/* Has it exited? Looks without reaping. */
bool proc_over(const struct proc *p);
/* Its status; exactly one of *code and *signum is >= 0, both -1 when somebody else took it.
 * -EAGAIN: not over. */
int proc_reap(struct proc *p, int *code, int *signum);
/* -ESRCH once it is reaped. */
int proc_signal(const struct proc *p, int signum);
/* The whole group; -ESRCH when it is known to be empty, -EINVAL when it has none of its own. */
int proc_signal_group(struct proc *p, int signum);
/*
 * Is anyone left in its group? Reaps members that came home as orphans. While
 * the leader is not reaped it is alive, and nobody is touched.
 */
bool proc_group_alive(struct proc *p);
/* Let go of it. A child that was not reaped is left to proc_reap_orphans. */
void proc_close(struct proc *p);

enum proc_state { PROC_RUNNING, PROC_EXITED, PROC_KILLED, PROC_STOPPED, PROC_CONTINUED };
/* waitpid(2): returns the pid, 0 with WNOHANG when nothing happened, or -errno; *status is a code
 * or a signal. */
pid_t proc_waitpid(pid_t pid, int options, enum proc_state *state, int *status);

/* Whom proc_reap_orphans must leave to others. proc_fork and proc_spawn add by themselves. */
int proc_known_add(pid_t pid);
void proc_known_remove(pid_t pid);
/* Its end is heard of by itself, so that it is reaped without being looked for; or is not, any
 * more.
 */
void proc_await(const struct proc *p, bool awaited);
/*
 * Reap dead children that nobody waits for: orphans that came home, and what
 * proc_close let go. Left alone are the known ones, those that `foreign` (may be NULL)
 * claims, and those in our own process group: popen's are there, other forks of user code, and the
 * orphans of whom these have started. With `own` those are taken too, unless others than we have
 * forked here: who asks for it knows that no popen is open, and that they are dead for a while.
 * Returns how many.
 */
struct proc_search {
	bool (*foreign)(pid_t pid, void *arg);
	void *arg;
	bool own;
	bool hidden; /* one that is awaited is dead and not reaped yet: others may be behind it */
	bool left;   /* there are some that only `own` would take */
};
int proc_reap_orphans(struct proc_search *s);

/* Orphans below us become our children. */
int proc_subreaper(void);
/* Lead a process group of our own. Done already is success. */
int proc_lead_group(void);
/*
 * For a forked Lua child: when its master dies, end at most `seconds` later, even
 * if the loop never turns again, and with it what it looks after and its own group. -ESRCH:
 * the master is already gone.
 */
int proc_master_death(double seconds, pid_t master);
/*
 * Let these listening sockets go soon after that even where the loop is stuck, so that a new master
 * can bind: in place of what it was told before, none with n = 0. To be told before they are
 * closed.
 */
void proc_let_go_at_master_death(const int *fds, size_t n);
/* It has died, and we are to end with it. */
bool proc_is_orphan(void);
/* KILL our own process group, this process with it; nothing where another leads it. */
void proc_end_group(void);
/* Live on without it: takes that back, an end already set in motion too. */
void proc_forgive_master_death(void);
/* Who forked us, as proc_fork saw it; where it was no brood, getppid(). */
pid_t proc_parent(void);
/* Whether it was proc_fork that made this process, itself and not its parent. */
bool proc_was_forked(void);

#endif
