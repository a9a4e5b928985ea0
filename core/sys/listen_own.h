/*
 * listen_own.h - what the two files of listening sockets share: listen.c opens and closes them,
 * listen_live.c takes over and changes those that there are. For nobody else.
 */
#ifndef SYS_LISTEN_OWN_H
#define SYS_LISTEN_OWN_H

#include <stdbool.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "sys/addr.h"
#include "sys/listen.h"
#include "sys/place.h"

struct listener {
	int fd;
	ino_t socket; /* which one that was */
	pid_t creator;
	char address[ADDR_TEXT];
	/* The socket file that goes with it, where there is one that we know of; which one that
	 * was, and whether it is ours to remove. */
	struct place file;
	dev_t dev;
	ino_t ino;
	bool removes;
};

struct listener *listener_new(void);
/* Mode and owner of its file; after a failure *step says of what. */
int listener_file_change(const struct listener *l, const struct listen_options *o,
			 const char **step);
/* What the system says of the socket: its address, with the real port. */
int listener_read_address(struct listener *l);

#endif
