/*
 * end_signal.c - the handlers in front of the loop's own for TERM and INT: they pass on what
 * comes, and end the process when nothing listens any more.
 *
 * Lua that runs without end keeps the loop from its signals, and only KILL would help. Nothing
 * is tidied up here: it is an end like that one, but the person at the terminal gets it.
 */
#include "sys/end_signal.h"

#include <errno.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE 1 /* seconds */

static const int wanted[] = { SIGTERM, SIGINT };
static struct sigaction loops[2];
static volatile sig_atomic_t waiting;
static struct timespec since;

static void end_by(int signum)
{
	static const char text[] = "brood: Lua does not let go: ended at once by a second signal\n";
	sigset_t set;

	if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
		errno = 0;
	signal(signum, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, signum);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	raise(signum);
	_exit(128 + signum); /* PID 1 survives that */
}

static void on_end_signal(int signum)
{
	struct timespec now;
	int saved = errno;

	clock_gettime(CLOCK_MONOTONIC, &now);
	if (!waiting) {
		since = now;
		waiting = 1;
	} else if (now.tv_sec - since.tv_sec > PATIENCE ||
		   (now.tv_sec - since.tv_sec == PATIENCE && now.tv_nsec >= since.tv_nsec)) {
		end_by(signum);
	}
	for (size_t i = 0; i < sizeof(wanted) / sizeof(*wanted); i++)
		if (wanted[i] == signum)
			loops[i].sa_handler(signum);
	errno = saved;
}

int end_signals_insist(void)
{
	for (size_t i = 0; i < sizeof(wanted) / sizeof(*wanted); i++) {
		struct sigaction ours;

		if (sigaction(wanted[i], NULL, &ours) < 0)
			return -errno;
		/* Nobody listens, or we are in front of it already. */
		if ((ours.sa_flags & SA_SIGINFO) || ours.sa_handler == SIG_DFL ||
		    ours.sa_handler == SIG_IGN || ours.sa_handler == on_end_signal)
			continue;
		loops[i] = ours;
		ours.sa_handler = on_end_signal;
		if (sigaction(wanted[i], &ours, NULL) < 0)
			return -errno;
	}
	return 0;
}

void end_signals_heard(void)
{
	waiting = 0;
}
