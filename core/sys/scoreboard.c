/*
 * scoreboard.c - the shared mapping, and which slot of it is ours.
 */
#include "sys/scoreboard.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "sys/fd.h"

struct scoreboard {
	size_t count;
	struct scoreboard_slot *slots;
};

/* A forked child inherits this pointer: the generation tells that it is its parent's. */
static struct {
	struct scoreboard_slot *slot;
	const struct scoreboard *board;
	unsigned generation;
} mine;

int scoreboard_create(struct scoreboard **out, size_t nslots)
{
	struct scoreboard *sb;

	if (nslots == 0 || nslots > SIZE_MAX / 2 / sizeof(struct scoreboard_slot))
		return -EINVAL;
	sb = malloc(sizeof(*sb));
	if (!sb)
		return -ENOMEM;
	sb->count = nslots;
	sb->slots = mmap(NULL, nslots * sizeof(*sb->slots), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (sb->slots == MAP_FAILED) {
		int err = -errno;

		free(sb);
		return err;
	}
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

int scoreboard_attach(struct scoreboard *sb, size_t index)
{
	struct scoreboard_slot *slot = scoreboard_slot(sb, index);

	if (!slot)
		return -EINVAL;
	memset(slot, 0, sizeof(*slot));
	mine.slot = slot;
	mine.board = sb;
	mine.generation = fork_generation();
	return 0;
}

struct scoreboard_slot *scoreboard_mine(void)
{
	return mine.generation == fork_generation() ? mine.slot : NULL;
}

void scoreboard_free(struct scoreboard *sb)
{
	if (!sb)
		return;
	if (mine.board == sb) {
		mine.slot = NULL;
		mine.board = NULL;
	}
	munmap(sb->slots, sb->count * sizeof(*sb->slots));
	free(sb);
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
}
