/*
 * addr.h - addresses as users write them: "host:port", "[v6]:port", ":port", "port", "*:port",
 * "unix:/path".
 */
#ifndef SYS_ADDR_H
#define SYS_ADDR_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* Room for any address as text. */
#define ADDR_TEXT 320

enum addr_kind {
	ADDR_IP,   /* a numeric v4 or v6 address: sa is set */
	ADDR_ANY,  /* all interfaces: only port is set; connecting to it means the loopback */
	ADDR_UNIX, /* sa is set */
	ADDR_NAME, /* host and port are set, and wait for addr_resolve */
};

struct addr {
	enum addr_kind kind;
	struct sockaddr_storage sa;
	socklen_t len;
	uint16_t port;
	char host[256];
};

/*
 * Never asks the network. -EINVAL: not an address; -ERANGE: no such port;
 * -ENAMETOOLONG: a Unix path beyond 107 bytes (the kernel would cut it).
 */
int addr_parse(struct addr *out, const char *text);
/* Why addr_parse refused it, in words: "expected host:port, ..." */
const char *addr_problem(int err);

/*
 * The numeric addresses to try in order, v4 first; returns how many (at most
 * max) or -errno. An ADDR_NAME asks the resolver and blocks: for start-up, never on a
 * loop. ADDR_ANY gives [::] and 0.0.0.0.
 */
int addr_resolve(const struct addr *addr, struct addr *out, size_t max);

/* "127.0.0.1:80" (mapped v4 too), "[::1]:80", "unix:/path", "unix:" for a socket without a name. */
void addr_format(const struct sockaddr *sa, socklen_t len, char out[ADDR_TEXT]);

#endif
