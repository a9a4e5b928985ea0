/*
 * slab.c - free lists of equal objects, filled a page or so at a time.
 */
#include "loop/slab.h"

#include <stdlib.h>

#define BATCH 16

void *slab_get(struct slab *slab)
{
	struct slab_entry *entry = slab->free;

	if (!entry) {
		char *batch = calloc(BATCH, slab->size);

		if (!batch)
			return NULL;
		for (size_t i = 0; i < BATCH; i++)
			slab_put(slab, batch + i * slab->size);
		entry = slab->free;
	}
	slab->free = entry->next;
	return (char *)entry - slab->link;
}

void slab_put(struct slab *slab, void *object)
{
	struct slab_entry *entry = (void *)((char *)object + slab->link);

	entry->next = slab->free;
	slab->free = entry;
}
