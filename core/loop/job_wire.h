/*
 * job_wire.h - what a "jobs" and a "results" frame are made of: such a head and then its payload,
 * as often as there is one. Both ends are the same binary on the same machine.
 */
#ifndef LOOP_JOB_WIRE_H
#define LOOP_JOB_WIRE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "loop/channel.h"

#define WIRE_SEQ_MAX (((uint64_t)1 << 53) - 1)

enum wire_kind {
	WIRE_SUCCESS,
	WIRE_FAILURE,
	WIRE_PROGRESS,
	WIRE_RECOVERING, /* a success, and it recovers now */
	WIRE_RECOVERING_FAILURE,
	WIRE_RECOVERED,
	WIRE_KINDS,
};

struct wire_job {
	uint64_t seq;
	uint32_t size;
	uint32_t ticket;
	uint16_t generation;
	uint16_t zero;
	uint32_t attempt;
};

struct wire_result {
	uint64_t seq;
	double started, ended; /* 0: it is not known */
	uint32_t size;
	uint32_t ticket : 24;
	uint32_t kind : 7;
	uint32_t stray : 1; /* not of the job that was claimed last: it has no ticket */
};

/* A frame is at most this, beside one payload that is larger alone. */
#define WIRE_FRAME       ((size_t)256 << 10)
#define WIRE_PAYLOAD_MAX (CHANNEL_PAYLOAD_MAX - sizeof(struct wire_result))

/* It ends the job. */
static inline bool wire_is_final(unsigned kind)
{
	return kind != WIRE_PROGRESS && kind != WIRE_RECOVERED;
}

static inline bool wire_seq_valid(uint64_t seq)
{
	return seq > 0 && seq <= WIRE_SEQ_MAX;
}

/* The head at `at`, where it and its payload fit into the frame. */
static inline bool wire_job_read(const char *frame, size_t size, size_t at, struct wire_job *head)
{
	if (at > size || size - at < sizeof(*head))
		return false;
	memcpy(head, frame + at, sizeof(*head));
	return size - at - sizeof(*head) >= head->size && wire_seq_valid(head->seq) &&
	       head->zero == 0;
}

static inline bool wire_result_read(const char *frame, size_t size, size_t at,
				    struct wire_result *head)
{
	if (at > size || size - at < sizeof(*head))
		return false;
	memcpy(head, frame + at, sizeof(*head));
	return size - at - sizeof(*head) >= head->size && wire_seq_valid(head->seq) &&
	       head->kind < WIRE_KINDS;
}

#endif
