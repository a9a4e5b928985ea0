/*
 * nice.c - the niceness of a process that must be quick when all processors are busy, as it is what
 * relieves them. Its children are to have none of that.
 */
#include "sys/nice.h"

#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <sys/resource.h>

/* Whether the niceness that this process has is one that it gave itself. */
static bool ours;

static bool is_as_usual(void)
{
	return sched_getscheduler(0) == SCHED_OTHER && getpriority(PRIO_PROCESS, 0) == 0;
}

int nice_self(int niceness)
{
	const struct sched_param none = { 0 };

	if (!ours && !is_as_usual())
		return -EBUSY;
	/* First, so that none is forked that would keep it. */
	if (sched_setscheduler(0, SCHED_OTHER | SCHED_RESET_ON_FORK, &none) < 0 ||
	    setpriority(PRIO_PROCESS, 0, niceness) < 0)
		return -errno;
	ours = true;
	return 0;
}
