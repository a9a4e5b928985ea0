/*
 * http_answer_head.h - the head of an answer as slices of its bytes, and the
 * refusals that llhttp leaves to us.
 */
#ifndef LOOP_HTTP_ANSWER_HEAD_H
#define LOOP_HTTP_ANSWER_HEAD_H

#include "loop/http_parse.h"

#define HTTP_ANSWER_FIELDS_MAX 1000

struct http_answer_head {
	/* What the slices are offsets from. */
	const char *base;
	struct http_slice reason;
	struct http_field *fields; /* kept from head to head; the owner frees it */
	size_t count, cap;
	unsigned status;
	unsigned minor;
	uint64_t length; /* where has_length */
	bool has_length;
	bool chunked;
};

/*
 * Take a head apart that llhttp has accepted. -EPROTO: it is refused, and problem
 * says why; -ENOMEM. The bytes are the caller's.
 */
int http_answer_head_parse(struct http_answer_head *head, const char *bytes, size_t len,
			   const char **problem);

#endif
