/*
 * cpus.h - how many processors this process may use.
 */
#ifndef SYS_CPUS_H
#define SYS_CPUS_H

/* What the affinity mask and the cgroup's quota leave, rounded up; at least 1. */
int cpus_available(void);

#endif
