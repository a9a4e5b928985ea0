/*
 * pidfile.h - the file that says which process is the master, locked while it lives.
 *
 * The lock is fcntl's: it belongs to the process, so that a worker that lives on
 * does not keep it. Only the process that created it may close it.
 */
#ifndef SYS_PIDFILE_H
#define SYS_PIDFILE_H

#include <sys/types.h>

struct pidfile;

/*
 * Create or take over the file at path and write our pid into it. -EEXIST: a
 * live process holds it, *holder is its pid. What a dead one left is taken over; -EBADMSG:
 * something else is there, and stays untouched.
 */
int pidfile_open(struct pidfile **out, const char *path, pid_t *holder);
/*
 * Give it another name, its lock kept; what is there is replaced as pidfile_open would. After a
 * failure it has its old name.
 */
int pidfile_rename(struct pidfile **p, const char *path, pid_t *holder);
/* Remove the file, if it still is ours, and let go of it. NULL is legal. */
void pidfile_close(struct pidfile *p);

#endif
