/*
 * http_chunk.h - the framing of a chunked body (RFC 9112, 7.1), apart from its data.
 *
 * A state machine over the bytes as they come: it copies nothing, and the same bytes mean
 * the same however they were split. Plain values, no resources: a zeroed one is at the
 * start of a body.
 */
#ifndef LOOP_HTTP_CHUNK_H
#define LOOP_HTTP_CHUNK_H

#include <stdint.h>

/*
 * Extensions and trailers may go so far beyond what the size of the data excuses, over the
 * whole body: nobody means well with more.
 */
#define HTTP_CHUNK_EXCESS 16384

struct http_chunk {
	uint64_t left; /* of this chunk's data */
	uint32_t excess;
	uint8_t state;
};

enum http_chunk_event {
	HTTP_CHUNK_MORE,  /* all bytes are used up */
	HTTP_CHUNK_DATA,  /* `left` bytes of data begin, or go on, here: see http_chunk_took() */
	HTTP_CHUNK_LAST,  /* what comes up to the end are trailers, and an empty line */
	HTTP_CHUNK_END,   /* the body is complete, its trailers included */
	HTTP_CHUNK_BAD,   /* not the framing of chunks */
	HTTP_CHUNK_LARGE, /* trailers beyond all measure */
};

/* Walks *p over framing, up to end at most, and says why it stopped. After END, reset it. */
enum http_chunk_event http_chunk_next(struct http_chunk *k, const char **p, const char *end);
/* The caller has taken n bytes of data, at most `left`. */
void http_chunk_took(struct http_chunk *k, uint64_t n);

#endif
