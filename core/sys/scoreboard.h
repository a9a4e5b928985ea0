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
	uint64_t accepted;        /* connections taken in all */
	uint64_t accepting;       /* not 0 while it may be woken for new ones */
	uint64_t active;          /* requests in flight */
	uint64_t linger;          /* told to go, it may keep idle connections for a while */
	uint64_t turn_started;    /* ns, when the loop's present turn began; 0 while it waits */
	uint64_t state;           /* as its owner likes */
	uint64_t request_started; /* ns, of the request that ran last */
	uint64_t in_request;      /* whether that was in the present turn */
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

struct scoreboard_siblings {
	size_t count;
	uint64_t least;    /* the connections of who has the fewest */
	uint64_t accepted; /* by all of them */
};

/*
 * The other processes on our scoreboard that take connections, without those whose loop has not
 * turned since then (as turn_started).
 */
struct scoreboard_siblings scoreboard_siblings(uint64_t since);
/* Unmaps it here; other processes keep theirs. NULL is legal. */
void scoreboard_free(struct scoreboard *sb);

/*
 * The loop's turn, for whoever watches that it ends: Lua begins to run (at `now`, in ns), and
 * the loop is about to wait again. Without a slot they do nothing.
 */
void scoreboard_turn_begin(uint64_t now);
void scoreboard_turn_end(void);

/* What the process works on, for whoever finds it stuck: "<method> <path>", cut to fit. */
void scoreboard_request(struct scoreboard_slot *slot, uint64_t now, const char *method,
			size_t method_size, const char *path, size_t path_size);

#endif
