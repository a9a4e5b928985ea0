/*
 * notify.h - the sd_notify protocol: receiving it from children, sending it to our own supervisor.
 */
#ifndef SYS_NOTIFY_H
#define SYS_NOTIFY_H

#include <stddef.h>
#include <sys/types.h>

#define NOTIFY_PATH 108
#define NOTIFY_TEXT 4096

/*
 * A datagram socket with an abstract name (nothing to remove later), for
 * NOTIFY_SOCKET of a child. Nonblocking, close-on-exec and owned.
 */
int notify_open(int *fd, char path[NOTIFY_PATH]);
/*
 * One message and who sent it, as the kernel says; passed descriptors are
 * closed, which is what BARRIER=1 waits for. Returns its size or -EAGAIN.
 */
ssize_t notify_receive(int fd, char text[NOTIFY_TEXT], pid_t *pid, uid_t *uid);
/* To the socket named as in NOTIFY_SOCKET ("/path" or "@abstract"). Never blocks. */
int notify_send(const char *path, const char *text, size_t size);

#endif
