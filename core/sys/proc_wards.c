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
#define MINDS   0x40000000U /* beside the group's number, which is smaller */
#define DEPTH   8           /* processes below processes that look after others */
/* For those between, in all; each was killed, and is gone in milliseconds where anything runs. */
#define WAITS   2000
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
	return (pid_t)((uint32_t)entry & ~MINDS);
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

void wards_add(pid_t group, bool minds)
{
	pid_t self = getpid();
	uint64_t entry = entry_of(self, group) | (minds ? MINDS : 0);

	if (!record || self == creator)
		return;
	for (uint32_t i = 0; i < ENTRIES; i++) {
		if (entry_at(i) == 0 && swap(i, 0, entry)) {
			use(i + 1);
			return;
		}
	}
}

void wards_remove(pid_t group)
{
	uint64_t entry = entry_of(getpid(), group);

	for (uint32_t i = 0; i < used(); i++)
		if ((entry_at(i) & ~(uint64_t)MINDS) == entry)
			swap(i, entry_at(i), 0);
}

/* 1: one of them is dead, 0: all live, -1: there is none. */
static int look(idtype_t type, pid_t id, int options)
{
	siginfo_t si;
	int rc;

	memset(&si, 0, sizeof(si));
	do
		rc = waitid(type, (id_t)id, &si, WEXITED | WNOHANG | options);
	while (rc < 0 && errno == EINTR);
	return rc < 0 ? -1 : si.si_pid != 0;
}

static bool guardian(pid_t pid)
{
	for (uint32_t i = 0; i < used(); i++)
		if (owner_of(entry_at(i)) == pid)
			return true;
	return false;
}

/* Its own wards come to us once it is dead. */
static void await_end(pid_t pid, struct burial *b)
{
	static const struct timespec moment = { .tv_nsec = WAIT_NS };

	while (b->waits > 0 && look(P_PID, pid, WNOWAIT) == 0) {
		b->waits--;
		nanosleep(&moment, NULL);
	}
}

static bool is_ours(pid_t group, const struct burial *b)
{
	return group > 1 && group != getpgrp() && (b->own || !known_child(group)) &&
	       look(P_PGID, group, WNOWAIT) >= 0;
}

static void bury(pid_t dead, struct burial *b, int depth) /* NOLINT(misc-no-recursion) */
{
	for (uint32_t i = 0; i < used(); i++) {
		uint64_t entry = entry_at(i);
		pid_t group = group_of(entry);

		if (!entry || owner_of(entry) != dead || !swap(i, entry, 0) ||
		    (!b->all && (entry & MINDS)))
			continue;
		if (is_ours(group, b)) {
			kill(-group, SIGKILL);
			if (b->each)
				b->each(group, b->arg);
		}
		if (depth < DEPTH && guardian(group)) {
			await_end(group, b);
			bury(group, b, depth + 1);
		}
	}
}

void wards_end(pid_t dead, bool all, void (*each)(pid_t group, void *arg), void *arg)
{
	struct burial b = { .each = each, .arg = arg, .waits = WAITS, .all = all };

	bury(dead, &b, 0);
}

void wards_end_own(void)
{
	struct burial b = { .waits = WAITS, .own = true, .all = true };

	bury(getpid(), &b, 0);
}

bool wards_left(pid_t group)
{
	int found;

	do
		found = look(P_PGID, group, 0);
	while (found > 0);
	return found == 0;
}
