/*
 * relay_answer.c - the other server's answer, from its bytes to the client. Its head is made
 * anew, and so is the framing of its body; what cannot be trusted is not passed on, and what
 * breaks off never looks whole.
 */
#include "loop/relay_parts.h"

/* One for all: a head is read and passed on in one go. */
static struct http_answer_head head;
/* What each of its lines is. */
static uint8_t kinds[HTTP_ANSWER_FIELDS_MAX];

static void bad_answer(struct relay *r, const char *what)
{
	relay_fail(r, RELAY_BAD_ANSWER, 0, "the answer is not sound HTTP: %s", what);
}

/* ---- heads ---- */

/* The length of a head, 0 while its end has not come, or -1 where it is none. */
static ssize_t find_end(const char *bytes, size_t len)
{
	static const char start[] = "HTTP/1.";
	const char *at = bytes, *end = bytes + len;

	if (memcmp(bytes, start, len < sizeof(start) - 1 ? len : sizeof(start) - 1) != 0)
		return -1;
	for (;;) {
		const char *lf = memchr(at, '\n', (size_t)(end - at));

		if (!lf)
			return 0;
		if (lf[-1] != '\r')
			return -1;
		if (lf - at == 1)
			return lf + 1 - bytes;
		at = lf + 1;
		if (at == end)
			return 0;
		/* A lone LF, where a line should begin. */
		if (*at == '\n')
			return -1;
	}
}

static int put_line(struct buffer *out, const char *name, size_t name_len, const char *value,
		    size_t len)
{
	char *to;

	if (buffer_reserve(out, name_len + len + 4))
		return -ENOMEM;
	to = out->data + out->len;
	memcpy(to, name, name_len);
	to += name_len;
	*to++ = ':';
	*to++ = ' ';
	memcpy(to, value, len);
	to += len;
	*to++ = '\r';
	*to++ = '\n';
	out->len = (size_t)(to - out->data);
	return 0;
}

struct passing {
	struct relay_wishes wishes;
	struct http_slice upgrade;
	bool has_date, has_upgrade;
};

/* "timeout=5, max=100": how long its server keeps a connection, less what may be under way. */
static void read_keep_alive(struct relay *r, const char *value, size_t len)
{
	unsigned long seconds = 0;

	if (len < 9 || strncasecmp(value, "timeout=", 8) != 0)
		return;
	for (size_t i = 8; i < len && value[i] >= '0' && value[i] <= '9' && seconds < 1000; i++)
		seconds = seconds * 10 + (unsigned long)(value[i] - '0');
	r->idle_ms = seconds > 1 ? (unsigned)(seconds - 1) * 1000 : 1;
}

static void note_fields(struct relay *r, struct passing *p)
{
	for (size_t i = 0; i < head.count; i++) {
		const struct http_field *f = &head.fields[i];
		const char *value = head.base + f->value.at;

		kinds[i] = relay_field(head.base + f->name.at, f->name.len);
		switch (kinds[i]) {
		case FIELD_CONNECTION: relay_read_wishes(&p->wishes, value, f->value.len); break;
		case FIELD_KEEP_ALIVE: read_keep_alive(r, value, f->value.len); break;
		case FIELD_DATE: p->has_date = true; break;
		case FIELD_UPGRADE:
			p->upgrade = f->value;
			p->has_upgrade = true;
			break;
		default: break;
		}
	}
}

static bool passes(const struct relay *r, const struct passing *p, size_t i)
{
	const struct http_field *f = &head.fields[i];
	const char *name = head.base + f->name.at;

	switch (kinds[i]) {
	case FIELD_TRAILER: return r->framing == BODY_CHUNKED && !r->old_client;
	case FIELD_CONNECTION:
	case FIELD_HOP:
	case FIELD_KEEP_ALIVE:
	case FIELD_LENGTH:
	case FIELD_CODING:
	case FIELD_UPGRADE:
	case FIELD_TE: return false;
	default:
		return !p->wishes.others ||
		       !relay_is_named(head.base, head.fields, head.count, name, f->name.len);
	}
}

/* The lines for the client. -EPROTO where one of them is not clean; then out is as it was. */
static int pass_lines(struct relay *r, const struct passing *p, struct buffer *out)
{
	size_t had = out->len;

	for (size_t i = 0; i < head.count; i++) {
		const struct http_field *f = &head.fields[i];
		const char *value = head.base + f->value.at;
		int err;

		if (!passes(r, p, i))
			continue;
		err = relay_is_clean(value, f->value.len)
			      ? put_line(out, head.base + f->name.at, f->name.len, value,
					 f->value.len)
			      : -EPROTO;
		if (err) {
			out->len = had;
			return err;
		}
	}
	return 0;
}

static int pass_length(struct buffer *out)
{
	char digits[24];
	char *p = digits + sizeof(digits);
	uint64_t n = head.length;

	do {
		*--p = (char)('0' + n % 10);
		n /= 10;
	} while (n);
	return put_line(out, "Content-Length", 14, p, (size_t)(digits + sizeof(digits) - p));
}

static enum relay_framing framing_of(const struct relay *r)
{
	if (r->is_head || head.status == 204 || head.status == 304)
		return BODY_NONE;
	if (head.chunked)
		return BODY_CHUNKED;
	if (!head.has_length)
		return BODY_UNTIL_CLOSE;
	return head.length ? BODY_SIZED : BODY_NONE;
}

/* The head of the answer itself. Returns 0, or -1 where r has ended. */
static int pass_head(struct relay *r)
{
	struct buffer *lines = http_lines(r->c);
	struct http_passed passed = { .status = (int)head.status,
				      .reason = head.base + head.reason.at,
				      .reason_len = head.reason.len,
				      .length = head.has_length ? head.length : HTTP_NO_LIMIT };
	struct passing p = { 0 };
	int err;

	r->framing = framing_of(r);
	r->left = head.length;
	r->has_length = head.has_length || head.status == 204 || head.status == 304;
	note_fields(r, &p);
	if (!relay_is_clean(passed.reason, passed.reason_len)) {
		bad_answer(r, "a control character in the reason");
		return -1;
	}
	/* What the application had set goes with it, but for what the answer says itself. */
	if (lines->len)
		http_set_header(r->c, "content-length", 14, NULL, 0);
	err = pass_lines(r, &p, lines);
	if (!err && head.has_length)
		err = pass_length(lines);
	if (err) {
		bad_answer(r,
			   err == -EPROTO ? "a control character in a header" : "no memory for it");
		return -1;
	}
	passed.has_date = p.has_date;
	http_pass_head(r->c, &passed);
	r->reusable = r->framing != BODY_UNTIL_CLOSE && !p.wishes.close &&
		      (head.minor > 0 || p.wishes.keep_alive);
	r->stage = STAGE_BODY;
	return 0;
}

/* The connection is nobody's HTTP any more. Always -1: what follows is done. */
static int begin_tunnel(struct relay *r, const char *rest, size_t len)
{
	struct buffer *lines = http_lines(r->c);
	struct passing p = { 0 };
	int err;

	note_fields(r, &p);
	if (!r->upgrade || !p.has_upgrade || !p.wishes.upgrade) {
		bad_answer(r, "101, to another protocol than was asked for");
		return -1;
	}
	p.wishes.others = false;
	err = pass_lines(r, &p, lines);
	if (!err)
		err = put_line(lines, "Connection", 10, "upgrade", 7);
	if (!err && !relay_is_clean(head.base + p.upgrade.at, p.upgrade.len))
		err = -EPROTO;
	if (!err)
		err = put_line(lines, "Upgrade", 7, head.base + p.upgrade.at, p.upgrade.len);
	if (err)
		bad_answer(r, "a head that cannot be passed on");
	else
		relay_tunnel_begin(r, rest, len);
	return -1;
}

/* Before the answer itself; only one of these means something to everybody. */
static int pass_interim(struct relay *r)
{
	uint64_t life = r->life;

	if (head.status == 100 && http_awaits_continue(r->c))
		http_continue(r->c);
	return relay_alive(r, life) ? 0 : -1;
}

/* Returns how many bytes were used, or -1 where r has ended or is a tunnel. */
static ssize_t take_head(struct relay *r, const char *bytes, size_t len)
{
	const char *problem = NULL;
	ssize_t used = find_end(bytes, len);
	int err;

	if (used < 0) {
		bad_answer(r, memcmp(bytes, "HTTP/1.", len < 7 ? len : 7)
				      ? "no status line"
				      : "a bare LF in the head");
		return -1;
	}
	if (r->heads + (used ? (size_t)used : len) > RELAY_HEAD_MAX) {
		bad_answer(r, "its head is larger than 64k");
		return -1;
	}
	if (!used)
		return 0;
	err = http_answer_head_parse(&head, bytes, (size_t)used, &problem);
	if (err) {
		bad_answer(r, problem ? problem : "no memory for its head");
		return -1;
	}
	r->heads += (size_t)used;
	if (head.status == 101)
		return begin_tunnel(r, bytes + used, len - (size_t)used);
	err = head.status < 200 ? pass_interim(r) : pass_head(r);
	return err ? err : used;
}

/* ---- bodies ---- */

/* A piece of it; the head goes first. */
static void pass(struct relay *r, const char *bytes, size_t len)
{
	uint64_t life = r->life;
	int got;

	if (!len && r->began)
		return;
	r->began = true;
	got = http_write(r->c, bytes, len);
	if (!relay_alive(r, life))
		return;
	if (got < 0)
		relay_fail(r, RELAY_GONE, got, "the answer could not be sent");
	else if (got > 0)
		relay_link_pause(r->link);
}

static void sized_came(struct relay *r, const char *bytes, size_t len)
{
	size_t n = len < r->left ? len : (size_t)r->left;

	r->left -= n;
	if (r->left) {
		pass(r, bytes, n);
		return;
	}
	r->reusable &= n == len;
	relay_finish(r, bytes, n);
}

static void chunks_came(struct relay *r, char *bytes, size_t len)
{
	const char *at = bytes, *end = bytes + len;
	char *to = bytes;

	for (;;) {
		const char *from = at;
		enum http_chunk_event event = http_chunk_next(&r->chunk, &at, end);
		size_t n = (size_t)(end - at);

		if (r->in_trailers && buffer_append(&r->trailers, from, (size_t)(at - from))) {
			relay_fail(r, RELAY_BAD_ANSWER, -ENOMEM, "no memory for trailers");
			return;
		}
		switch (event) {
		case HTTP_CHUNK_DATA:
			n = n < r->chunk.left ? n : (size_t)r->chunk.left;
			/* Together, whatever the pieces were. */
			if (to != at)
				memmove(to, at, n);
			to += n;
			at += n;
			http_chunk_took(&r->chunk, n);
			break;
		case HTTP_CHUNK_LAST: r->in_trailers = true; break;
		case HTTP_CHUNK_MORE: pass(r, bytes, (size_t)(to - bytes)); return;
		case HTTP_CHUNK_END:
			r->reusable &= at == end;
			relay_finish(r, bytes, (size_t)(to - bytes));
			return;
		default: bad_answer(r, "its chunks are malformed"); return;
		}
	}
}

void relay_answer_came(struct relay *r, char *bytes, size_t len)
{
	r->came = true;
	while (r->stage == STAGE_HEAD) {
		ssize_t used = len ? take_head(r, bytes, len) : 0;

		if (used < 0)
			return;
		if (used == 0) {
			if (buffer_append(&r->link->in, bytes, len))
				relay_fail(r, RELAY_BAD_ANSWER, -ENOMEM, "no memory for a head");
			return;
		}
		bytes += used;
		len -= (size_t)used;
	}
	switch (r->framing) {
	case BODY_NONE:
		r->reusable &= len == 0;
		relay_finish(r, "", 0);
		break;
	case BODY_SIZED: sized_came(r, bytes, len); break;
	case BODY_CHUNKED: chunks_came(r, bytes, len); break;
	case BODY_UNTIL_CLOSE: pass(r, bytes, len); break;
	}
}

void relay_answer_ended(struct relay *r, int err)
{
	const char *how = err ? uv_strerror(err) : "it closed the connection";

	r->reusable = false;
	if (r->stage == STAGE_TUNNEL && !err)
		relay_tunnel_ended(r);
	else if (r->stage == STAGE_BODY && r->framing == BODY_UNTIL_CLOSE && !err)
		relay_finish(r, "", 0);
	else if (!r->came)
		relay_fail(r, RELAY_CLOSED, err, "no answer came: %s", how);
	else
		relay_fail(r, RELAY_CLOSED, err, "the answer breaks off in its %s: %s",
			   r->stage == STAGE_HEAD ? "head" : "body", how);
}
