/*
 * http_chunk.c - see http_chunk.h. As strict as the grammar: each leniency here (a bare LF, a
 * space for a CR, a sign, an extension without end) is one by which two readers of a
 * connection have been made to disagree about where a request ends. Trailers are
 * checked, and whoever wants them takes them from the bytes.
 */
#include "loop/http_chunk.h"

#include <stdbool.h>

#include "loop/http_parse.h"

enum state {
	SIZE_FIRST, /* a digit must come */
	SIZE,
	SEMICOLON, /* after blanks behind a size or an extension: only an extension may follow */
	NAME_FIRST,
	NAME,
	EQUALS, /* blanks behind a name */
	VALUE_FIRST,
	VALUE,
	QUOTED,
	ESCAPED,
	QUOTE_END,
	SIZE_LF,
	DATA,
	DATA_CR,
	DATA_LF,
	TRAILER_FIRST,
	TRAILER_NAME,
	TRAILER_VALUE,
	TRAILER_LF,
	LAST_LF,
	BAD,
};

static bool is_blank(unsigned char ch)
{
	return ch == ' ' || ch == '\t';
}

/* Within a field value or a quoted string: anything but control characters. */
static bool is_text(unsigned char ch)
{
	return ch == '\t' || (ch >= ' ' && ch != 0x7f);
}

static bool is_token_char(unsigned char ch)
{
	return http_is_token((const char *)&ch, 1);
}

static int hex_value(unsigned char ch)
{
	if (ch >= '0' && ch <= '9')
		return ch - '0';
	ch |= 0x20;
	return ch >= 'a' && ch <= 'f' ? ch - 'a' + 10 : -1;
}

/* What may follow a complete size, name or value. */
static enum state after_item(unsigned char ch)
{
	if (ch == ';')
		return NAME_FIRST;
	if (ch == '\r')
		return SIZE_LF;
	return is_blank(ch) ? SEMICOLON : BAD;
}

static enum state step_size(struct http_chunk *k, unsigned char ch)
{
	int digit = hex_value(ch);

	if (digit < 0)
		return k->state == SIZE ? after_item(ch) : BAD;
	if (k->left >> 60)
		return BAD;
	k->left = k->left << 4 | (uint64_t)digit;
	return SIZE;
}

static enum state step_name(enum state state, unsigned char ch)
{
	if (state != EQUALS && is_token_char(ch))
		return NAME;
	if (state == NAME_FIRST)
		return is_blank(ch) ? NAME_FIRST : BAD;
	if (ch == '=')
		return VALUE_FIRST;
	if (is_blank(ch))
		return EQUALS;
	/* The blanks behind the name may turn out to stand before another extension. */
	return ch == '\r' && state == EQUALS ? BAD : after_item(ch);
}

static enum state step_value(enum state state, unsigned char ch)
{
	switch (state) {
	case VALUE_FIRST:
		if (is_blank(ch))
			return VALUE_FIRST;
		return ch == '"' ? QUOTED : is_token_char(ch) ? VALUE : BAD;
	case VALUE: return is_token_char(ch) ? VALUE : after_item(ch);
	case QUOTED:
		if (ch == '"')
			return QUOTE_END;
		return ch == '\\' ? ESCAPED : is_text(ch) ? QUOTED : BAD;
	case ESCAPED: return is_text(ch) ? QUOTED : BAD;
	default: return after_item(ch);
	}
}

static enum state step_trailer(enum state state, unsigned char ch)
{
	switch (state) {
	case TRAILER_FIRST:
		if (ch == '\r')
			return LAST_LF;
		return is_token_char(ch) ? TRAILER_NAME : BAD;
	case TRAILER_NAME:
		if (ch == ':')
			return TRAILER_VALUE;
		return is_token_char(ch) ? TRAILER_NAME : BAD;
	case TRAILER_VALUE:
		if (ch == '\r')
			return TRAILER_LF;
		return is_text(ch) ? TRAILER_VALUE : BAD;
	default: return ch == '\n' ? TRAILER_FIRST : BAD;
	}
}

/* The line of a size is over: what it cost is weighed against what it announces. */
static enum state after_size(struct http_chunk *k)
{
	uint64_t excused = 16 + (k->left > HTTP_CHUNK_EXCESS ? HTTP_CHUNK_EXCESS : k->left) * 2;

	k->excess = k->excess > excused ? k->excess - (uint32_t)excused : 0;
	return k->left ? DATA : TRAILER_FIRST;
}

static enum state step(struct http_chunk *k, unsigned char ch)
{
	enum state state = k->state;

	switch (state) {
	case SIZE_FIRST:
	case SIZE: return step_size(k, ch);
	case SEMICOLON: return ch == ';' || is_blank(ch) ? after_item(ch) : BAD;
	case NAME_FIRST:
	case NAME:
	case EQUALS: return step_name(state, ch);
	case SIZE_LF: return ch == '\n' ? after_size(k) : BAD;
	case DATA_CR: return ch == '\r' ? DATA_LF : BAD;
	case DATA_LF: return ch == '\n' ? SIZE_FIRST : BAD;
	case TRAILER_FIRST:
	case TRAILER_NAME:
	case TRAILER_VALUE:
	case TRAILER_LF: return step_trailer(state, ch);
	case DATA:
	case LAST_LF:
	case BAD: return BAD;
	default: return step_value(state, ch);
	}
}

enum http_chunk_event http_chunk_next(struct http_chunk *k, const char **p, const char *end)
{
	while (*p < end && k->state != DATA) {
		unsigned char ch = (unsigned char)*(*p)++;
		bool was_size = k->state == SIZE_LF;

		if (k->state == LAST_LF && ch == '\n')
			return HTTP_CHUNK_END;
		k->state = (uint8_t)step(k, ch);
		if (k->state == BAD)
			return HTTP_CHUNK_BAD;
		if (++k->excess > HTTP_CHUNK_EXCESS)
			return k->state >= TRAILER_FIRST ? HTTP_CHUNK_LARGE : HTTP_CHUNK_BAD;
		if (was_size && k->state == TRAILER_FIRST)
			return HTTP_CHUNK_LAST;
	}
	return k->state == DATA && *p < end ? HTTP_CHUNK_DATA : HTTP_CHUNK_MORE;
}

void http_chunk_took(struct http_chunk *k, uint64_t n)
{
	k->left -= n;
	if (!k->left)
		k->state = DATA_CR;
}
