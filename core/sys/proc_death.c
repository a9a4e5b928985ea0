/*
 * proc_death.c - who hears of whose death: orphans that come to us, and the signal when our own
 * master ends.
 */
#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "sys/fd.h"
#include "sys/proc.h"

/* Made when the death is announced for, not when it happens: a signal handler only arms it. */
static struct {
	timer_t timer;
	struct itimerspec after;
	unsigned generation;
	bool made;
} last;

int proc_subreaper(void)
{
	return prctl(PR_SET_CHILD_SUBREAPER, 1) < 0 ? -errno : 0;
}

int proc_set_death_signal(int signum)
{
	return prctl(PR_SET_PDEATHSIG, (unsigned long)signum) < 0 ? -errno : 0;
}

static void on_master_death(int signum)
{
	int saved = errno;

	(void)signum;
	timer_settime(last.timer, 0, &last.after, NULL);
	errno = saved;
}

/*
 * KILL, and a timer of our own: nothing that Lua does with signals, masks or
 * alarm() can lose it. Timers do not pass through a fork, so each child makes its own.
 */
static int make_timer(void)
{
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGKILL };

	if (last.made && last.generation == fork_generation())
		return 0;
	if (timer_create(CLOCK_MONOTONIC, &event, &last.timer) < 0)
		return -errno;
	last.made = true;
	last.generation = fork_generation();
	return 0;
}

void proc_forgive_master_death(void)
{
	struct itimerspec never = { 0 };

	proc_set_death_signal(0);
	signal(SIGPWR, SIG_IGN);
	if (last.made && last.generation == fork_generation())
		timer_settime(last.timer, 0, &never, NULL);
}

int proc_master_death(double seconds, pid_t master)
{
	struct sigaction action = { .sa_handler = on_master_death, .sa_flags = SA_RESTART };
	int err = make_timer();

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
