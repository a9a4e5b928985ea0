/*
 * http_answer.h - answers as a client gets them: bytes in, one head and a body
 * out. It knows no socket and no Lua; one parser serves one connection, answer after answer.
 */
#ifndef LOOP_HTTP_ANSWER_H
#define LOOP_HTTP_ANSWER_H

#include "loop/http_answer_head.h"

#define HTTP_ANSWER_NO_LIMIT UINT64_MAX

enum http_answer_state {
	HTTP_ANSWER_HEAD, /* more of the head must come */
	HTTP_ANSWER_BODY, /* the head is there, the body is not complete */
	HTTP_ANSWER_DONE,
	HTTP_ANSWER_BAD, /* refused, or cut off */
};

struct http_answer;

int http_answer_open(struct http_answer **out);
/* NULL is legal. */
void http_answer_free(struct http_answer *a);

/* The next answer; no_body: it belongs to a HEAD request. */
void http_answer_begin(struct http_answer *a, bool no_body, uint64_t max_body);

/*
 * Take what came. -EPROTO: it is not an answer to be trusted; -EMSGSIZE: its
 * body is beyond the limit; http_answer_problem says what is wrong.
 */
int http_answer_feed(struct http_answer *a, const char *bytes, size_t len);
/* The server has ended its side. -ECONNRESET: before the answer was complete. */
int http_answer_end(struct http_answer *a);

enum http_answer_state http_answer_state(const struct http_answer *a);
/* Once there is a head. Valid until http_answer_begin. */
const struct http_answer_head *http_answer_head(const struct http_answer *a);
/* What has come of the body and was not dropped yet. */
const char *http_answer_body(const struct http_answer *a, size_t *len);
void http_answer_drop(struct http_answer *a);
/* Bytes of this answer that came in all. */
uint64_t http_answer_came(const struct http_answer *a);
/* Whether the connection may carry another request: only once DONE. */
bool http_answer_keeps_alive(const struct http_answer *a);
const char *http_answer_problem(const struct http_answer *a);

#endif
