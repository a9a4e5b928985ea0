/*
 * accept_turn.h - who of several processes that share a queue of connections is to take the
 * next ones: decisions from what they write on the scoreboard, and no system calls.
 */
#ifndef LOOP_ACCEPT_TURN_H
#define LOOP_ACCEPT_TURN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct accept_turn {
	/* Others may take from the same queues. */
	bool shared;
	/* This one counts on the scoreboard as open. */
	bool open;
	/* At the end of this turn of the loop we look whether we have more than the others. */
	bool asked;
	/* Taken since we last went to the end of the line: all we know without a scoreboard. */
	unsigned since;
	/* We stepped aside, when the others had taken so many in all. */
	bool aside;
	uint64_t others;
};

enum accept_verdict {
	TURN_STAY,
	TURN_ASK,   /* accept_turn_passed, when this turn of the loop has ended */
	TURN_TAIL,  /* to the end of the line */
	TURN_ASIDE, /* out of it for a moment */
};

/* Tell the others whether we may be woken. */
void accept_turn_open(struct accept_turn *t, bool open);
/* A connection was taken. */
void accept_turn_count(void);
/* So many were taken in this wake-up: another one? */
bool accept_turn_more(struct accept_turn *t, size_t taken);
/* None more in this wake-up. */
enum accept_verdict accept_turn_taken(struct accept_turn *t);
/* Whether to go to the end of the line after all. */
bool accept_turn_passed(struct accept_turn *t);

#endif
