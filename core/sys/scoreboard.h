/*
 * scoreboard.h - counters in memory that a master shares with its children.
 *
 * One slot per process, written by that process alone and read by anyone;
 * there are no locks. It lives until its last user ends.
 */
#ifndef SYS_SCOREBOARD_H
#define SYS_SCOREBOARD_H

#include <stddef.h>
#include <stdint.h>

#define SCOREBOARD_TEXT 128

struct scoreboard_slot {
	uint64_t requests;        /* answered */
	uint64_t connections;     /* open now */
	uint64_t active;          /* requests in flight */
	uint64_t turn_started;    /* ns, when the loop's present turn began; 0 while it waits */
	uint64_t state;           /* as its owner likes */
	uint64_t request_started; /* ns, of the request that ran last */
	char request[SCOREBOARD_TEXT]; /* "GET /path" */
} __attribute__((aligned(64)));

struct scoreboard;

int scoreboard_create(struct scoreboard **out, size_t nslots);
size_t scoreboard_count(const struct scoreboard *sb);
/* NULL beyond the last. */
struct scoreboard_slot *scoreboard_slot(struct scoreboard *sb, size_t index);
/* Clears the slot and makes it this process's own, until it forks: the child has none. */
int scoreboard_attach(struct scoreboard *sb, size_t index);
/* This process's own slot, or NULL. */
struct scoreboard_slot *scoreboard_mine(void);
/* Unmaps it here; other processes keep theirs. NULL is legal. */
void scoreboard_free(struct scoreboard *sb);

/* What the process works on, for whoever finds it stuck: "<method> <path>", cut to fit. */
void scoreboard_request(struct scoreboard_slot *slot, uint64_t now, const char *method,
			size_t method_size, const char *path, size_t path_size);

#endif
