/*
 * signame.c - signals by name.
 */
#include "sys/signame.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int signal_by_name(const char *name)
{
	if (strncasecmp(name, "SIG", 3) == 0)
		name += 3;
	for (int i = 1; i < SIGRTMIN; i++) {
		const char *known = sigabbrev_np(i);

		if (known && strcasecmp(known, name) == 0)
			return i;
	}
	if (strcasecmp(name, "CLD") == 0)
		return SIGCHLD;
	if (strcasecmp(name, "IOT") == 0)
		return SIGABRT;
	if (strcasecmp(name, "POLL") == 0)
		return SIGPOLL;
	if (strncasecmp(name, "RTMIN", 5) == 0 && (name[5] == 0 || name[5] == '+')) {
		int n = name[5] ? atoi(name + 6) : 0;

		return n >= 0 && SIGRTMIN + n <= SIGRTMAX ? SIGRTMIN + n : -1;
	}
	return -1;
}

const char *signal_name(int signum, char out[16])
{
	const char *known = signum > 0 ? sigabbrev_np(signum) : NULL;

	if (known)
		snprintf(out, 16, "%s", known);
	else if (signum >= SIGRTMIN && signum <= SIGRTMAX)
		snprintf(out, 16, "RTMIN+%d", signum - SIGRTMIN);
	else
		snprintf(out, 16, "%d", signum);
	return out;
}
