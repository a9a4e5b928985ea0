/*
 * cpus.c - the processors that affinity and the cgroup's cpu quota leave us.
 */
#include "sys/cpus.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>

static int cpus_affinity(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set))
		return 1;
	return CPU_COUNT(&set);
}

/* The quota of one cgroup v2 directory: "max 100000" or "150000 100000". 0 when there is none. */
static int quota_of(const char *dir)
{
	char path[4200];
	long long quota, period;
	int found;
	FILE *f;

	snprintf(path, sizeof(path), "/sys/fs/cgroup%s/cpu.max", dir);
	f = fopen(path, "re");
	if (!f)
		return 0;
	found = fscanf(f, "%lld %lld", &quota, &period);
	fclose(f);
	if (found != 2 || quota <= 0 || period <= 0)
		return 0;
	return (int)((quota + period - 1) / period);
}

/* The smallest quota on the way from our cgroup up to the root: each of them binds. */
static int cpus_quota(void)
{
	char line[4096], *dir = NULL;
	FILE *f = fopen("/proc/self/cgroup", "re");
	int least = 0;

	if (!f)
		return 0;
	while (!dir && fgets(line, sizeof(line), f)) {
		if (strncmp(line, "0::", 3) == 0)
			dir = line + 3;
	}
	fclose(f);
	if (!dir)
		return 0;
	dir[strcspn(dir, "\n")] = '\0';
	for (;;) {
		int quota = quota_of(strcmp(dir, "/") == 0 ? "" : dir);
		char *slash = strrchr(dir, '/');

		if (quota > 0 && (least == 0 || quota < least))
			least = quota;
		if (!slash || dir[0] == '\0')
			return least;
		*slash = '\0';
	}
}

int cpus_available(void)
{
	int cpus = cpus_affinity();
	int quota = cpus_quota();

	return quota > 0 && quota < cpus ? quota : cpus;
}
