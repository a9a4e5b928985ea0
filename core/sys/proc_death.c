/*
 * proc_death.c - who hears of whose death: orphans that come to us, and the signal when our own
 * master ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "sys/fd.h"
#include "sys/proc.h"
#include "sys/proc_wards.h"

#define LISTENERS_MAX 1024
#define HEAR_S        0.2 /* how long the loop has to hear of it by itself */
#define END_S         1   /* how long the end may take, when the time for a good one is over */

/* Made when the death is announced for, not when it happens: a signal handler only arms them. */
static struct {
	timer_t kill; /* KILL */
	timer_t look; /* SIGPWR once more */
	double patience;
	unsigned generation;
	bool made;
	volatile bool heard;
} last;

/* In a process of this generation, it lives on alone; 0 is the first process, which has no master.
 */
static unsigned forgiven;

/* What a successor wants to bind, and this process holds. */
static struct {
	int fds[LISTENERS_MAX];
	volatile size_t count;
	unsigned generation; /* in a child of this process the numbers are others' */
} listeners;

int proc_subreaper(void)
{
	return prctl(PR_SET_CHILD_SUBREAPER, 1) < 0 ? -errno : 0;
}

/* A signal for us when the thread that made us ends. After dropping privileges: setgid clears it.
 */
static int set_death_signal(int signum)
{
	return prctl(PR_SET_PDEATHSIG, (unsigned long)signum) < 0 ? -errno : 0;
}

/* Something else stands in for each, so that its number is nobody's until the loop turns again. */
static void let_go(void)
{
	int nothing;

	if (listeners.generation != fork_generation())
		return;
	nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
	for (size_t i = 0; i < listeners.count; i++) {
		if (nothing >= 0)
			dup3(nothing, listeners.fds[i], O_CLOEXEC);
		else
			close(listeners.fds[i]);
	}
	listeners.count = 0;
	if (nothing >= 0)
		close(nothing);
}

static void arm(timer_t timer, double seconds)
{
	struct itimerspec after = { .it_value.tv_sec = (time_t)seconds };

	after.it_value.tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9);
	timer_settime(timer, 0, &after, NULL);
}

void proc_end_group(void)
{
	/* Where the group is another's, so are those in it. */
	if (getpgrp() == getpid())
		kill(0, SIGKILL);
}

/*
 * From the kernel: the master is gone. From our own timer, the first time: that was a while ago,
 * and where the loop has not closed the listeners since, it is stuck; the second time: whatever it
 * still does has taken too long. Nobody else would end what we look after, and our own group.
 */
static void on_master_death(int signum, siginfo_t *info, void *context)
{
	double hear = last.patience < HEAR_S ? last.patience / 2 : HEAR_S;
	int saved = errno;

	(void)signum;
	(void)context;
	if (info->si_code != SI_TIMER) {
		last.heard = false;
		arm(last.kill, last.patience + END_S);
		arm(last.look, hear);
	} else if (!last.heard) {
		last.heard = true;
		let_go();
		arm(last.look, last.patience - hear);
	} else {
		wards_end_own();
		proc_end_group();
		kill(getpid(), SIGKILL);
	}
	errno = saved;
}

static int make_timer(timer_t *timer, int signum)
{
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = signum };

	return timer_create(CLOCK_MONOTONIC, &event, timer) < 0 ? -errno : 0;
}

/*
 * KILL, and timers of our own: nothing that Lua does with signals, masks or
 * alarm() can lose it. Timers do not pass through a fork, so each child makes its own.
 */
static int make_timers(void)
{
	int err;

	if (last.made && last.generation == fork_generation())
		return 0;
	err = make_timer(&last.kill, SIGKILL);
	if (err)
		return err;
	err = make_timer(&last.look, SIGPWR);
	if (err) {
		timer_delete(last.kill);
		return err;
	}
	last.made = true;
	last.generation = fork_generation();
	return 0;
}

void proc_forgive_master_death(void)
{
	struct itimerspec never = { 0 };

	forgiven = fork_generation();
	set_death_signal(0);
	signal(SIGPWR, SIG_IGN);
	if (last.made && last.generation == fork_generation()) {
		timer_settime(last.kill, 0, &never, NULL);
		timer_settime(last.look, 0, &never, NULL);
	}
}

bool proc_is_orphan(void)
{
	/* A fork that was not ours has a master that we do not know of. */
	return proc_was_forked() && getppid() != proc_parent() && forgiven != fork_generation();
}

void proc_let_go_at_master_death(const int *fds, size_t n)
{
	if (n > LISTENERS_MAX)
		n = LISTENERS_MAX;
	listeners.count = 0;
	memcpy(listeners.fds, fds, n * sizeof(*fds));
	listeners.generation = fork_generation();
	listeners.count = n;
}

int proc_master_death(double seconds, pid_t master)
{
	struct sigaction action = { .sa_sigaction = on_master_death,
				    .sa_flags = SA_RESTART | SA_SIGINFO };
	int err = make_timers();

	if (err)
		return err;
	/* Zero would disarm it. */
	last.patience = seconds < 0.002 ? 0.002 : seconds;
	sigemptyset(&action.sa_mask);
	if (sigaction(SIGPWR, &action, NULL) < 0)
		return -errno;
	err = set_death_signal(SIGPWR);
	if (err)
		return err;
	/* One that died before that sends nothing. */
	return getppid() == master ? 0 : -ESRCH;
}
