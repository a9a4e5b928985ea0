/*
 * job_index.c - open addressing with one word per slot: the job's address, and 16 bits of its
 * number's hash in those that an address has no use for.
 */
#include "loop/job_index.h"

#include <errno.h>
#include <stdbool.h>

#include "loop/arena.h"

#define BITS_MIN 9 /* one page */
#define GRAVE    1 /* a job was here; searches go on */
#define MOVES    16
#define ADDRESS  (((uint64_t)1 << 48) - 1)

static size_t slots_of(unsigned bits)
{
	return (size_t)1 << bits;
}

/* Eight neighbours share a cache line: numbers mostly come, and go, in a row. */
static size_t home(uint64_t seq, unsigned bits)
{
	uint64_t line = ((seq >> 3) * 0x9e3779b97f4a7c15u) >> (64 - (bits - 3));

	return (size_t)(line << 3 | (seq & 7));
}

static uint64_t tag(uint64_t seq)
{
	return (seq * 0xd6e8feb86659fd93u) & ~ADDRESS;
}

static struct job *job_at(uint64_t slot)
{
	return (struct job *)(uintptr_t)(slot & ADDRESS);
}

static uint64_t *search(uint64_t *slots, unsigned bits, uint64_t seq)
{
	uint64_t mine = tag(seq);

	for (size_t i = home(seq, bits);; i = (i + 1) & (slots_of(bits) - 1)) {
		uint64_t slot = slots[i];

		if (slot == 0)
			return NULL;
		if ((slot & ~ADDRESS) == mine && slot != GRAVE && job_at(slot)->seq == seq)
			return &slots[i];
	}
}

struct job *index_find(const struct job_index *ix, uint64_t seq)
{
	uint64_t *slot = ix->slots ? search(ix->slots, ix->bits, seq) : NULL;

	if (!slot && ix->old)
		slot = search(ix->old, ix->old_bits, seq);
	return slot ? job_at(*slot) : NULL;
}

static void insert(struct job_index *ix, struct job *job)
{
	size_t i = home(job->seq, ix->bits);

	while (ix->slots[i] > GRAVE)
		i = (i + 1) & (slots_of(ix->bits) - 1);
	ix->used += ix->slots[i] == 0;
	ix->slots[i] = (uint64_t)(uintptr_t)job | tag(job->seq);
}

static void move(struct job_index *ix, size_t n)
{
	if (!ix->old)
		return;
	for (; n > 0 && ix->moved < slots_of(ix->old_bits); n--) {
		uint64_t *slot = &ix->old[ix->moved++];

		if (*slot > GRAVE) {
			insert(ix, job_at(*slot));
			*slot = GRAVE;
		}
	}
	if (ix->moved < slots_of(ix->old_bits))
		return;
	arena_pages_free(ix->old, slots_of(ix->old_bits) * sizeof(*ix->old));
	ix->old = NULL;
}

/* Begin to move into a table of that size. */
static int change(struct job_index *ix, unsigned bits)
{
	uint64_t *slots = arena_pages(slots_of(bits) * sizeof(*slots));

	if (!slots)
		return -ENOMEM;
	move(ix, SIZE_MAX);
	ix->old = ix->slots;
	ix->old_bits = ix->bits;
	ix->moved = 0;
	ix->slots = slots;
	ix->bits = bits;
	ix->used = 0;
	return 0;
}

/*
 * A table that becomes too full is followed by one of which the jobs take 3/8 at most, so that all
 * have moved long before that one is full. Without memory the present one is filled up to its last
 * sixteenth.
 */
static int make_room(struct job_index *ix)
{
	unsigned bits = BITS_MIN;

	if (ix->slots && ix->used < slots_of(ix->bits) / 4 * 3)
		return 0;
	while (ix->jobs + 1 > slots_of(bits) / 8 * 3)
		bits++;
	if (ix->slots && bits + 2 < ix->bits)
		bits = ix->bits - 2;
	if (change(ix, bits) == 0 ||
	    (ix->slots && !ix->old && ix->used < slots_of(ix->bits) / 16 * 15))
		return 0;
	return -ENOMEM;
}

int index_add(struct job_index *ix, struct job *job)
{
	int err = make_room(ix);

	if (err)
		return err;
	insert(ix, job);
	ix->jobs++;
	move(ix, MOVES);
	return 0;
}

/* Before an empty slot no search needs a grave. */
static void bury(struct job_index *ix, size_t i)
{
	size_t mask = slots_of(ix->bits) - 1;

	ix->slots[i] = GRAVE;
	if (ix->slots[(i + 1) & mask] != 0)
		return;
	for (; ix->slots[i] == GRAVE; i = (i - 1) & mask) {
		ix->slots[i] = 0;
		ix->used--;
	}
}

void index_remove(struct job_index *ix, const struct job *job)
{
	uint64_t *slot = search(ix->slots, ix->bits, job->seq);

	if (slot)
		bury(ix, (size_t)(slot - ix->slots));
	else
		*search(ix->old, ix->old_bits, job->seq) = GRAVE;
	ix->jobs--;
	if (ix->jobs == 0 && ix->bits > BITS_MIN) {
		index_clear(ix);
		return;
	}
	move(ix, MOVES);
	/* Where there is no memory to become smaller, a later one tries again. */
	if (!ix->old && ix->bits > BITS_MIN && ix->jobs < slots_of(ix->bits) / 16)
		(void)change(ix, ix->bits - 1);
}

size_t index_mapped(const struct job_index *ix)
{
	size_t slots =
		(ix->slots ? slots_of(ix->bits) : 0) + (ix->old ? slots_of(ix->old_bits) : 0);

	return slots * sizeof(*ix->slots);
}

void index_clear(struct job_index *ix)
{
	if (ix->slots)
		arena_pages_free(ix->slots, slots_of(ix->bits) * sizeof(*ix->slots));
	if (ix->old)
		arena_pages_free(ix->old, slots_of(ix->old_bits) * sizeof(*ix->old));
	*ix = (struct job_index){ 0 };
}
