/*
 * proc_plan.h - what proc_spawn prepares before the clone, and the child's report. Internal to
 * proc_*.c.
 */
#ifndef SYS_PROC_PLAN_H
#define SYS_PROC_PLAN_H

#include <signal.h>
#include <stdint.h>

#include "sys/proc.h"

enum proc_step {
	STEP_START,
	STEP_GROUP,
	STEP_SESSION,
	STEP_FD,
	STEP_NULL,
	STEP_LIMIT,
	STEP_CWD,
	STEP_GROUPS,
	STEP_GID,
	STEP_UID,
	STEP_DEATH_SIGNAL,
	STEP_EXEC,
};

struct proc_plan {
	const struct proc_spec *spec;
	char **candidates; /* paths to try in order, NULL at the end */
	char **sh_argv;    /* for a script without "#!": /bin/sh, a free place, the arguments */
	char *const *env;
	char *listen_pid;    /* where in env the digits go, or NULL */
	struct proc_fd *fds; /* a copy that the child may rewrite */
	int beyond;          /* above every dst, so free to move a src to */
	int needed;          /* above every src: what is from there on is not even copied */
	bool shares_fds;     /* its descriptors are ours until it has made its own copy */
	bool may_share;      /* the child's report: the kernel can make a copy of some of them */
	struct limit nofile; /* the original, when has_nofile */
	bool has_nofile;
	bool keep_ids; /* not root, and told to be who we are */
	pid_t parent;
	uint64_t *ward; /* see wards_reserve */
	uint64_t ward_entry;
	void *memory; /* all of the above in one piece */
	/* The child's report: err is 0 unless `step`, at element `at`, failed. */
	enum proc_step step;
	size_t at;
	int err;
};

/* All memory is taken here: between clone and exec there is none. */
int plan_make(struct proc_plan *plan, const struct proc_spec *spec);
void plan_free(struct proc_plan *plan);
/* The failed step in words. */
void plan_describe(const struct proc_plan *plan, int err, char what[PROC_WHAT]);

/* The kernel's signal set: libc's own calls would leave out the two signals that libc keeps for
 * itself. */
#define SIGNAL_SET_SIZE (_NSIG / 8)
struct signals {
	unsigned long bits[SIGNAL_SET_SIZE / sizeof(unsigned long)];
};

/* In the vfork child: never returns; a failure is in the plan, and the status 127. */
int plan_run(void *plan);

/* In the child of a fork: whose it is, and that it has none yet. */
void proc_begin(pid_t parent);
/* Room for one more known child, so that adding it after the fork cannot fail. */
int known_reserve(void);
void known_forget_all(void);
/* fork(2), by us: those of others are heard of. */
pid_t known_fork(void);
/* Somebody waits for it. */
bool known_child(pid_t pid);
/* Nobody will wait for it: the next proc_reap_orphans does. */
void known_abandon(pid_t pid);

#endif
