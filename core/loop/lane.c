/*
 * lane.c - the list of what a worker was given, claimed ones first, kept in step with the slot. It
 * neither sends nor reads frames, and decides nothing about a job.
 */
#include "loop/lane.h"

#include <stdlib.h>

/* See job_slot.h. */
#define GENERATIONS_MAX 60000

struct lane {
	struct store *store;
	struct job_slot *slot;
	uint16_t number;
	uint16_t generation;
	uint16_t claimed_in; /* the last generation of which a job was claimed */
	uint32_t allowed;    /* the ticket given last */
	struct job_link jobs;
	struct job_link *given; /* the first that is not known to be claimed, or the list's end */
	size_t count;           /* of all */
	size_t open;            /* of those from `given` on */
	size_t ghosts;
};

static int lanes_reserve(struct store *s, size_t number)
{
	struct lane **lanes;
	size_t room = s->lanes_room ? s->lanes_room : 16;

	if (number < s->lanes_room)
		return 0;
	while (room <= number)
		room *= 2;
	lanes = realloc(s->lanes, room * sizeof(struct lane *));
	if (!lanes)
		return -ENOMEM;
	memset(lanes + s->lanes_room, 0, (room - s->lanes_room) * sizeof(struct lane *));
	s->lanes = lanes;
	s->lanes_room = room;
	return 0;
}

int lane_create(struct lane **out, struct store *s)
{
	struct lane *lane = calloc(1, sizeof(*lane));
	unsigned number = lane ? slots_get(&s->slots) : 0;
	struct job_word word;

	if (number == 0)
		goto fail;
	if (lanes_reserve(s, number)) {
		slots_put(&s->slots, number);
		goto fail;
	}
	lane->store = s;
	lane->number = (uint16_t)number;
	lane->slot = slots_at(&s->slots, number);
	/* Whatever a former owner may have left. */
	word = slot_lower(lane->slot);
	lane->generation = lane->claimed_in = word.generation;
	lane->allowed = word.allowed;
	job_link_init(&lane->jobs);
	lane->given = &lane->jobs;
	s->lanes[number] = lane;
	*out = lane;
	return 0;
fail:
	free(lane);
	return -ENOMEM;
}

void lane_free(struct lane *lane)
{
	if (!lane)
		return;
	lane_abandon(lane);
	lane->store->lanes[lane->number] = NULL;
	slots_put(&lane->store->slots, lane->number);
	free(lane);
}

struct job_slot *lane_slot(const struct lane *lane)
{
	return lane->slot;
}

unsigned lane_number(const struct lane *lane)
{
	return lane->number;
}

size_t lane_outstanding(const struct lane *lane)
{
	return lane->count;
}

static void list_remove(struct lane *lane, struct job *job)
{
	job_unlink(&job->link);
	lane->count--;
	lane->ghosts -= job->state == JOB_GHOST;
}

/* ---- what the worker has claimed ---- */

/*
 * A word that only a worker's stray pointer can have written tells nothing: all that it was given
 * then counts as begun, for no job may run twice.
 */
static size_t claims_of(const struct lane *lane, struct job_word word)
{
	size_t open = (word.allowed - word.claimed) & SLOT_MASK;

	if (word.allowed != lane->allowed || word.generation != lane->generation ||
	    open > lane->open)
		return lane->open;
	return lane->open - open;
}

static void advance(struct lane *lane, size_t claims)
{
	if (claims)
		lane->claimed_in = lane->generation;
	for (; claims > 0; claims--) {
		struct job *job = job_of(lane->given);

		if (job->state == JOB_GIVEN)
			job->state = JOB_CLAIMED;
		lane->given = lane->given->next;
		lane->open--;
	}
}

static void look(struct lane *lane)
{
	if (lane->open)
		advance(lane, claims_of(lane, slot_read(lane->slot)));
}

bool lane_running(struct lane *lane, uint64_t *seq, double *started)
{
	uint64_t bits;

	look(lane);
	if (lane->given->prev == &lane->jobs)
		return false;
	*seq = job_of(lane->given->prev)->seq;
	bits = __atomic_load_n(&lane->slot->started, __ATOMIC_RELAXED);
	memcpy(started, &bits, sizeof(bits));
	if (!(*started >= 0))
		*started = 0;
	return true;
}

struct job *lane_next(struct lane *lane, struct job *job)
{
	struct job_link *link = job ? job->link.next : lane->jobs.next;

	while (link != &lane->jobs && job_of(link)->state == JOB_GHOST)
		link = link->next;
	return link == &lane->jobs ? NULL : job_of(link);
}

/* ---- giving ---- */

static int plan_job(struct buffer *frame, const struct lane *lane, size_t n, const struct job *job)
{
	struct wire_job head = {
		.seq = job->seq,
		.size = job->size,
		.ticket = (lane->allowed + (uint32_t)n + 1) & SLOT_MASK,
		.generation = lane->generation,
		.attempt = job->attempt,
	};
	int err = buffer_reserve(frame, sizeof(head) + job->size);

	if (err)
		return err;
	memcpy(frame->data + frame->len, &head, sizeof(head));
	memcpy(frame->data + frame->len + sizeof(head), job->data, job->size);
	frame->len += sizeof(head) + job->size;
	return 0;
}

long lane_plan(struct lane *lane, size_t max)
{
	struct buffer *frame = &lane->store->frame;
	struct job_cursor at;
	size_t n = 0;

	buffer_clear(frame, WIRE_FRAME);
	look(lane);
	if ((uint16_t)(lane->generation - lane->claimed_in) > GENERATIONS_MAX)
		return 0;
	if (max > SLOT_ALLOWED_MAX - lane->open)
		max = SLOT_ALLOWED_MAX - lane->open;
	for (struct job *job = levels_first(&lane->store->levels, &at); job && n < max;
	     job = levels_next(&at)) {
		if (n > 0 && frame->len + sizeof(struct wire_job) + job->size > WIRE_FRAME)
			break;
		if (plan_job(frame, lane, n, job)) {
			/* What fitted goes. */
			if (n == 0)
				return -ENOMEM;
			break;
		}
		n++;
	}
	return (long)n;
}

void lane_give(struct lane *lane, size_t n)
{
	struct store *s = lane->store;

	for (size_t i = 0; i < n; i++) {
		struct job_cursor at;
		struct job *job = levels_first(&s->levels, &at);

		levels_remove(&s->levels, job);
		job->state = JOB_GIVEN;
		job->lane = lane->number;
		job->ticket = lane->allowed = (lane->allowed + 1) & SLOT_MASK;
		job_link_before(&lane->jobs, &job->link);
		if (lane->given == &lane->jobs)
			lane->given = &job->link;
	}
	lane->count += n;
	lane->open += n;
	s->waiting -= n;
	s->assigned += n;
	if (n)
		slot_raise(lane->slot, (uint32_t)n);
	buffer_clear(&s->frame, WIRE_FRAME);
}

/* ---- answers ---- */

static struct job *find_ghost(struct lane *lane, const struct wire_result *head)
{
	struct job_link *link = lane->jobs.next;

	if (lane->ghosts == 0)
		return NULL;
	look(lane);
	for (; link != lane->given; link = link->next) {
		struct job *job = job_of(link);

		if (job->state == JOB_GHOST && job->seq == head->seq && job->ticket == head->ticket)
			return job;
	}
	return NULL;
}

static void settle_ghost(struct lane *lane, const struct wire_result *head)
{
	struct job *ghost = head->stray ? NULL : find_ghost(lane, head);

	lane->store->late++;
	if (!ghost)
		return;
	list_remove(lane, ghost);
	store_drop(lane->store, ghost);
}

static void settle(struct lane *lane, struct job *job, const struct wire_result *head, double now)
{
	double started = head->started > 0 ? head->started : now;

	histogram_add(&lane->store->waited, started - job->since);
	histogram_add(&lane->store->ran, (head->ended > 0 ? head->ended : now) - started);
	list_remove(lane, job);
	store_hold(job);
}

/* The job of which it speaks, where that is still this lane's, or NULL. 0 or -EPROTO. */
static int find_claimed(struct lane *lane, const struct wire_result *head, struct job **out)
{
	struct job *job = head->stray ? NULL : store_find(lane->store, head->seq);

	if (!job || job->lane != lane->number || job->ticket != head->ticket)
		return 0;
	if (job->state == JOB_GIVEN)
		look(lane);
	if (job->state == JOB_GIVEN)
		return -EPROTO;
	*out = job;
	return 0;
}

int lane_take(struct lane *lane, const char *frame, size_t size, size_t *offset, double now,
	      struct lane_result *result)
{
	struct wire_result head;

	while (*offset != size) {
		struct job *job = NULL;
		int err;

		if (!wire_result_read(frame, size, *offset, &head))
			return -EPROTO;
		err = find_claimed(lane, &head, &job);
		if (err)
			return err;
		*result = (struct lane_result){
			.seq = head.seq,
			.kind = head.kind,
			.data = frame + *offset + sizeof(head),
			.size = head.size,
			.client = job ? job->client : 0,
		};
		*offset += sizeof(head) + head.size;
		if (wire_is_final(head.kind)) {
			result->late = !job;
			if (job)
				settle(lane, job, &head, now);
			else
				settle_ghost(lane, &head);
			return 1;
		}
		/* What a job that ended has still to tell interests nobody. */
		if (job || head.kind == WIRE_RECOVERED)
			return 1;
	}
	return 0;
}

/* ---- taking back ---- */

/* From the last to the first, so that each goes before the one after it. */
static size_t return_open(struct lane *lane)
{
	size_t n = 0;

	while (lane->open > 0) {
		struct job *job = job_of(lane->jobs.prev);

		if (lane->given == &job->link)
			lane->given = &lane->jobs;
		lane->open--;
		if (job->state == JOB_GHOST) {
			list_remove(lane, job);
			store_drop(lane->store, job);
		} else {
			list_remove(lane, job);
			store_put_back(lane->store, job);
			n++;
		}
	}
	return n;
}

/* Nothing was lowered where nothing was open: generations are not to be wasted. */
size_t lane_take_back(struct lane *lane)
{
	struct job_word word;

	look(lane);
	if (lane->open == 0)
		return 0;
	word = slot_lower(lane->slot);
	/* As claims_of: what was claimed since is all that matters here. */
	if (word.generation == (uint16_t)(lane->generation + 1)) {
		size_t open = (lane->allowed - word.claimed) & SLOT_MASK;

		advance(lane, open <= lane->open ? lane->open - open : lane->open);
	} else {
		advance(lane, lane->open);
	}
	lane->generation = word.generation;
	lane->allowed = word.allowed;
	return return_open(lane);
}

void lane_abandon(struct lane *lane)
{
	lane_take_back(lane);
	while (lane->count > 0) {
		struct job *job = job_of(lane->jobs.next);

		if (job->state == JOB_GHOST) {
			list_remove(lane, job);
			store_drop(lane->store, job);
		} else {
			list_remove(lane, job);
			store_hold(job);
		}
	}
}

/* ---- for the store ---- */

void lane_replace(struct lane *lane, struct job *job, struct job *by)
{
	job_link_before(&job->link, &by->link);
	job_unlink(&job->link);
	if (lane->given == &job->link)
		lane->given = &by->link;
}

void lane_haunt(struct lane *lane, struct job *job)
{
	job->state = JOB_GHOST;
	lane->ghosts++;
}
