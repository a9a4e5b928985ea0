/*
 * stop_signal.c - a worker outlives TTIN and TTOU, which are meant for its master.
 *
 * They are caught and not ignored, so that an exec resets them. But a read or write of a terminal
 * that sends them is begun anew when a handler returns, and for ever: only where they are ignored
 * does it come to an end. So the terminal's first one turns the handler into that.
 */
#include "sys/stop_signal.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>

static const int stops[] = { SIGTTIN, SIGTTOU };

static void on_stop_signal(int signum, siginfo_t *info, void *context)
{
	struct sigaction ignore = { .sa_handler = SIG_IGN };

	(void)context;
	if (info->si_code == SI_KERNEL)
		sigaction(signum, &ignore, NULL);
}

int stop_signals_pass(void)
{
	struct sigaction action = { .sa_sigaction = on_stop_signal,
				    .sa_flags = SA_RESTART | SA_SIGINFO };

	sigemptyset(&action.sa_mask);
	for (size_t i = 0; i < sizeof(stops) / sizeof(*stops); i++)
		if (sigaction(stops[i], &action, NULL) < 0)
			return -errno;
	return 0;
}
