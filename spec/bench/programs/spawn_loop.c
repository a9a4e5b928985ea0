/*
 * spawn_loop N MB PROGRAM - start PROGRAM and wait for it, N times, in a process of so many MB;
 * prints the milliseconds. What a supervisor written in C would have to pay at least.
 */
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

extern char **environ;

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

int main(int argc, char **argv)
{
	int n = argc == 4 ? atoi(argv[1]) : 0;
	size_t size = argc == 4 ? (size_t)atoi(argv[2]) << 20 : 0;
	char *memory = malloc(size + 1);
	double began;

	if (!n || !memory) {
		free(memory);
		return 2;
	}
	memset(memory, 'x', size + 1);
	began = now_ms();
	for (int i = 0; i < n; i++) {
		char *child[] = { argv[3], NULL };
		int status;
		pid_t pid;

		if (posix_spawn(&pid, argv[3], NULL, NULL, child, environ) ||
		    waitpid(pid, &status, 0) != pid || status)
			exit(1);
	}
	printf("%.3f\n", now_ms() - began);
	free(memory);
	return 0;
}
