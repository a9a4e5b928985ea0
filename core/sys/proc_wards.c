/*
 * proc_wards.c - the record of who looks after which process groups, and the end of those whose
 * guardian is dead.
 *
 * A number in the record is never trusted: a group is killed only while a child of ours is in it,
 * whom nobody but us can reap, so that the number cannot be another's. There are no locks: each
 * entry is one word, written by its owner and taken by whoever buries that one.
 */
#include "sys/proc_wards.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sys/proc_plan.h"

#define ENTRIES 65536
/* Beside the group's number, which is smaller. */
#define MINDS   0x40000000U
#define AWAITED 0x80000000U /* wards_left looks at it until it is empty */
#define FLAGS   (MINDS | AWAITED)
#define DEPTH   8 /* processes below processes that look after others */
/* For the killed ones between, in all, where the loop does not turn any more: half of the time that
 * is left then (END_S in proc_death.c). */
#define WAITS   500
#define WAIT_NS 1000000L

struct record {
	uint32_t used; /* entries beyond were never taken */
	uint64_t entries[ENTRIES];
};

static struct record *record;
static pid_t creator;

struct burial {
	void (*each)(pid_t group, void *arg);
	void *arg;
	int waits;
	bool own; /* our own wards: they are known children */
	bool all;
};

static uint64_t entry_of(pid_t owner, pid_t group)
{
	return (uint64_t)(uint32_t)owner << 32 | (uint32_t)group;
}

static pid_t group_of(uint64_t entry)
{
	return (pid_t)((uint32_t)entry & ~FLAGS);
}

static pid_t owner_of(uint64_t entry)
{
	return (pid_t)(entry >> 32);
}

static uint64_t entry_at(uint32_t i)
{
	return __atomic_load_n(&record->entries[i], __ATOMIC_RELAXED);
}

static bool swap(uint32_t i, uint64_t old, uint64_t new)
{
	return __atomic_compare_exchange_n(&record->entries[i], &old, new, false, __ATOMIC_ACQ_REL,
					   __ATOMIC_RELAXED);
}

static uint32_t used(void)
{
	uint32_t n = record ? __atomic_load_n(&record->used, __ATOMIC_ACQUIRE) : 0;

	return n < ENTRIES ? n : ENTRIES;
}

void wards_share(void)
{
	void *memory;

	if (record)
		return;
	/* Pages that are never touched cost nothing. */
	memory = mmap(NULL, sizeof(*record), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (memory == MAP_FAILED)
		return;
	record = memory;
	creator = getpid();
}

/* What an earlier process of that number left unburied. */
void wards_begin(void)
{
	pid_t self = getpid();

	for (uint32_t i = 0; i < used(); i++) {
		uint64_t entry = entry_at(i);

		if (entry && owner_of(entry) == self)
			swap(i, entry, 0);
	}
}

static void use(uint32_t n)
{
	uint32_t seen = __atomic_load_n(&record->used, __ATOMIC_RELAXED);

	while (seen < n && !__atomic_compare_exchange_n(&record->used, &seen, n, false,
							__ATOMIC_RELEASE, __ATOMIC_RELAXED))
		;
}

static uint64_t *put(uint64_t entry)
{
	for (uint32_t i = 0; i < ENTRIES; i++) {
		if (entry_at(i) == 0 && swap(i, 0, entry)) {
			use(i + 1);
			return &record->entries[i];
		}
	}
	return NULL;
}

/* The flags of one that is there, with a bit that is always set; 0: there is none. */
static uint64_t find(pid_t owner, pid_t group)
{
	uint64_t wanted = entry_of(owner, group);

	for (uint32_t i = 0; i < used(); i++)
		if ((entry_at(i) & ~(uint64_t)FLAGS) == wanted)
			return (entry_at(i) & FLAGS) | 1;
	return 0;
}

void wards_add(pid_t owner, pid_t group, bool minds)
{
	if (record && owner != creator && !find(owner, group))
		put(entry_of(owner, group) | (minds ? MINDS : 0));
}

uint64_t *wards_reserve(uint64_t *entry)
{
	*entry = entry_of(getpid(), 0);
	return record && getpid() != creator ? put(*entry) : NULL;
}

void wards_remove(pid_t group)
{
	uint64_t entry = entry_of(getpid(), group);

	for (uint32_t i = 0; i < used(); i++)
		if ((entry_at(i) & ~(uint64_t)FLAGS) == entry)
			swap(i, entry_at(i), 0);
}

bool wards_awaited(pid_t group)
{
	return find(getpid(), group) & AWAITED;
}

/* 1: one of them is dead, 0: all live, -1: there is none. */
static int look_at(idtype_t type, pid_t id, int options, siginfo_t *si)
{
	int rc;

	memset(si, 0, sizeof(*si));
	do
		rc = waitid(type, (id_t)id, si, WEXITED | WNOHANG | options);
	while (rc < 0 && errno == EINTR);
	return rc < 0 ? -1 : si->si_pid != 0;
}

static int look(idtype_t type, pid_t id, int options)
{
	siginfo_t si;

	return look_at(type, id, options, &si);
}

static bool guardian(pid_t pid)
{
	for (uint32_t i = 0; i < used(); i++)
		if (owner_of(entry_at(i)) == pid)
			return true;
	return false;
}

/* Only then are its own wards our children. Before that its entries are not touched: nobody else
 * could find what they name. */
static bool is_dead(pid_t pid, struct burial *b)
{
	static const struct timespec moment = { .tv_nsec = WAIT_NS };
	int seen;

	while ((seen = look(P_PID, pid, WNOWAIT)) == 0 && b->waits > 0) {
		b->waits--;
		nanosleep(&moment, NULL);
	}
	return seen > 0 || (seen < 0 && kill(pid, 0) < 0 && errno == ESRCH);
}

static bool is_ours(pid_t group, const struct burial *b)
{
	return group > 1 && group != getpgrp() && (b->own || !known_child(group)) &&
	       look(P_PGID, group, WNOWAIT) >= 0;
}

/*
 * What is ours becomes our own ward before it is killed: where we are killed in between, or before
 * it is gone, whoever buries us finds it.
 */
static void take_over(uint32_t i, uint64_t entry, struct burial *b)
{
	pid_t group = group_of(entry);
	bool spared = !b->all && (entry & MINDS), ours = is_ours(group, b);
	uint64_t flags = spared ? MINDS : b->each ? AWAITED : 0;

	swap(i, entry, ours ? entry_of(getpid(), group) | flags : 0);
	if (!ours || spared)
		return;
	kill(-group, SIGKILL);
	if (b->each)
		b->each(group, b->arg);
}

/* One that is not dead yet is buried by whoever reaps it. */
static void bury(pid_t dead, struct burial *b, int depth) /* NOLINT(misc-no-recursion) */
{
	for (uint32_t i = 0; i < used(); i++) {
		uint64_t entry = entry_at(i);
		pid_t group = group_of(entry);

		if (!entry || owner_of(entry) != dead)
			continue;
		take_over(i, entry, b);
		if (group > 1 && group != dead && depth < DEPTH && guardian(group) &&
		    is_dead(group, b))
			bury(group, b, depth + 1);
	}
}

void wards_end(pid_t dead, bool all, void (*each)(pid_t group, void *arg), void *arg)
{
	struct burial b = { .each = each, .arg = arg, .all = all };

	if (dead != getpid())
		bury(dead, &b, 0);
}

void wards_end_own(void)
{
	struct burial b = { .waits = WAITS, .own = true, .all = true };

	bury(getpid(), &b, 0);
}

void wards_reaped(pid_t group)
{
	if (find(getpid(), group) && kill(-group, 0) < 0 && errno == ESRCH)
		wards_remove(group);
}

bool wards_left(pid_t group, void (*each)(pid_t group, void *arg), void *arg)
{
	siginfo_t si;
	int found;

	while ((found = look_at(P_PGID, group, WNOWAIT, &si)) > 0) {
		wards_end(si.si_pid, true, each, arg);
		look(P_PID, si.si_pid, 0);
	}
	if (found < 0)
		wards_remove(group);
	return found == 0;
}
