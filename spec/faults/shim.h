/*
 * shim.h - the calls that the shim knows, and the question that each wrapper asks.
 */
#ifndef SHIM_H
#define SHIM_H

#include <stdbool.h>
#include <stdint.h>

/* clang-format off */
#define CALLS(X) \
	X(fork) X(vfork) X(clone) X(execve) X(waitid) X(waitpid) X(wait4) X(kill) X(setpgid) \
	X(setsid) X(pidfd_open) X(pidfd_send_signal) X(close_range) X(pipe) X(pipe2) \
	X(socketpair) X(socket) X(bind) X(listen) X(connect) X(accept) X(accept4) \
	X(getsockname) X(setsockopt) X(open) X(dup) X(dup2) X(dup3) X(fcntl) \
	X(read) X(write) X(writev) X(send) X(sendto) X(sendmsg) X(recv) X(recvmsg) X(mmap) \
	X(mprotect) X(madvise) X(memfd_create) X(ftruncate) X(epoll_create1) X(epoll_ctl) \
	X(epoll_wait) X(epoll_pwait) X(eventfd) X(signalfd) X(poll) X(prctl) X(setrlimit) \
	X(prlimit) X(setuid) X(setgid) X(setresuid) X(setresgid) X(setgroups) X(initgroups) \
	X(chdir) X(chmod) X(chown) X(fchmod) X(fchown) X(unlink) X(rename) X(mkdir) \
	X(pthread_create) X(malloc) X(sigaction)
/* clang-format on */

enum call {
#define X(name) CALL_##name,
	CALLS(X)
#undef X
		CALL_COUNT
};

enum { SHORT = -1, DIE = -2 };

/* Between the shim's own files; what is not hidden is an interposed call, or for scripts. */
#pragma GCC visibility push(hidden)

/* 0, SHORT, or the errno that this call must fail with; counts it. DIE does not return. */
int fault_of(enum call call);

/* Whether it must fail; errno is set then. */
bool fails(enum call call);

/* The real function of that name. */
void *next(const char *name);

#pragma GCC visibility pop

/* For scripts, by ffi: count from zero, with these rules (NULL: those of the environment). */
void fault_arm(const char *text);
void fault_disarm(void);
uint64_t fault_calls(const char *name);

#endif
