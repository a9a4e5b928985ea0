/*
 * listen_own.h - what the two files of listening sockets share: listen.c opens and closes them,
 * listen_live.c takes over and changes those that there are. For nobody else.
 */
#ifndef SYS_LISTEN_OWN_H
#define SYS_LISTEN_OWN_H

#include <sys/types.h>
#include <sys/un.h>

#include "sys/addr.h"
#include "sys/listen.h"

struct listener {
	int fd;
	ino_t socket; /* which one that was */
	pid_t creator;
	char address[ADDR_TEXT];
	/* The socket file that goes with it, "" when there is none to remove; and which one that
	 * was. */
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	dev_t dev;
	ino_t ino;
};

struct listener *listener_new(void);
/* What the system says of the socket: its address, with the real port. */
int listener_read_address(struct listener *l);

#endif
