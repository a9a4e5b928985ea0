/*
 * job_slot.h - what a lane's two ends share: one word that says how many jobs the master has
 * allowed and the worker claimed, and what the worker does now.
 *
 *   word = generation:16 | claimed:24 | allowed:24
 *
 * The master alone raises and lowers `allowed` and begins generations, the worker alone raises
 * `claimed`, each by compare-and-swap of the whole word. So a job is either claimed or taken back,
 * never both, whichever comes first; and it needs no message.
 *
 * Each job handed out has a ticket, one more than that of the one before, and `claimed` is the
 * ticket of the last one begun. Both counters wrap: only their difference counts, which is at most
 * SLOT_ALLOWED_MAX. Taking back lowers `allowed` to `claimed` and begins a generation: the tickets
 * above are given out again, to other jobs, and what still lies in the worker or on the way to it
 * is of a former generation and not claimed any more.
 *
 * A generation comes again after 65536 of them. What is on the way from the master to one worker
 * arrives in order: once a job of some generation is claimed, all older ones are gone. A lane gives
 * out nothing in a generation 60000 ones away from the last that was seen claimed, so that no job
 * of the same generation number is ever still on its way.
 *
 * A slot is used again only when its worker has been reaped, which the caller promises. If that
 * worker were alive after all, its jobs were of an older generation.
 */
#ifndef LOOP_JOB_SLOT_H
#define LOOP_JOB_SLOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SLOT_MASK        0xffffffu
#define SLOT_ALLOWED_MAX (1u << 20)
#define SLOT_COUNT_MAX   65535

/* Its own cache line; in a mapping that forks share. */
struct job_slot {
	uint64_t word;
	/* By the worker, before each claim: seconds (the bits of a double), and which job. */
	uint64_t started;
	uint64_t seq;
} __attribute__((aligned(64)));

struct job_word {
	uint16_t generation;
	uint32_t claimed, allowed;
};

/* The master's: slots by number from 1. */
struct job_slots {
	struct job_slot **pages;
	size_t count;
	uint16_t *spare; /* those that were freed; room for all */
	size_t spares;
};

/* Have pages for n of them, as far as there is memory: what is forked from now on shares them. */
void slots_prepare(struct job_slots *all, size_t n);
/* A slot of nobody else's, or 0 without memory (or with 65535 in use). */
unsigned slots_get(struct job_slots *all);
void slots_put(struct job_slots *all, unsigned number);
struct job_slot *slots_at(const struct job_slots *all, unsigned number);
/* Unmapped here; children keep theirs. */
void slots_clear(struct job_slots *all);

/* All that was claimed, and what it says of it, is seen with it. */
struct job_word slot_read(const struct job_slot *slot);

/* The master's: allow n more. */
void slot_raise(struct job_slot *slot, uint32_t n);
/* The master's: allow no more than is claimed, in a new generation; what it is then. */
struct job_word slot_lower(struct job_slot *slot);

/* The worker's: begin that job now; false where it was taken back. */
bool slot_claim(struct job_slot *slot, uint16_t generation, uint32_t ticket, uint64_t seq,
		double now);

#endif
