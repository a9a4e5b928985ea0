/*
 * arena.c - blocks by size out of chunks of 1 MB, each chunk given back when it is empty. It knows
 * nothing of what is in the blocks.
 */
#include "loop/arena.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#define POISON(at, size)   __asan_poison_memory_region(at, size)
#define UNPOISON(at, size) __asan_unpoison_memory_region(at, size)

#include <pthread.h>

/* In the child of a fork the memory is gone, and what is mapped there next is not to be poisoned.
 */
static uintptr_t lowest = UINTPTR_MAX, highest;

static void after_fork(void)
{
	if (lowest < highest)
		UNPOISON((void *)lowest, highest - lowest);
}

static void note_pages(void *pages, size_t size)
{
	uintptr_t at = (uintptr_t)pages;

	if (!highest)
		pthread_atfork(NULL, NULL, after_fork);
	lowest = at < lowest ? at : lowest;
	highest = at + size > highest ? at + size : highest;
}
#else
#define POISON(at, size)     ((void)(at), (void)(size))
#define UNPOISON(at, size)   ((void)(at), (void)(size))
#define note_pages(at, size) ((void)(at), (void)(size))
#endif

#define CHUNK     ((size_t)1 << 20)
#define BLOCK_MAX ((size_t)64 << 10)
#define PAGE      ((size_t)4096)
#define STEP      16
#define STEPS_MAX 1024 /* sizes up to here go in steps */

/* At the beginning of each chunk, which is aligned to its size: a block's chunk is found by mask.
 */
struct arena_chunk {
	struct arena_link all;
	struct arena_link open; /* in its class's list while it has room */
	void *free;             /* blocks that were put back */
	uint32_t block;         /* their size */
	uint32_t used;          /* how many are out */
	uint32_t fresh;         /* from here to the end was never given out */
	uint32_t class;
} __attribute__((aligned(STEP)));

/* In front of a block with a mapping of its own. */
struct big {
	struct arena_link all;
	size_t size; /* of the mapping */
} __attribute__((aligned(STEP)));

#define OWNER(link, type, member) ((type *)((char *)(link)-offsetof(type, member)))

/* ---- lists and pages ---- */

static void link_init(struct arena_link *list)
{
	list->next = list->prev = list;
}

static void link_behind(struct arena_link *list, struct arena_link *link)
{
	link->next = list;
	link->prev = list->prev;
	list->prev->next = link;
	list->prev = link;
}

static void link_remove(struct arena_link *link)
{
	link->prev->next = link->next;
	link->next->prev = link->prev;
}

static size_t in_pages(size_t size)
{
	return (size + PAGE - 1) & ~(PAGE - 1);
}

void *arena_pages(size_t size)
{
	void *pages = mmap(NULL, in_pages(size), PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (pages == MAP_FAILED)
		return NULL;
	if (madvise(pages, in_pages(size), MADV_DONTFORK)) {
		munmap(pages, in_pages(size));
		return NULL;
	}
	note_pages(pages, in_pages(size));
	return pages;
}

void *arena_pages_resize(void *pages, size_t size, size_t new_size)
{
	void *moved = mremap(pages, in_pages(size), in_pages(new_size), MREMAP_MAYMOVE);

	return moved == MAP_FAILED ? NULL : moved;
}

void arena_pages_free(void *pages, size_t size)
{
	if (pages)
		munmap(pages, in_pages(size));
}

/* Mappings follow each other downwards, so that behind one aligned chunk the next is as a rule. */
static void *chunk_map(void)
{
	char *at = arena_pages(CHUNK);
	size_t before;

	if (!at || ((uintptr_t)at & (CHUNK - 1)) == 0)
		return at;
	munmap(at, CHUNK);
	at = arena_pages(2 * CHUNK);
	if (!at)
		return NULL;
	before = (CHUNK - ((uintptr_t)at & (CHUNK - 1))) & (CHUNK - 1);
	if (before)
		munmap(at, before);
	munmap(at + before + CHUNK, CHUNK - before);
	return at + before;
}

static void chunk_unmap(struct arena_chunk *chunk)
{
	UNPOISON(chunk, CHUNK);
	munmap(chunk, CHUNK);
}

/* ---- sizes ---- */

static unsigned class_of(size_t size, uint32_t *block)
{
	unsigned exponent, eighth;

	if (size <= STEPS_MAX) {
		unsigned step = size ? (unsigned)((size - 1) / STEP) : 0;

		*block = (step + 1) * STEP;
		return step;
	}
	exponent = 63 - (unsigned)__builtin_clzll(size - 1);
	eighth = (unsigned)((size - 1) >> (exponent - 3));
	*block = (eighth + 1) << (exponent - 3);
	return STEPS_MAX / STEP + (exponent - 10) * 8 + eighth - 8;
}

/* ---- blocks ---- */

void arena_init(struct arena *a)
{
	*a = (struct arena){ 0 };
	link_init(&a->chunks);
	link_init(&a->bigs);
	for (int i = 0; i < ARENA_CLASSES; i++)
		link_init(&a->open[i]);
}

void arena_clear(struct arena *a)
{
	while (a->chunks.next != &a->chunks) {
		struct arena_chunk *chunk = OWNER(a->chunks.next, struct arena_chunk, all);

		link_remove(&chunk->all);
		chunk_unmap(chunk);
	}
	while (a->bigs.next != &a->bigs) {
		struct big *big = OWNER(a->bigs.next, struct big, all);

		link_remove(&big->all);
		munmap(big, big->size);
	}
	while (a->spare_count > 0)
		chunk_unmap(a->spares[--a->spare_count]);
	arena_init(a);
}

static void *get_big(struct arena *a, size_t size)
{
	size_t whole = in_pages(size + sizeof(struct big));
	struct big *big;

	if (size > SIZE_MAX / 2)
		return NULL;
	big = arena_pages(whole);
	if (!big)
		return NULL;
	big->size = whole;
	link_behind(&a->bigs, &big->all);
	a->mapped += whole;
	return big + 1;
}

static void put_big(struct arena *a, void *block)
{
	struct big *big = (struct big *)block - 1;

	link_remove(&big->all);
	a->mapped -= big->size;
	munmap(big, big->size);
}

static struct arena_chunk *chunk_get(struct arena *a, unsigned class, uint32_t block)
{
	struct arena_chunk *chunk;

	if (a->spare_count > 0) {
		chunk = a->spares[--a->spare_count];
	} else {
		chunk = chunk_map();
		if (!chunk)
			return NULL;
		a->mapped += CHUNK;
	}
	*chunk = (struct arena_chunk){ .block = block, .class = class, .fresh = sizeof(*chunk) };
	POISON(chunk + 1, CHUNK - sizeof(*chunk));
	link_behind(&a->chunks, &chunk->all);
	link_behind(&a->open[class], &chunk->open);
	return chunk;
}

static bool chunk_full(const struct arena_chunk *chunk)
{
	return !chunk->free && chunk->fresh + chunk->block > CHUNK;
}

void *arena_get(struct arena *a, size_t size)
{
	struct arena_chunk *chunk;
	unsigned class;
	uint32_t block;
	void *got;

	if (size > BLOCK_MAX)
		return get_big(a, size);
	class = class_of(size, &block);
	if (a->open[class].next != &a->open[class])
		chunk = OWNER(a->open[class].next, struct arena_chunk, open);
	else
		chunk = chunk_get(a, class, block);
	if (!chunk)
		return NULL;
	if (chunk->free) {
		got = chunk->free;
		UNPOISON(got, block);
		chunk->free = *(void **)got;
	} else {
		got = (char *)chunk + chunk->fresh;
		UNPOISON(got, block);
		chunk->fresh += block;
	}
	chunk->used++;
	if (chunk_full(chunk))
		link_remove(&chunk->open);
	return got;
}

static void chunk_empty(struct arena *a, struct arena_chunk *chunk)
{
	link_remove(&chunk->open);
	link_remove(&chunk->all);
	if (a->spare_count < ARENA_SPARES) {
		a->spares[a->spare_count++] = chunk;
		return;
	}
	a->mapped -= CHUNK;
	chunk_unmap(chunk);
}

void arena_put(struct arena *a, void *block, size_t size)
{
	struct arena_chunk *chunk = (void *)((uintptr_t)block & ~(CHUNK - 1));

	if (size > BLOCK_MAX) {
		put_big(a, block);
		return;
	}
	/* Last in its list: those before it fill up first, and this one has time to empty. */
	if (chunk_full(chunk))
		link_behind(&a->open[chunk->class], &chunk->open);
	*(void **)block = chunk->free;
	chunk->free = block;
	POISON(block, chunk->block);
	if (--chunk->used == 0)
		chunk_empty(a, chunk);
}
