/*
 * shim_rules.c - a shim for LD_PRELOAD that makes chosen system calls fail, so that specs can try
 * every call site. It knows nothing of brood, and counts in memory shared by all forks of the
 * process it is loaded into. Driven by spec/support/faults.lua.
 *
 *   BROOD_FAULT="pipe2:EMFILE:3,write:EINTR:1+"   the 3rd pipe2 fails, and every write from the 1st
 * on; a number for the errno is fine; SHORT, for reads and writes, passes on one byte;
 * KILL ends the process in place of the call;
 * "fork:EAGAIN:2-4" is a range BROOD_FAULT_COUNTS=file     where the counts are kept, as "struct
 * count"s by enum call BROOD_FAULT_WAIT=1      count and fail nothing until fault_arm(), which a
 * script calls by LuaJIT's ffi BROOD_FAULT_EXEC=1      stay loaded in programs it executes; else
 * LD_PRELOAD and these are taken from the environment
 *
 * What goes through libc's functions is seen, syscall() and clone() included; what libc calls
 * inside itself (stdio, malloc's own mmap) is not. Private anonymous maps are not counted as mmap,
 * unless for a stack: they are LuaJIT's heap.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "shim.h"

static const char *const call_names[] = {
#define X(name) #name,
	CALLS(X)
#undef X
};

struct count {
	char name[32];
	_Atomic uint64_t calls;
	_Atomic uint64_t failed;
};

struct rule {
	enum call call;
	int err;
	uint64_t from;
	uint64_t to;
};

enum { RULES = 16 };

static struct count private_counts[CALL_COUNT];
static struct count *counts = private_counts;
static struct rule rules[RULES];
static size_t rule_count;
static bool armed;

void *next(const char *name)
{
	void *found = dlsym(RTLD_NEXT, name);

	if (!found) {
		dprintf(2, "faults: no %s in libc\n", name);
		abort();
	}
	return found;
}

static int call_by_name(const char *name, size_t len)
{
	for (int i = 0; i < CALL_COUNT; i++)
		if (strlen(call_names[i]) == len && !memcmp(call_names[i], name, len))
			return i;
	return -1;
}

static int errno_by_name(const char *name, size_t len)
{
	if (len == 5 && !memcmp(name, "SHORT", 5))
		return SHORT;
	if (len == 4 && !memcmp(name, "KILL", 4))
		return DIE;
	for (int i = 1; i < 256; i++) {
		const char *known = strerrorname_np(i);

		if (known && strlen(known) == len && !memcmp(known, name, len))
			return i;
	}
	return atoi(name);
}

/* One "call:errno:n", "n+" or "n-m", up to the next comma; NULL where it makes no sense. */
static const char *rule_parse(const char *text, struct rule *rule)
{
	size_t len = strcspn(text, ":");
	int call = call_by_name(text, len);
	char *end;

	if (call < 0 || text[len] != ':')
		return NULL;
	text += len + 1;
	len = strcspn(text, ":,");
	rule->call = (enum call)call;
	rule->err = errno_by_name(text, len);
	if (!rule->err || text[len] != ':')
		return NULL;
	rule->from = rule->to = strtoull(text + len + 1, &end, 10);
	if (*end == '+') {
		rule->to = UINT64_MAX;
		end++;
	} else if (*end == '-') {
		rule->to = strtoull(end + 1, &end, 10);
	}
	return *end == ',' ? end + 1 : *end ? NULL : end;
}

/* A typing mistake must not make a spec pass: it ends the process. */
static void rules_set(const char *text)
{
	const char *at = text;

	for (rule_count = 0; at && *at && rule_count < RULES; rule_count++)
		at = rule_parse(at, &rules[rule_count]);
	if (!at || *at) {
		dprintf(2, "faults: cannot read '%s'\n", text);
		_exit(125);
	}
}

void fault_arm(const char *text)
{
	if (text)
		rules_set(text);
	for (int i = 0; i < CALL_COUNT; i++)
		counts[i].calls = counts[i].failed = 0;
	armed = true;
}

void fault_disarm(void)
{
	armed = false;
}

uint64_t fault_calls(const char *name)
{
	int call = call_by_name(name, strlen(name));

	return call < 0 ? 0 : counts[call].calls;
}

static void counts_share(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	void *map = MAP_FAILED;

	if (fd >= 0 && !ftruncate(fd, sizeof private_counts))
		map = mmap(NULL, sizeof private_counts, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED) {
		dprintf(2, "faults: %s: %s\n", path, strerror(errno));
		_exit(125);
	}
	close(fd);
	counts = map;
}

static void environment_clean(void)
{
	static const char *const ours[] = { "LD_PRELOAD", "BROOD_FAULT", "BROOD_FAULT_COUNTS",
					    "BROOD_FAULT_WAIT", "BROOD_FAULT_EXEC" };

	for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
		unsetenv(ours[i]);
}

__attribute__((constructor)) static void start(void)
{
	const char *path = getenv("BROOD_FAULT_COUNTS");
	const char *text = getenv("BROOD_FAULT");
	bool wait = getenv("BROOD_FAULT_WAIT") != NULL;

	if (path)
		counts_share(path);
	for (int i = 0; i < CALL_COUNT; i++)
		strncpy(counts[i].name, call_names[i], sizeof counts[i].name - 1);
	rules_set(text ? text : "");
	if (!getenv("BROOD_FAULT_EXEC"))
		environment_clean();
	if (!wait)
		fault_arm(NULL);
}

int fault_of(enum call call)
{
	uint64_t n;

	if (!armed)
		return 0;
	n = atomic_fetch_add(&counts[call].calls, 1) + 1;
	for (size_t i = 0; i < rule_count; i++) {
		if (rules[i].call == call && n >= rules[i].from && n <= rules[i].to) {
			atomic_fetch_add(&counts[call].failed, 1);
			if (rules[i].err == DIE)
				syscall(SYS_kill, getpid(), SIGKILL);
			return rules[i].err;
		}
	}
	return 0;
}

bool fails(enum call call)
{
	int err = fault_of(call);

	if (err > 0)
		errno = err;
	return err > 0;
}
