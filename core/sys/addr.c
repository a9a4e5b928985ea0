/*
 * addr.c - reading and writing addresses. Only addr_resolve may ask the network.
 */
#include "sys/addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

static int parse_unix(struct addr *out, const char *path)
{
	struct sockaddr_un *un = (struct sockaddr_un *)&out->sa;
	size_t size = strlen(path);

	if (size == 0)
		return -EINVAL;
	if (size >= sizeof(un->sun_path))
		return -ENAMETOOLONG;
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path, path, size + 1);
	out->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size + 1);
	out->kind = ADDR_UNIX;
	return 0;
}

static int parse_port(struct addr *out, const char *text)
{
	unsigned long port = 0;
	size_t size = strspn(text, "0123456789");

	if (size == 0 || text[size])
		return -EINVAL;
	if (size > 5)
		return -ERANGE;
	port = strtoul(text, NULL, 10);
	if (port > 65535)
		return -ERANGE;
	out->port = (uint16_t)port;
	return 0;
}

/* getaddrinfo and not inet_pton: it knows scopes, as in fe80::1%eth0. */
static int take_numeric(struct addr *out, int family)
{
	struct addrinfo hints = { .ai_family = family,
				  .ai_socktype = SOCK_STREAM,
				  .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV };
	struct addrinfo *found;
	char port[8];

	snprintf(port, sizeof(port), "%u", out->port);
	if (getaddrinfo(out->host, port, &hints, &found))
		return -EINVAL;
	memcpy(&out->sa, found->ai_addr, found->ai_addrlen);
	out->len = found->ai_addrlen;
	out->kind = ADDR_IP;
	freeaddrinfo(found);
	return 0;
}

/* Dotted digits only: "127.1" and "0x7f.1" are what inet_aton would take, and nobody means. */
static bool looks_like_v4(const char *host)
{
	struct in_addr in;

	return inet_pton(AF_INET, host, &in) == 1;
}

static bool all_of(const char *text, const char *set)
{
	return text[strspn(text, set)] == 0;
}

static int parse_host(struct addr *out, const char *host, size_t size)
{
	if (size == 0 || (size == 1 && *host == '*')) {
		out->kind = ADDR_ANY;
		return 0;
	}
	if (size >= sizeof(out->host))
		return -EINVAL;
	memcpy(out->host, host, size);
	out->host[size] = 0;
	if (looks_like_v4(out->host))
		return take_numeric(out, AF_INET);
	if (all_of(out->host, "0123456789.") || strpbrk(out->host, ":/[] \t@*"))
		return -EINVAL;
	out->kind = ADDR_NAME;
	return 0;
}

static int parse_v6(struct addr *out, const char *text)
{
	const char *end = strchr(text, ']');
	size_t size = end ? (size_t)(end - text) : 0;
	int err;

	if (size == 0 || size >= sizeof(out->host) || end[1] != ':')
		return -EINVAL;
	err = parse_port(out, end + 2);
	if (err)
		return err;
	memcpy(out->host, text, size);
	out->host[size] = 0;
	return take_numeric(out, AF_INET6);
}

int addr_parse(struct addr *out, const char *text)
{
	const char *colon = strrchr(text, ':');
	int err;

	memset(out, 0, sizeof(*out));
	if (strncmp(text, "unix:", 5) == 0)
		return parse_unix(out, text + 5);
	if (*text == '[')
		return parse_v6(out, text + 1);
	err = parse_port(out, colon ? colon + 1 : text);
	if (err)
		return err;
	return parse_host(out, text, colon ? (size_t)(colon - text) : 0);
}

const char *addr_problem(int err)
{
	switch (err) {
	case -ENAMETOOLONG: return "a Unix socket path has at most 107 bytes";
	case -ERANGE: return "a port is a number from 0 to 65535";
	default: return "expected host:port, [v6]:port, port, *:port or unix:/path";
	}
}

static size_t any_addresses(const struct addr *addr, struct addr *out, size_t max)
{
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(addr->port) };
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(addr->port) };

	for (size_t i = 0; i < max && i < 2; i++) {
		out[i] = *addr;
		out[i].len = i ? sizeof(v4) : sizeof(v6);
		memcpy(&out[i].sa, i ? (void *)&v4 : (void *)&v6, out[i].len);
	}
	return max < 2 ? max : 2;
}

static int resolver_error(int status)
{
	switch (status) {
	case EAI_SYSTEM: return errno ? -errno : -EIO;
	case EAI_MEMORY: return -ENOMEM;
	case EAI_AGAIN: return -EAGAIN;
	default: return -ENOENT;
	}
}

/* Of one family, those that fit. */
static size_t take_family(const struct addrinfo *list, int family, struct addr *out, size_t max)
{
	size_t n = 0;

	for (; list && n < max; list = list->ai_next) {
		if (list->ai_family != family || list->ai_addrlen > sizeof(out->sa))
			continue;
		memset(&out[n], 0, sizeof(*out));
		out[n].kind = ADDR_IP;
		out[n].len = list->ai_addrlen;
		memcpy(&out[n].sa, list->ai_addr, list->ai_addrlen);
		n++;
	}
	return n;
}

int addr_resolve(const struct addr *addr, struct addr *out, size_t max)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV };
	struct addrinfo *list;
	char port[8];
	size_t n;
	int status;

	if (addr->kind == ADDR_ANY)
		return (int)any_addresses(addr, out, max);
	if (addr->kind != ADDR_NAME) {
		*out = *addr;
		return 1;
	}
	snprintf(port, sizeof(port), "%u", addr->port);
	errno = 0;
	status = getaddrinfo(addr->host, port, &hints, &list);
	if (status)
		return resolver_error(status);
	n = take_family(list, AF_INET, out, max);
	n += take_family(list, AF_INET6, out + n, max - n);
	freeaddrinfo(list);
	for (size_t i = 0; i < n; i++)
		out[i].port = addr->port;
	return n ? (int)n : -ENOENT;
}

static void format_unix(const struct sockaddr_un *un, socklen_t len, char *out)
{
	size_t size = len > offsetof(struct sockaddr_un, sun_path)
			      ? len - offsetof(struct sockaddr_un, sun_path)
			      : 0;

	if (size && un->sun_path[0] == 0)
		snprintf(out, ADDR_TEXT, "unix:@%.*s", (int)size - 1, un->sun_path + 1);
	else
		snprintf(out, ADDR_TEXT, "unix:%.*s", (int)strnlen(un->sun_path, size),
			 un->sun_path);
}

static void format_v6(const struct sockaddr_in6 *in, char *out, const char *open, const char *close)
{
	char host[INET6_ADDRSTRLEN] = "";

	if (IN6_IS_ADDR_V4MAPPED(&in->sin6_addr)) {
		inet_ntop(AF_INET, &in->sin6_addr.s6_addr[12], out, ADDR_TEXT);
		return;
	}
	inet_ntop(AF_INET6, &in->sin6_addr, host, sizeof(host));
	if (in->sin6_scope_id)
		snprintf(out, ADDR_TEXT, "%s%s%%%u%s", open, host, in->sin6_scope_id, close);
	else
		snprintf(out, ADDR_TEXT, "%s%s%s", open, host, close);
}

static void format_port(char *out, in_port_t port)
{
	size_t used = strlen(out);

	snprintf(out + used, ADDR_TEXT - used, ":%u", ntohs(port));
}

static void format_host(const struct sockaddr *sa, socklen_t len, char out[ADDR_TEXT])
{
	if (sa->sa_family == AF_INET)
		inet_ntop(AF_INET, &((const struct sockaddr_in *)sa)->sin_addr, out, ADDR_TEXT);
	else if (sa->sa_family == AF_INET6)
		format_v6((const struct sockaddr_in6 *)sa, out, "", "");
	else
		format_unix((const struct sockaddr_un *)sa, len, out);
}

void addr_format(const struct sockaddr *sa, socklen_t len, char out[ADDR_TEXT])
{
	if (sa->sa_family != AF_INET6) {
		format_host(sa, len, out);
		if (sa->sa_family == AF_INET)
			format_port(out, ((const struct sockaddr_in *)sa)->sin_port);
		return;
	}
	format_v6((const struct sockaddr_in6 *)sa, out, "[", "]");
	format_port(out, ((const struct sockaddr_in6 *)sa)->sin6_port);
}
