/*
 * slab.h - objects of one size whose memory is never given back: a stale pointer
 * always points at an object of the same type, and a serial in it tells whether
 * it is still the same one.
 */
#ifndef LOOP_SLAB_H
#define LOOP_SLAB_H

#include <stddef.h>

struct slab_entry {
	struct slab_entry *next;
};

struct slab {
	size_t size;
	/* Where in an object the free list may write without touching its serial. */
	size_t link;
	struct slab_entry *free;
};

/* NULL without memory. A new object is zeroed, a reused one is as it was left. */
void *slab_get(struct slab *slab);
void slab_put(struct slab *slab, void *object);

#endif
