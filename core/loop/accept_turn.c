/*
 * accept_turn.c - see accept_turn.h.
 *
 * Going to the end of the line costs two system calls, so it is done by those alone who have
 * more connections open than a sibling, and not before the turn of the loop has ended: a short
 * connection may be closed by then. Where none is idle the line means nothing; whoever gets far
 * ahead of a sibling in a flood steps out of it for a moment after each one it takes.
 */
#include "loop/accept_turn.h"

#include <uv.h>

#include "sys/scoreboard.h"

#define BATCH_MAX 16
/* Without a scoreboard, or with nobody on it, every so many go by. */
#define BLIND_TURN 16
/* A sibling whose loop has not turned for so long is not waited for. */
#define STUCK_NS 5000000

void accept_turn_open(struct accept_turn *t, bool open)
{
	struct scoreboard_slot *slot = scoreboard_mine();

	open = open && t->shared;
	if (slot && open != t->open)
		slot->accepting += open ? 1 : (uint64_t)-1;
	t->open = open;
	t->asked = false;
}

void accept_turn_count(void)
{
	struct scoreboard_slot *slot = scoreboard_mine();

	if (slot)
		slot->accepted++;
}

struct standing {
	bool alone;
	uint64_t mine, least, taken;
};

static struct standing look(void)
{
	struct scoreboard_slot *slot = scoreboard_mine();
	struct scoreboard_siblings others = { 0 };

	if (slot)
		others = scoreboard_siblings(uv_hrtime() - STUCK_NS);
	return (struct standing){ .alone = others.count == 0,
				  .mine = slot ? slot->connections : 0,
				  .least = others.least,
				  .taken = others.accepted };
}

/* Few are counted exactly; among many an eighth does not matter. */
static bool ahead(const struct standing *now)
{
	return now->mine > now->least + now->mine / 8;
}

static bool far_ahead(const struct standing *now)
{
	return now->mine > now->least + now->least / 4 + 4;
}

/* Nobody took any while we stood aside: they cannot, whatever the scoreboard says. */
static bool vainly_aside(const struct accept_turn *t, const struct standing *now)
{
	return t->aside && t->others == now->taken;
}

bool accept_turn_more(struct accept_turn *t, size_t taken)
{
	struct standing now;

	if (taken >= BATCH_MAX)
		return false;
	if (!t->shared)
		return true;
	now = look();
	return now.alone || now.mine <= now.least || vainly_aside(t, &now);
}

enum accept_verdict accept_turn_taken(struct accept_turn *t)
{
	struct standing now;
	bool vainly;

	if (!t->shared)
		return TURN_STAY;
	now = look();
	vainly = vainly_aside(t, &now);
	t->aside = false;
	if (now.alone)
		return ++t->since % BLIND_TURN ? TURN_STAY : TURN_TAIL;
	if (far_ahead(&now) && !vainly) {
		t->aside = true;
		t->others = now.taken;
		return TURN_ASIDE;
	}
	t->asked = ahead(&now);
	return t->asked ? TURN_ASK : TURN_STAY;
}

bool accept_turn_passed(struct accept_turn *t)
{
	struct standing now;

	if (!t->asked)
		return false;
	t->asked = false;
	now = look();
	return !now.alone && ahead(&now);
}
