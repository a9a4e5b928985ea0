/*
 * shim.c - the wrappers: each asks fault_of() and then goes on to libc. The rules are in
 * shim_rules.c.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shim.h"

#define WRAP(type, name, params, args) WRAP_AS(type, name, name, params, args)
#define WRAP_AS(type, name, call, params, args)        \
	type name params                               \
	{                                              \
		static type(*real) params;             \
		if (fails(CALL_##call))                \
			return (type)-1;               \
		if (!real)                             \
			*(void **)&real = next(#name); \
		return real args;                      \
	}

/* Reads and writes, which may also be cut to one byte. */
#define WRAP_IO(type, name, params, args)              \
	type name params                               \
	{                                              \
		static type(*real) params;             \
		int err = fault_of(CALL_##name);       \
		if (err > 0) {                         \
			errno = err;                   \
			return -1;                     \
		}                                      \
		if (err == SHORT && size > 1)          \
			size = 1;                      \
		if (!real)                             \
			*(void **)&real = next(#name); \
		return real args;                      \
	}

/* libc's headers promise that some pointers are not NULL; passing them on is not our business. */
#pragma GCC diagnostic ignored "-Wnonnull"

WRAP(pid_t, fork, (void), ())
WRAP(int, waitid, (idtype_t what, id_t id, siginfo_t *info, int options), (what, id, info, options))
WRAP(pid_t, waitpid, (pid_t pid, int *status, int options), (pid, status, options))
WRAP(pid_t, wait4, (pid_t pid, int *status, int options, struct rusage *usage),
     (pid, status, options, usage))
WRAP(int, kill, (pid_t pid, int sig), (pid, sig))
WRAP(int, setpgid, (pid_t pid, pid_t group), (pid, group))
WRAP(pid_t, setsid, (void), ())
WRAP(int, execve, (const char *path, char *const argv[], char *const envp[]), (path, argv, envp))
WRAP(int, pidfd_open, (pid_t pid, unsigned flags), (pid, flags))
WRAP(int, pidfd_send_signal, (int fd, int sig, siginfo_t *info, unsigned flags),
     (fd, sig, info, flags))
WRAP(int, close_range, (unsigned from, unsigned to, int flags), (from, to, flags))
WRAP(int, pipe, (int fds[2]), (fds))
WRAP(int, pipe2, (int fds[2], int flags), (fds, flags))
WRAP(int, socketpair, (int domain, int type, int protocol, int fds[2]),
     (domain, type, protocol, fds))
WRAP(int, socket, (int domain, int type, int protocol), (domain, type, protocol))
WRAP(int, bind, (int fd, const struct sockaddr *addr, socklen_t len), (fd, addr, len))
WRAP(int, listen, (int fd, int backlog), (fd, backlog))
WRAP(int, connect, (int fd, const struct sockaddr *addr, socklen_t len), (fd, addr, len))
WRAP(int, accept, (int fd, struct sockaddr *addr, socklen_t *len), (fd, addr, len))
WRAP(int, accept4, (int fd, struct sockaddr *addr, socklen_t *len, int flags),
     (fd, addr, len, flags))
WRAP(int, getsockname, (int fd, struct sockaddr *addr, socklen_t *len), (fd, addr, len))
WRAP(int, setsockopt, (int fd, int level, int name, const void *value, socklen_t len),
     (fd, level, name, value, len))
WRAP(int, dup, (int fd), (fd))
WRAP(int, dup2, (int fd, int to), (fd, to))
WRAP(int, dup3, (int fd, int to, int flags), (fd, to, flags))
WRAP_IO(ssize_t, read, (int fd, void *data, size_t size), (fd, data, size))
WRAP_IO(ssize_t, write, (int fd, const void *data, size_t size), (fd, data, size))
WRAP_IO(ssize_t, send, (int fd, const void *data, size_t size, int flags), (fd, data, size, flags))
WRAP_IO(ssize_t, recv, (int fd, void *data, size_t size, int flags), (fd, data, size, flags))
WRAP_IO(ssize_t, sendto,
	(int fd, const void *data, size_t size, int flags, const struct sockaddr *to,
	 socklen_t len),
	(fd, data, size, flags, to, len))
WRAP(int, mprotect, (void *at, size_t size, int protection), (at, size, protection))
WRAP(int, madvise, (void *at, size_t size, int advice), (at, size, advice))
WRAP(int, memfd_create, (const char *name, unsigned flags), (name, flags))
WRAP(int, ftruncate, (int fd, off_t size), (fd, size))
WRAP(int, epoll_create1, (int flags), (flags))
WRAP(int, epoll_ctl, (int fd, int op, int on, struct epoll_event *event), (fd, op, on, event))
WRAP(int, epoll_wait, (int fd, struct epoll_event *events, int n, int ms), (fd, events, n, ms))
WRAP(int, epoll_pwait, (int fd, struct epoll_event *events, int n, int ms, const sigset_t *mask),
     (fd, events, n, ms, mask))
WRAP(int, eventfd, (unsigned value, int flags), (value, flags))
WRAP(int, signalfd, (int fd, const sigset_t *mask, int flags), (fd, mask, flags))
struct pollfd;
WRAP(int, poll, (struct pollfd * fds, unsigned long n, int ms), (fds, n, ms))
WRAP(int, setrlimit, (__rlimit_resource_t what, const struct rlimit *limit), (what, limit))
WRAP(int, prlimit,
     (pid_t pid, __rlimit_resource_t what, const struct rlimit *limit, struct rlimit *old),
     (pid, what, limit, old))
WRAP(int, setuid, (uid_t uid), (uid))
WRAP(int, setgid, (gid_t gid), (gid))
WRAP(int, setresuid, (uid_t r, uid_t e, uid_t s), (r, e, s))
WRAP(int, setresgid, (gid_t r, gid_t e, gid_t s), (r, e, s))
WRAP(int, setgroups, (size_t n, const gid_t *groups), (n, groups))
WRAP(int, initgroups, (const char *user, gid_t group), (user, group))
WRAP(int, chdir, (const char *path), (path))
WRAP(int, chmod, (const char *path, mode_t mode), (path, mode))
WRAP(int, chown, (const char *path, uid_t uid, gid_t gid), (path, uid, gid))
WRAP(int, fchmod, (int fd, mode_t mode), (fd, mode))
WRAP(int, fchown, (int fd, uid_t uid, gid_t gid), (fd, uid, gid))
WRAP(int, unlink, (const char *path), (path))
WRAP(int, rename, (const char *from, const char *to), (from, to))
WRAP(int, mkdir, (const char *path, mode_t mode), (path, mode))
/* The forms that take a directory count as what they do. */
WRAP_AS(int, fchmodat, chmod, (int at, const char *path, mode_t mode, int flags),
	(at, path, mode, flags))
WRAP_AS(int, fchownat, chown, (int at, const char *path, uid_t uid, gid_t gid, int flags),
	(at, path, uid, gid, flags))
WRAP_AS(int, unlinkat, unlink, (int at, const char *path, int flags), (at, path, flags))
WRAP_AS(int, renameat, rename, (int at, const char *from, int to_at, const char *to),
	(at, from, to_at, to))
WRAP(int, sigaction, (int sig, const struct sigaction *new, struct sigaction *old), (sig, new, old))

/* A wrapped vfork would return twice through one frame; a fork does for those who call it. */
pid_t vfork(void)
{
	static pid_t (*real)(void);

	if (fails(CALL_vfork))
		return -1;
	if (!real)
		*(void **)&real = next("fork");
	return real();
}

int clone(int (*fn)(void *), void *stack, int flags, void *arg, ...)
{
	static int (*real)(int (*)(void *), void *, int, void *, ...);
	va_list rest;
	void *parent, *tls, *child;

	if (fails(CALL_clone))
		return -1;
	va_start(rest, arg);
	parent = va_arg(rest, void *);
	tls = va_arg(rest, void *);
	child = va_arg(rest, void *);
	va_end(rest);
	if (!real)
		*(void **)&real = next("clone");
	return real(fn, stack, flags, arg, parent, tls, child);
}

#define WRAP_OPEN(name, call, first_params, first_args) \
	int name first_params                           \
	{                                               \
		static int(*real) first_params;         \
		mode_t mode = 0;                        \
		if (fails(CALL_##call))                 \
			return -1;                      \
		if (flags & (O_CREAT | __O_TMPFILE)) {  \
			va_list rest;                   \
			va_start(rest, flags);          \
			mode = va_arg(rest, mode_t);    \
			va_end(rest);                   \
		}                                       \
		if (!real)                              \
			*(void **)&real = next(#name);  \
		return real first_args;                 \
	}
WRAP_OPEN(open, open, (const char *path, int flags, ...), (path, flags, mode))
WRAP_OPEN(open64, open, (const char *path, int flags, ...), (path, flags, mode))
WRAP_OPEN(openat, open, (int at, const char *path, int flags, ...), (at, path, flags, mode))
WRAP_OPEN(openat64, open, (int at, const char *path, int flags, ...), (at, path, flags, mode))

#define WRAP_VALUE(name, call, type)                   \
	int name(int fd, type what, ...)               \
	{                                              \
		static int (*real)(int, type, ...);    \
		va_list rest;                          \
		long value;                            \
		if (fails(CALL_##call))                \
			return -1;                     \
		va_start(rest, what);                  \
		value = va_arg(rest, long);            \
		va_end(rest);                          \
		if (!real)                             \
			*(void **)&real = next(#name); \
		return real(fd, what, value);          \
	}
WRAP_VALUE(fcntl, fcntl, int)
WRAP_VALUE(fcntl64, fcntl, int)

int prctl(int what, ...)
{
	static int (*real)(int, ...);
	unsigned long a[4];
	va_list rest;

	if (fails(CALL_prctl))
		return -1;
	va_start(rest, what);
	for (int i = 0; i < 4; i++)
		a[i] = va_arg(rest, unsigned long);
	va_end(rest);
	if (!real)
		*(void **)&real = next("prctl");
	return real(what, a[0], a[1], a[2], a[3]);
}

static bool map_counts(int flags)
{
	return !((flags & MAP_PRIVATE) && (flags & MAP_ANONYMOUS)) ||
	       (flags & (MAP_STACK | MAP_GROWSDOWN));
}

#define WRAP_MMAP(name)                                                                    \
	void *name(void *at, size_t size, int protection, int flags, int fd, off_t offset) \
	{                                                                                  \
		static void *(*real)(void *, size_t, int, int, int, off_t);                \
		if (map_counts(flags) && fails(CALL_mmap))                                 \
			return MAP_FAILED;                                                 \
		if (!real)                                                                 \
			*(void **)&real = next(#name);                                     \
		return real(at, size, protection, flags, fd, offset);                      \
	}
WRAP_MMAP(mmap)
WRAP_MMAP(mmap64)

/* SHORT: one byte of the first part that has any; control data goes along. */
static size_t parts_cut(const struct iovec *parts, size_t n, struct iovec *one)
{
	for (size_t i = 0; i < n; i++) {
		if (parts[i].iov_len) {
			*one = (struct iovec){ parts[i].iov_base, 1 };
			return 1;
		}
	}
	return 0;
}

ssize_t writev(int fd, const struct iovec *parts, int n)
{
	static ssize_t (*real)(int, const struct iovec *, int);
	int err = fault_of(CALL_writev);
	struct iovec one;

	if (err > 0) {
		errno = err;
		return -1;
	}
	if (!real)
		*(void **)&real = next("writev");
	if (err == SHORT && parts_cut(parts, (size_t)n, &one))
		return real(fd, &one, 1);
	return real(fd, parts, n);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	static ssize_t (*real)(int, const struct msghdr *, int);
	int err = fault_of(CALL_sendmsg);
	struct msghdr cut = *message;
	struct iovec one;

	if (err > 0) {
		errno = err;
		return -1;
	}
	if (err == SHORT && parts_cut(message->msg_iov, message->msg_iovlen, &one)) {
		cut.msg_iov = &one;
		cut.msg_iovlen = 1;
	}
	if (!real)
		*(void **)&real = next("sendmsg");
	return real(fd, &cut, flags);
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
	static ssize_t (*real)(int, struct msghdr *, int);
	int err = fault_of(CALL_recvmsg);
	struct iovec *parts = message->msg_iov, one;
	size_t n = message->msg_iovlen;
	ssize_t got;

	if (err > 0) {
		errno = err;
		return -1;
	}
	if (err == SHORT && parts_cut(parts, n, &one)) {
		message->msg_iov = &one;
		message->msg_iovlen = 1;
	}
	if (!real)
		*(void **)&real = next("recvmsg");
	got = real(fd, message, flags);
	message->msg_iov = parts;
	message->msg_iovlen = n;
	return got;
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
	static int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
	int err = fault_of(CALL_pthread_create);

	if (err > 0)
		return err;
	if (!real)
		*(void **)&real = next("pthread_create");
	return real(thread, attr, fn, arg);
}

/* Under a sanitizer these are never reached: it has its own. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *old, size_t size);

void *malloc(size_t size)
{
	return fails(CALL_malloc) ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
	return fails(CALL_malloc) ? NULL : __libc_calloc(n, size);
}

void *realloc(void *old, size_t size)
{
	return fails(CALL_malloc) ? NULL : __libc_realloc(old, size);
}

static const struct {
	long number;
	enum call call;
} raw_calls[] = {
#define RAW(name) { SYS_##name, CALL_##name },
	RAW(clone) RAW(execve) RAW(waitid) RAW(wait4) RAW(kill) RAW(setpgid) RAW(setsid)
		RAW(pidfd_open) RAW(pidfd_send_signal) RAW(close_range) RAW(pipe2) RAW(socketpair)
			RAW(dup) RAW(dup3) RAW(fcntl) RAW(read) RAW(write) RAW(memfd_create)
				RAW(epoll_ctl) RAW(prctl) RAW(setuid) RAW(setgid) RAW(setresuid)
					RAW(setresgid) RAW(setgroups) RAW(chdir) RAW(accept4)
						RAW(sendmsg) RAW(recvmsg){ SYS_clone3, CALL_clone },
	{ SYS_rt_sigaction, CALL_sigaction },
	{ SYS_prlimit64, CALL_prlimit },
	{ SYS_execveat, CALL_execve },
	{ SYS_openat, CALL_open },
#ifdef SYS_vfork
	{ SYS_vfork, CALL_vfork },
	{ SYS_fork, CALL_fork },
	{ SYS_open, CALL_open },
	{ SYS_dup2, CALL_dup2 },
	{ SYS_pipe, CALL_pipe },
	{ SYS_setrlimit, CALL_setrlimit },
#endif
};

long syscall(long number, ...)
{
	static long (*real)(long, ...);
	long a[6];
	va_list rest;

	for (size_t i = 0; i < sizeof raw_calls / sizeof *raw_calls; i++)
		if (raw_calls[i].number == number && fails(raw_calls[i].call))
			return -1;
	va_start(rest, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(rest, long);
	va_end(rest);
	if (!real)
		*(void **)&real = next("syscall");
	return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
