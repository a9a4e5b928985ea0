/*
 * file_events.h - what happens in directories, as the kernel tells it.
 *
 * The descriptor is owned: a forked child closes its copy, and the watches stay the parent's.
 */
#ifndef SYS_FILE_EVENTS_H
#define SYS_FILE_EVENTS_H

#include <stdbool.h>
#include <stddef.h>

enum file_event_what {
	FILE_CHANGED,  /* what is in it, or its attributes */
	FILE_APPEARED, /* made, or moved to here */
	FILE_VANISHED, /* removed, or moved away */
	FILE_GONE,     /* the watched directory itself; no more will come from it */
	FILE_LOST,     /* of no one directory: there was no room for all that happened */
};

struct file_event {
	int watch;
	enum file_event_what what;
	const char *name; /* in the directory; NULL where it is the directory itself */
	bool directory;
};

/* A non-blocking descriptor, or a negative errno. */
int file_events_open(void);
/* A watch on a directory, the same number for the same directory; or a negative errno. -ENOSPC: no
 * more are allowed. */
int file_events_watch(int fd, const char *path);
void file_events_forget(int fd, int watch);
/*
 * Take what has happened: each() for every event that says something. Returns how many bytes there
 * were, 0 when there was nothing, or a negative errno.
 */
int file_events_take(int fd, void (*each)(const struct file_event *h, void *arg), void *arg);

#endif
