/*
 * heap.c - gives the kernel back the pages of the heap in which nothing lives. LuaJIT's allocator
 * keeps what it has ever had, up to 2 MiB at its end and all that lies further down: a process that
 * has had much to do once, or has loaded what it needs no more, would hold it for ever.
 *
 * It knows nothing of how that allocator works. It asks it for pieces of memory, the largest first,
 * hands the pages in them to the kernel, to whom they are zeros from then on, and frees the pieces
 * again. A piece of which no page was in use tells that it is fresh, or has been here before.
 */
#include "bind/heap.h"

#include <malloc.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
	LARGEST = 256, /* pages, as all sizes here */
	LARGE = 33,    /* from here on what is fresh is unmapped again when it is freed */
	FINE = 9,      /* up to here every size is tried */
	SMALLEST = 2,
	EMPTY_MAX = 2, /* pieces of a large size without a page in use: no more are looked for */
	PIECES_MAX = 1024, /* a heap in crumbs is not worth more of anybody's time */
	OVERHEAD = 32,     /* what the allocator keeps of a piece for itself, at most */
};

struct piece {
	struct piece *next;
	size_t size;
};

struct heap {
	lua_Alloc alloc;
	void *ud;
	size_t page;
	size_t count;
	struct piece *pieces;
};

static bool is_resident(char *from, size_t pages, size_t page)
{
	unsigned char present[LARGEST];

	if (mincore(from, pages * page, present))
		return false;
	for (size_t i = 0; i < pages; i++) {
		if (present[i] & 1)
			return true;
	}
	return false;
}

/* The whole pages of a piece, behind its own head. Returns whether any was in use. */
static bool give_back(const struct heap *heap, struct piece *piece)
{
	uintptr_t from = ((uintptr_t)(piece + 1) + heap->page - 1) / heap->page * heap->page;
	uintptr_t to = ((uintptr_t)piece + piece->size) / heap->page * heap->page;

	if (from >= to || !is_resident((char *)from, (to - from) / heap->page, heap->page))
		return false;
	return !madvise((void *)from, to - from, MADV_DONTNEED);
}

static void release_size(struct heap *heap, size_t pages)
{
	size_t size = pages * heap->page - OVERHEAD;
	int empty = pages >= LARGE ? EMPTY_MAX : 1;

	while (heap->count < PIECES_MAX) {
		struct piece *piece = heap->alloc(heap->ud, NULL, 0, size);

		if (!piece)
			return;
		piece->size = size;
		if (!give_back(heap, piece) && --empty == 0) {
			heap->alloc(heap->ud, piece, size, 0);
			return;
		}
		piece->next = heap->pieces;
		heap->pieces = piece;
		heap->count++;
	}
}

static void release_all(struct heap *heap)
{
	heap->count = 0;
	for (size_t pages = LARGEST; pages > LARGE; pages /= 2)
		release_size(heap, pages);
	for (size_t pages = LARGE; pages >= SMALLEST; pages -= pages > FINE ? 4 : 1)
		release_size(heap, pages);
	while (heap->pieces) {
		struct piece *piece = heap->pieces;

		heap->pieces = piece->next;
		heap->alloc(heap->ud, piece, piece->size, 0);
	}
}

void heap_release(lua_State *L)
{
	struct heap heap = { .page = (size_t)sysconf(_SC_PAGESIZE) };

	heap.alloc = lua_getallocf(L, &heap.ud);
	release_all(&heap);
	release_all(&heap); /* the pages where the heads of the first pieces were */
	malloc_trim(0);
}
