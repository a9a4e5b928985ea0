/*
 * pidfile.h - the file that says which process is the master, locked while it lives.
 *
 * The lock belongs to the descriptor, which the child of a fork closes with all that is owned,
 * and an exec does: nobody who outlives the master keeps it. Only the process that created it may
 * close it.
 */
#ifndef SYS_PIDFILE_H
#define SYS_PIDFILE_H

#include <stdbool.h>
#include <sys/types.h>

struct pidfile;

/*
 * Create or take over the file at path and write our pid into it. -EEXIST: a live process holds it,
 * *holder is its pid (0: not known; the patient try again for 0.2 s then). What a dead one left is
 * taken over; -EBADMSG: something else is there, and stays untouched.
 */
int pidfile_open(struct pidfile **out, const char *path, bool patient, pid_t *holder);
/* Whether the path leads to it: not when somebody has removed it, or a symlink on the way there has
 * moved. */
bool pidfile_is_at(const struct pidfile *p, const char *path);
/* Where it really is, without symlinks; or where that name would be beside it. */
int pidfile_path(const struct pidfile *p, const char *name, char *path, size_t size);
/*
 * Give it another name in its directory, its lock kept; what is there is replaced as pidfile_open
 * would. After a failure it has its old name. -ESTALE: it is not where it was made.
 */
int pidfile_rename(struct pidfile *p, const char *name, pid_t *holder);
/* Remove the file, if it still is ours and wherever its path leads by now, and let go of it. NULL
 * is legal. */
void pidfile_close(struct pidfile *p);

#endif
