/*
 * file_events.c - inotify(7) in the words that a monitor needs. What a change means is not known
 * here.
 */
#include "sys/file_events.h"

#include <errno.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "sys/fd.h"

/* Not the closing of a file that was open for writing: whoever opens one in vain has changed
 * nothing. A file that is open but has no name any more is of no interest. */
#define WANTED                                                                         \
	(IN_MODIFY | IN_ATTRIB | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | \
	 IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR | IN_EXCL_UNLINK)

int file_events_open(void)
{
	int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);

	if (fd < 0)
		return -errno;
	fd_own(fd);
	return fd;
}

int file_events_watch(int fd, const char *path)
{
	int watch = inotify_add_watch(fd, path, WANTED);

	return watch < 0 ? -errno : watch;
}

void file_events_forget(int fd, int watch)
{
	/* It fails for one that the kernel has dropped with its directory. */
	inotify_rm_watch(fd, watch);
}

static enum file_event_what what_of(uint32_t mask)
{
	if (mask & IN_Q_OVERFLOW)
		return FILE_LOST;
	if (mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT | IN_IGNORED))
		return FILE_GONE;
	if (mask & (IN_CREATE | IN_MOVED_TO))
		return FILE_APPEARED;
	return mask & (IN_DELETE | IN_MOVED_FROM) ? FILE_VANISHED : FILE_CHANGED;
}

int file_events_take(int fd, void (*each)(const struct file_event *h, void *arg), void *arg)
{
	char buffer[16384] __attribute__((aligned(__alignof__(struct inotify_event))));
	const struct inotify_event *event;
	ssize_t n;

	do
		n = read(fd, buffer, sizeof(buffer));
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN ? 0 : -errno;
	for (char *at = buffer; at < buffer + n; at += sizeof(*event) + event->len) {
		struct file_event h;

		event = (const void *)at;
		h.watch = event->wd;
		h.what = what_of(event->mask);
		h.name = event->len ? event->name : NULL;
		h.directory = event->mask & IN_ISDIR;
		/* Its own attributes are told to its parent as well. */
		if (h.name || h.what == FILE_GONE || h.what == FILE_LOST)
			each(&h, arg);
	}
	return (int)n;
}
