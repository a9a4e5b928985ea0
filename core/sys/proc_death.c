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

#define LISTENERS_MAX 1024
#define HEAR_NS       200000000L /* how long the loop has to hear of it by itself */

/* Made when the death is announced for, not when it happens: a signal handler only arms them. */
static struct {
	timer_t end;  /* KILL */
	timer_t look; /* SIGPWR once more */
	struct itimerspec after;
	unsigned generation;
	bool made;
} last;

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

int proc_set_death_signal(int signum)
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

/*
 * From the kernel: the master is gone. From our own timer: that was a while ago, and where the
 * loop has not closed the listeners since, it is stuck.
 */
static void on_master_death(int signum, siginfo_t *info, void *context)
{
	static const struct itimerspec soon = { .it_value.tv_nsec = HEAR_NS };
	int saved = errno;

	(void)signum;
	(void)context;
	if (info->si_code == SI_TIMER) {
		let_go();
	} else {
		timer_settime(last.end, 0, &last.after, NULL);
		timer_settime(last.look, 0, &soon, NULL);
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
	err = make_timer(&last.end, SIGKILL);
	if (err)
		return err;
	err = make_timer(&last.look, SIGPWR);
	if (err) {
		timer_delete(last.end);
		return err;
	}
	last.made = true;
	last.generation = fork_generation();
	return 0;
}

void proc_forgive_master_death(void)
{
	struct itimerspec never = { 0 };

	proc_set_death_signal(0);
	signal(SIGPWR, SIG_IGN);
	if (last.made && last.generation == fork_generation()) {
		timer_settime(last.end, 0, &never, NULL);
		timer_settime(last.look, 0, &never, NULL);
	}
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
	if (seconds < 0.001)
		seconds = 0.001;
	last.after.it_value.tv_sec = (time_t)seconds;
	last.after.it_value.tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9);
	sigemptyset(&action.sa_mask);
	if (sigaction(SIGPWR, &action, NULL) < 0)
		return -errno;
	err = proc_set_death_signal(SIGPWR);
	if (err)
		return err;
	/* One that died before that sends nothing. */
	return getppid() == master ? 0 : -ESRCH;
}
