/*
 * job_slot.c - the shared word and its changes, and the pages they are in. It knows no jobs.
 */
#include "loop/job_slot.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE     4096
#define PER_PAGE (PAGE / sizeof(struct job_slot))

_Static_assert(sizeof(struct job_slot) == 64, "a slot is one cache line");

/* ---- the pages ---- */

static int add_page(struct job_slots *all)
{
	size_t n = all->count / PER_PAGE;
	struct job_slot **pages = realloc(all->pages, (n + 1) * sizeof(struct job_slot *));
	uint16_t *spare;
	void *page;

	if (!pages)
		return -ENOMEM;
	all->pages = pages;
	spare = realloc(all->spare, (n + 1) * PER_PAGE * sizeof(*spare));
	if (!spare)
		return -ENOMEM;
	all->spare = spare;
	page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		return -errno;
	pages[n] = page;
	all->count += PER_PAGE;
	for (size_t i = all->count; i > n * PER_PAGE; i--)
		if (i <= SLOT_COUNT_MAX)
			slots_put(all, (unsigned)i);
	return 0;
}

void slots_prepare(struct job_slots *all, size_t n)
{
	while (all->count < n && all->count < SLOT_COUNT_MAX && add_page(all) == 0)
		;
}

unsigned slots_get(struct job_slots *all)
{
	if (all->spares == 0 && (all->count >= SLOT_COUNT_MAX || add_page(all)))
		return 0;
	return all->spare[--all->spares];
}

void slots_put(struct job_slots *all, unsigned number)
{
	all->spare[all->spares++] = (uint16_t)number;
}

struct job_slot *slots_at(const struct job_slots *all, unsigned number)
{
	return &all->pages[(number - 1) / PER_PAGE][(number - 1) % PER_PAGE];
}

void slots_clear(struct job_slots *all)
{
	for (size_t n = 0; n < all->count / PER_PAGE; n++)
		munmap(all->pages[n], PAGE);
	free(all->pages);
	free(all->spare);
	*all = (struct job_slots){ 0 };
}

/* ---- the word ---- */

static struct job_word unpack(uint64_t word)
{
	return (struct job_word){
		.generation = (uint16_t)(word >> 48),
		.claimed = (uint32_t)(word >> 24) & SLOT_MASK,
		.allowed = (uint32_t)word & SLOT_MASK,
	};
}

static uint64_t pack(struct job_word w)
{
	return (uint64_t)w.generation << 48 | (uint64_t)(w.claimed & SLOT_MASK) << 24 |
	       (w.allowed & SLOT_MASK);
}

static bool swap(struct job_slot *slot, uint64_t seen, struct job_word w)
{
	return __atomic_compare_exchange_n(&slot->word, &seen, pack(w), false, __ATOMIC_ACQ_REL,
					   __ATOMIC_RELAXED);
}

struct job_word slot_read(const struct job_slot *slot)
{
	return unpack(__atomic_load_n(&slot->word, __ATOMIC_ACQUIRE));
}

void slot_raise(struct job_slot *slot, uint32_t n)
{
	struct job_word w;
	uint64_t seen;

	do {
		seen = __atomic_load_n(&slot->word, __ATOMIC_ACQUIRE);
		w = unpack(seen);
		w.allowed += n;
	} while (!swap(slot, seen, w));
}

struct job_word slot_lower(struct job_slot *slot)
{
	struct job_word w;
	uint64_t seen;

	do {
		seen = __atomic_load_n(&slot->word, __ATOMIC_ACQUIRE);
		w = unpack(seen);
		w.generation++;
		w.allowed = w.claimed;
	} while (!swap(slot, seen, w));
	return w;
}

bool slot_claim(struct job_slot *slot, uint16_t generation, uint32_t ticket, uint64_t seq,
		double now)
{
	struct job_word w = slot_read(slot);
	uint64_t seen, bits;

	/*
	 * Written first, so that whoever sees the claim sees these too. Should the job be taken
	 * back in between, they tell of a job that is not claimed while none is running: the one
	 * before has ended, or this would not be called.
	 */
	memcpy(&bits, &now, sizeof(bits));
	if (w.generation != generation || w.claimed == w.allowed ||
	    ((w.claimed + 1) & SLOT_MASK) != ticket)
		return false;
	__atomic_store_n(&slot->started, bits, __ATOMIC_RELAXED);
	__atomic_store_n(&slot->seq, seq, __ATOMIC_RELAXED);
	do {
		seen = __atomic_load_n(&slot->word, __ATOMIC_ACQUIRE);
		w = unpack(seen);
		if (w.generation != generation)
			return false;
		w.claimed++;
	} while (!swap(slot, seen, w));
	return true;
}
