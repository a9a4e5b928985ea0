/*
 * place.h - where a file really lies: its directory, held open, and its name there.
 *
 * A path may lead elsewhere later, through a symlink that has moved. What a process
 * has made it finds by its place, to rename or remove it.
 */
#ifndef SYS_PLACE_H
#define SYS_PLACE_H

#include <limits.h>
#include <stdbool.h>
#include <sys/stat.h>

struct place {
	int dir; /* owned; -1: none */
	char name[NAME_MAX + 1];
};

#define PLACE_NONE ((struct place){ .dir = -1 })

/* What the path leads to now; the file itself need not be there. PLACE_NONE after a failure. */
int place_open(struct place *p, const char *path);
/* Legal without one. In the child of a fork its descriptor is closed already: do not. */
void place_close(struct place *p);
/* Whether this very file is there still. */
bool place_holds(const struct place *p, dev_t dev, ino_t ino);
/* The directory without its symlinks, as it is called now; 0 or -errno. */
int place_folder(const struct place *p, char folder[PATH_MAX]);

#endif
