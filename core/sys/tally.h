/*
 * tally.h - a row of numbers in memory that a master shares with its children.
 *
 * What a number means, and who may write it, is its users' agreement; each is read and written
 * whole. There are no locks. It lives until its last user ends.
 */
#ifndef SYS_TALLY_H
#define SYS_TALLY_H

#include <stddef.h>
#include <stdint.h>

struct tally;

/* All 0. Memory is taken by the page, when something is first written there. */
int tally_create(struct tally **out, size_t count);
/* NULL beyond the last. */
int64_t *tally_number(struct tally *t, size_t index);
/* Unmaps it here; other processes keep theirs. NULL is legal. */
void tally_free(struct tally *t);

#endif
