/*
 * http_target.c - whom and what a request is for: its target in one of the forms that a
 * server takes, and the Host that goes with it. Nothing is decoded here.
 */
#include <string.h>
#include <strings.h>

#include "loop/http_parse.h"

/*
 * Of registered names and addresses. What could start a path, a user or a list is not among
 * them, though the grammar would let the comma pass.
 */
static const bool name_chars[256] = {
	['!'] = 1, ['$'] = 1, ['%'] = 1, ['&'] = 1,         ['\''] = 1,        ['('] = 1,
	[')'] = 1, ['*'] = 1, ['+'] = 1, ['-'] = 1,         ['.'] = 1,         [';'] = 1,
	['='] = 1, ['_'] = 1, ['~'] = 1, ['0' ... '9'] = 1, ['A' ... 'Z'] = 1, ['a' ... 'z'] = 1,
};

static bool is_hex(char ch)
{
	return (ch >= '0' && ch <= '9') || ((ch | 0x20) >= 'a' && (ch | 0x20) <= 'f');
}

/* The end of "[...]", or NULL. */
static const char *skip_literal(const char *p, const char *end)
{
	const char *from = ++p;

	while (p < end && (is_hex(*p) || *p == ':' || *p == '.'))
		p++;
	return p < end && *p == ']' && p - from >= 2 ? p + 1 : NULL;
}

bool http_is_host(const char *host, size_t len)
{
	const char *p = host, *end = host + len;

	if (p < end && *p == '[') {
		p = skip_literal(p, end);
		if (!p)
			return false;
	} else {
		for (; p < end && name_chars[(unsigned char)*p]; p++) {
			if (*p == '%' && (end - p < 3 || !is_hex(p[1]) || !is_hex(p[2])))
				return false;
		}
	}
	if (p < end && *p++ != ':')
		return false;
	while (p < end && *p >= '0' && *p <= '9')
		p++;
	return p == end;
}

/* What no URI contains. Much that should not be in one either is in use, and harmless. */
static bool is_clean(const char *target, const char *end)
{
	for (const unsigned char *p = (const void *)target; p < (const unsigned char *)end; p++) {
		if (*p <= ' ' || *p >= 0x7f || *p == '#')
			return false;
	}
	return true;
}

static const char *after_scheme(const char *target, const char *end)
{
	if (end - target > 7 && strncasecmp(target, "http://", 7) == 0)
		return target + 7;
	if (end - target > 8 && strncasecmp(target, "https://", 8) == 0)
		return target + 8;
	return NULL;
}

/* "http://host/path", as for a proxy, which servers must take: the path, or NULL. */
static const char *split_absolute(struct http_target *t, const char *target, const char *end)
{
	const char *host = after_scheme(target, end);
	const char *p = host;

	if (!host)
		return NULL;
	while (p < end && *p != '/' && *p != '?')
		p++;
	if (p == host || *host == ':' || !http_is_host(host, (size_t)(p - host)))
		return NULL;
	t->host = host;
	t->host_len = (size_t)(p - host);
	return p;
}

int http_target_split(struct http_target *t, const char *target, const char *end, bool any)
{
	const char *path = target;
	const char *mark;

	*t = (struct http_target){ 0 };
	if (target == end || !is_clean(target, end))
		return 400;
	if (*target != '/' && !(any && end - target == 1 && *target == '*')) {
		path = split_absolute(t, target, end);
		if (!path)
			return 400;
	}
	mark = memchr(path, '?', (size_t)(end - path));
	t->path = path;
	t->path_len = (size_t)((mark ? mark : end) - path);
	if (!t->path_len) {
		/* Without a path it is the root: there is a slash before the host. */
		t->path = t->host - 1;
		t->path_len = 1;
	}
	if (mark) {
		t->query = mark + 1;
		t->query_len = (size_t)(end - t->query);
	}
	return 0;
}
