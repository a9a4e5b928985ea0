/*
 * http_input.c - fuzzes what comes from the network: each input goes to the real HTTP server
 * over a socket pair, whole, byte by byte and in odd pieces. The answers must be the same each
 * time, must be answers, and the server must let go of the connection once we have ended it.
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "loop/http_conn.h"

#define INPUT_MAX  32768
#define OUTPUT_MAX (1 << 20)
#define TURNS_MAX  5000

struct run {
	int fd;
	bool over;
	size_t len;
	char output[OUTPUT_MAX];
};

static uv_loop_t loop;
static struct http_server *server;
static struct run runs[3];

static void fail(const char *what)
{
	fprintf(stderr, "fuzz: %s\n", what);
	abort();
}

/* ---- the application: answers with what it understood ---- */

static void answer(struct http_conn *c, const char *bytes, size_t len)
{
	uint32_t sum = 5381;
	char text[64];

	for (size_t i = 0; i < len; i++)
		sum = sum * 33 + (unsigned char)bytes[i];
	http_finish(c, text, (size_t)snprintf(text, sizeof(text), "%zu %08x\n", len, sum));
}

static void on_body(void *data, struct http_conn *c)
{
	const char *bytes;
	size_t len;

	(void)data;
	switch (http_body_peek(c, &bytes, &len)) {
	case HTTP_BODY_END: answer(c, bytes, len); break;
	case HTTP_BODY_TOO_LARGE: http_fail(c, 413); break;
	case HTTP_BODY_GONE: http_fail(c, 500); break;
	case HTTP_BODY_MORE: http_body_want(c, true); break;
	}
}

static void check_slice(const struct http_head *head, struct http_slice s)
{
	if (s.at > head->len || s.len > head->len - s.at)
		fail("a slice outside of its head");
}

/* Everything that a handler may see of the head becomes part of the answer. */
static void on_request(void *data, struct http_conn *c, const struct http_head *head)
{
	char text[32];
	uint32_t sum = 5381;

	check_slice(head, head->method);
	check_slice(head, head->path);
	check_slice(head, head->query);
	if (!head->path.len || head->count > HTTP_FIELDS_MAX)
		fail("a request without a path, or with too many headers");
	for (size_t i = 0; i < head->count; i++) {
		check_slice(head, head->fields[i].name);
		check_slice(head, head->fields[i].value);
		if (!http_is_token(head->base + head->fields[i].name.at, head->fields[i].name.len))
			fail("a header's name that is none");
		if (!http_is_value(head->base + head->fields[i].value.at,
				   head->fields[i].value.len))
			fail("a header's value that is none");
	}
	for (size_t i = 0; i < head->len; i++)
		sum = sum * 33 + (unsigned char)head->base[i];
	http_set_header(c, "Head", 4, text, (size_t)snprintf(text, sizeof(text), "%08x", sum));
	on_body(data, c);
}

static void on_other(void *data, struct http_conn *c)
{
	(void)data;
	(void)c;
}

static void on_ended(void *data, struct http_refs refs, bool gone)
{
	(void)data;
	(void)refs;
	(void)gone;
}

static void on_stopped(void *data)
{
	(void)data;
}

static const struct http_app app = {
	.request = on_request,
	.body = on_body,
	.drained = on_other,
	.closed = on_other,
	.ended = on_ended,
	.stopped = on_stopped,
};

static void start(void)
{
	static const struct http_limits limits = { .max_header = 2048, .max_body = 1024 };

	signal(SIGPIPE, SIG_IGN);
	if (uv_loop_init(&loop) || http_server_open(&server, &loop, &limits, &app, NULL))
		fail("no server");
}

/* ---- one connection ---- */

static void take_output(struct run *r)
{
	while (!r->over) {
		size_t room = OUTPUT_MAX - r->len;
		ssize_t n = recv(r->fd, r->output + r->len, room, MSG_DONTWAIT);

		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0)
			r->over = true;
		else
			r->len += (size_t)n;
		if (room == 0)
			fail("endless output");
	}
}

/* Let the server do all it can with what it has. */
static void turn(struct run *r)
{
	int pending;

	do {
		size_t before = r->len;

		uv_run(&loop, UV_RUN_NOWAIT);
		take_output(r);
		pending = r->len != before;
	} while (pending && !r->over);
}

static void feed(struct run *r, const uint8_t *data, size_t len)
{
	while (len && !r->over) {
		ssize_t n = send(r->fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno != EAGAIN)
			return;
		if (n > 0) {
			data += n;
			len -= (size_t)n;
		}
		turn(r);
	}
}

/* `step` bytes at a time; 0: pieces of all sizes. */
static void converse(struct run *r, const uint8_t *data, size_t len, size_t step)
{
	int pair[2];
	uint32_t odd = 2463534242U;

	r->len = 0;
	r->over = false;
	if (fd_socketpair(SOCK_STREAM, pair))
		fail("no socket pair");
	fd_nonblock(pair[0], true);
	r->fd = pair[1];
	http_accepted(server, pair[0], NULL, 0);
	while (len && !r->over) {
		size_t n = step;

		if (!n) {
			odd ^= odd << 13;
			odd ^= odd >> 17;
			odd ^= odd << 5;
			n = 1 + odd % 40;
		}
		if (n > len)
			n = len;
		feed(r, data, n);
		data += n;
		len -= n;
	}
	shutdown(r->fd, SHUT_WR);
	for (int i = 0; !r->over; i++) {
		turn(r);
		/* Timers need time to pass. */
		if (i > 10)
			poll(NULL, 0, 1);
		if (i > TURNS_MAX)
			fail("the connection stays open");
	}
	close(r->fd);
	uv_run(&loop, UV_RUN_NOWAIT);
	if (http_server_counts(server).connections || http_server_counts(server).active)
		fail("a connection or a request is left");
}

/* ---- what came back ---- */

static void cut(struct run *r, char *from, char *to)
{
	memmove(from, to, (size_t)(r->output + r->len - to));
	r->len -= (size_t)(to - from);
}

/* Without what may differ: the date, and whether there was time to ask for the body. */
static void check_answers(struct run *r)
{
	static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
	char *p = r->output;

	r->output[r->len < OUTPUT_MAX ? r->len : OUTPUT_MAX - 1] = '\0';
	while (p < r->output + r->len) {
		char *date, *length, *end;

		if (strncmp(p, go_on, sizeof(go_on) - 1) == 0) {
			cut(r, p, p + sizeof(go_on) - 1);
			r->output[r->len] = '\0';
			continue;
		}
		end = strstr(p, "\r\n\r\n");
		date = strstr(p, "Date: ");
		length = strstr(p, "Content-Length: ");
		if (strncmp(p, "HTTP/1.1 ", 9) != 0 || !end || !date || date > end || !length ||
		    length > end)
			fail("what came back is no answer");
		p = end + 4;
		/* An answer to HEAD has a length, but no body. */
		if (p < r->output + r->len && strncmp(p, "HTTP/1.1 ", 9) != 0)
			p += atoi(length + 16);
		memset(date + 6, 'x', 29);
	}
	if (p != r->output + r->len)
		fail("the last answer is cut off");
}

static void compare(struct run *one, struct run *other)
{
	if (one->len != other->len || memcmp(one->output, other->output, one->len) != 0) {
		fprintf(stderr, "one way:\n%.*s\nthe other:\n%.*s\n", (int)one->len, one->output,
			(int)other->len, other->output);
		fail("the answers depend on how the bytes were split");
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (!server)
		start();
	if (len > INPUT_MAX)
		return 0;
	converse(&runs[0], data, len, len ? len : 1);
	converse(&runs[1], data, len, len > 4096 ? 97 : 1);
	converse(&runs[2], data, len, 0);
	for (int i = 0; i < 3; i++)
		check_answers(&runs[i]);
	compare(&runs[0], &runs[1]);
	compare(&runs[0], &runs[2]);
	return 0;
}
