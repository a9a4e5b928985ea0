/*
 * scoreboard.c - the shared mapping, and which slot of it is ours.
 */
#include "sys/scoreboard.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "sys/fd.h"

/* In front of the slots, shared like them. */
struct header {
	uint64_t used; /* slots beyond were never attached */
} __attribute__((aligned(64)));

struct scoreboard {
	size_t count;
	struct header *header;
	struct scoreboard_slot *slots;
};

/* A forked child inherits this pointer: the generation tells that it is its parent's. */
static struct {
	struct scoreboard_slot *slot;
	const struct scoreboard *board;
	unsigned generation;
} mine;

static size_t bytes(size_t nslots)
{
	return sizeof(struct header) + nslots * sizeof(struct scoreboard_slot);
}

int scoreboard_create(struct scoreboard **out, size_t nslots)
{
	struct scoreboard *sb;

	if (nslots == 0 || nslots > SIZE_MAX / 2 / sizeof(struct scoreboard_slot))
		return -EINVAL;
	sb = malloc(sizeof(*sb));
	if (!sb)
		return -ENOMEM;
	sb->count = nslots;
	sb->header = mmap(NULL, bytes(nslots), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			  -1, 0);
	if (sb->header == MAP_FAILED) {
		int err = -errno;

		free(sb);
		return err;
	}
	sb->slots = (struct scoreboard_slot *)(sb->header + 1);
	*out = sb;
	return 0;
}

size_t scoreboard_count(const struct scoreboard *sb)
{
	return sb->count;
}

struct scoreboard_slot *scoreboard_slot(struct scoreboard *sb, size_t index)
{
	return index < sb->count ? &sb->slots[index] : NULL;
}

static void use(struct header *header, uint64_t upto)
{
	uint64_t seen = __atomic_load_n(&header->used, __ATOMIC_RELAXED);

	while (seen < upto && !__atomic_compare_exchange_n(&header->used, &seen, upto, false,
							   __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
}

int scoreboard_attach(struct scoreboard *sb, size_t index)
{
	struct scoreboard_slot *slot = scoreboard_slot(sb, index);

	if (!slot)
		return -EINVAL;
	memset(slot, 0, sizeof(*slot));
	use(sb->header, index + 1);
	mine.slot = slot;
	mine.board = sb;
	mine.generation = fork_generation();
	return 0;
}

struct scoreboard_slot *scoreboard_mine(void)
{
	return mine.generation == fork_generation() ? mine.slot : NULL;
}

struct scoreboard_siblings scoreboard_siblings(uint64_t since)
{
	struct scoreboard_siblings found = { .least = UINT64_MAX };
	const struct scoreboard_slot *self = scoreboard_mine();
	uint64_t used = self ? __atomic_load_n(&mine.board->header->used, __ATOMIC_RELAXED) : 0;

	for (uint64_t i = 0; i < used; i++) {
		const struct scoreboard_slot *slot = &mine.board->slots[i];
		uint64_t began = __atomic_load_n(&slot->turn_started, __ATOMIC_RELAXED);
		uint64_t open = __atomic_load_n(&slot->connections, __ATOMIC_RELAXED);

		if (slot == self || !__atomic_load_n(&slot->accepting, __ATOMIC_RELAXED) ||
		    (began && began < since))
			continue;
		found.count++;
		found.accepted += __atomic_load_n(&slot->accepted, __ATOMIC_RELAXED);
		if (open < found.least)
			found.least = open;
	}
	return found;
}

void scoreboard_free(struct scoreboard *sb)
{
	if (!sb)
		return;
	if (mine.board == sb) {
		mine.slot = NULL;
		mine.board = NULL;
	}
	munmap(sb->header, bytes(sb->count));
	free(sb);
}

void scoreboard_turn_begin(uint64_t now)
{
	struct scoreboard_slot *slot = scoreboard_mine();

	if (slot && slot->turn_started == 0)
		slot->turn_started = now;
}

void scoreboard_turn_end(void)
{
	struct scoreboard_slot *slot = scoreboard_mine();

	if (slot) {
		slot->turn_started = 0;
		slot->in_request = 0;
	}
}

void scoreboard_request(struct scoreboard_slot *slot, uint64_t now, const char *method,
			size_t method_size, const char *path, size_t path_size)
{
	char *to = slot->request;
	size_t room = sizeof(slot->request) - 2;

	if (method_size > room / 2)
		method_size = room / 2;
	if (path_size > room - method_size)
		path_size = room - method_size;
	memcpy(to, method, method_size);
	to[method_size] = ' ';
	memcpy(to + method_size + 1, path, path_size);
	to[method_size + 1 + path_size] = 0;
	slot->request_started = now;
	slot->in_request = 1;
}
