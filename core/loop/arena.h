/*
 * arena.h - memory for very many small things, in mappings that no child of a fork gets: a
 * process that holds a million of them forks as fast as one without, and its children are as
 * small.
 *
 * The child has none of it: whoever owns an arena sees to it (by fork_generation) that nobody
 * there reads a pointer into one.
 */
#ifndef LOOP_ARENA_H
#define LOOP_ARENA_H

#include <stddef.h>

/* Up to 1 kB in steps of 16 bytes, then eight sizes per doubling; beyond 64 kB each its own map. */
#define ARENA_CLASSES 112
#define ARENA_SPARES  4

struct arena_chunk;

struct arena_link {
	struct arena_link *next, *prev;
};

struct arena {
	struct arena_link open[ARENA_CLASSES];    /* the chunks of each size that have room */
	struct arena_link chunks, bigs;           /* every mapping */
	struct arena_chunk *spares[ARENA_SPARES]; /* empty chunks, so that no job maps and unmaps */
	unsigned spare_count;
	size_t mapped; /* bytes */
};

void arena_init(struct arena *a);
/* Gives all back at once. */
void arena_clear(struct arena *a);

/* Aligned to 16 bytes, not zeroed; NULL without memory. */
void *arena_get(struct arena *a, size_t size);
/* The same size as it was asked for. */
void arena_put(struct arena *a, void *block, size_t size);

/* Whole zeroed pages that a fork does not copy either; NULL without memory. */
void *arena_pages(size_t size);
/* Grown or shrunk, perhaps moved; NULL without memory, and then the old ones are as they were. */
void *arena_pages_resize(void *pages, size_t size, size_t new_size);
/* NULL is legal. */
void arena_pages_free(void *pages, size_t size);

#endif
