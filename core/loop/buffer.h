/*
 * buffer.h - a growing run of bytes. Nothing is thrown: a failed reserve is -ENOMEM.
 */
#ifndef LOOP_BUFFER_H
#define LOOP_BUFFER_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct buffer {
	char *data;
	size_t len;
	size_t cap;
};

/* Room for `more` bytes behind len. */
static inline int buffer_reserve(struct buffer *b, size_t more)
{
	size_t cap = b->cap ? b->cap : 256;
	char *data;

	if (b->cap - b->len >= more)
		return 0;
	while (cap - b->len < more)
		cap *= 2;
	data = realloc(b->data, cap);
	if (!data)
		return -ENOMEM;
	b->data = data;
	b->cap = cap;
	return 0;
}

static inline int buffer_append(struct buffer *b, const void *bytes, size_t len)
{
	int err = buffer_reserve(b, len);

	if (err)
		return err;
	if (len)
		memcpy(b->data + b->len, bytes, len);
	b->len += len;
	return 0;
}

static inline void buffer_free(struct buffer *b)
{
	free(b->data);
	*b = (struct buffer){ 0 };
}

/* Empty it; what is small stays allocated for the next use. */
static inline void buffer_clear(struct buffer *b, size_t keep)
{
	b->len = 0;
	if (b->cap > keep)
		buffer_free(b);
}

#endif
