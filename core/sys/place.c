/*
 * place.c - where a file really lies. It makes, renames and removes none itself.
 */
#include "sys/place.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "sys/fd.h"

/* "/a/b" is b in "/a", "/b" is b in "/", "b" is b in ".". */
static int folder_of(const char *path, const char *name, char folder[PATH_MAX])
{
	size_t size = (size_t)(name - path);

	if (size >= PATH_MAX || strlen(name) > NAME_MAX)
		return -ENAMETOOLONG;
	if (!size)
		folder[size++] = '.';
	else
		memcpy(folder, path, size);
	folder[size] = 0;
	return 0;
}

int place_open(struct place *p, const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	char folder[PATH_MAX];
	int err = folder_of(path, name, folder);

	*p = PLACE_NONE;
	if (err)
		return err;
	/* Not for reading: who may write to it need not be allowed to list it. */
	do
		p->dir = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	while (p->dir < 0 && errno == EINTR);
	if (p->dir < 0)
		return -errno;
	fd_own(p->dir);
	memcpy(p->name, name, strlen(name) + 1);
	return 0;
}

void place_close(struct place *p)
{
	fd_close(&p->dir);
}

bool place_holds(const struct place *p, dev_t dev, ino_t ino)
{
	struct stat st;

	/* (Of the file itself, where it is a symlink too.) */
	return p->dir >= 0 && fstatat(p->dir, p->name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	       st.st_dev == dev && st.st_ino == ino;
}

int place_folder(const struct place *p, char folder[PATH_MAX])
{
	char link[32];
	ssize_t n;

	if (p->dir < 0)
		return -ENOENT;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", p->dir);
	n = readlink(link, folder, PATH_MAX - 1);
	if (n < 0)
		return -errno;
	folder[n] = 0;
	return 0;
}
