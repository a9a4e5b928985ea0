/*
 * supervise_floor N PROGRAM - start PROGRAM N times, start it again whenever one ends, and end them
 * all at TERM. What a supervisor written in C would have to pay at least.
 */
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>

extern char **environ;

static posix_spawnattr_t attributes;

static pid_t start(char *program)
{
	char *argv[] = { program, NULL };
	pid_t pid;

	if (posix_spawn(&pid, program, NULL, &attributes, argv, environ))
		exit(1);
	return pid;
}

static void start_again(pid_t *pids, int n, char *program)
{
	pid_t dead;

	while ((dead = waitpid(-1, NULL, WNOHANG)) > 0)
		for (int i = 0; i < n; i++)
			if (pids[i] == dead)
				pids[i] = start(program);
}

int main(int argc, char **argv)
{
	int n = argc == 3 ? atoi(argv[1]) : 0, signum;
	pid_t *pids = calloc((size_t)n + 1, sizeof(*pids));
	sigset_t set, none;

	if (!n || !pids)
		return 2;
	sigemptyset(&none);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
	posix_spawnattr_setsigmask(&attributes, &none);
	for (int i = 0; i < n; i++)
		pids[i] = start(argv[2]);
	while (sigwait(&set, &signum) == 0 && signum != SIGTERM)
		start_again(pids, n, argv[2]);
	for (int i = 0; i < n; i++)
		kill(pids[i], SIGTERM);
	while (wait(NULL) > 0)
		;
	free(pids);
	return 0;
}
