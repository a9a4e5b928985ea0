/*
 * first_answer replace PORT            - ask /pid, KILL that process, until /pid names another one
 * first_answer start PORT LOG ARGV...  - run ARGV until it answers, then QUIT it, and wait
 * first_answer reload PORT MASTER N    - ask /pid until N have answered, HUP the master, and ask
 *                                        until N others have
 *
 * Prints the milliseconds. In C, so that the client's own pace is not what is measured.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

enum { PAUSE_US = 200, LIMIT_MS = 15000, MOST = 16 };

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* The number in the body of a whole 200 answer to GET /pid; 0 without one. */
static int ask(int port)
{
	static const char request[] = "GET /pid HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_port = htons((unsigned short)port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	char text[4096];
	size_t got = 0;
	ssize_t n = -1;
	char *body;

	if (!connect(fd, (struct sockaddr *)&to, sizeof(to)) &&
	    send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL) > 0)
		while ((n = read(fd, text + got, sizeof(text) - 1 - got)) > 0)
			got += (size_t)n;
	close(fd);
	text[got] = 0;
	body = strstr(text, "\r\n\r\n");
	return n == 0 && body && strstr(text, " 200 ") ? atoi(body + 4) : 0;
}

static double until_other(int port, int old, double began)
{
	int pid;

	while ((pid = ask(port)) == 0 || pid == old) {
		if (now_ms() - began > LIMIT_MS)
			exit(1);
		usleep(PAUSE_US);
	}
	return now_ms() - began;
}

static double replace(int port)
{
	int old = ask(port);
	double began = now_ms();

	if (old <= 0 || kill(old, SIGKILL))
		exit(1);
	return until_other(port, old, began);
}

static bool among(const int *pids, int n, int pid)
{
	while (n-- > 0)
		if (pids[n] == pid)
			return true;
	return false;
}

/* Until n processes have answered that are none of the old ones. */
static void collect(int port, int *pids, int n, const int *old)
{
	double began = now_ms();

	for (int have = 0; have < n;) {
		int pid = ask(port);

		if (now_ms() - began > LIMIT_MS)
			exit(1);
		if (pid > 0 && !among(pids, have, pid) && !(old && among(old, n, pid)))
			pids[have++] = pid;
	}
}

static double reload(int port, pid_t master, int n)
{
	int old[MOST], fresh[MOST];
	double began;

	if (n < 1 || n > MOST)
		exit(2);
	collect(port, old, n, NULL);
	began = now_ms();
	if (kill(master, SIGHUP))
		exit(1);
	collect(port, fresh, n, old);
	return now_ms() - began;
}

static double start(int port, const char *log, char **argv)
{
	double began = now_ms(), took;
	posix_spawn_file_actions_t files;
	pid_t pid;

	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_addopen(&files, 1, log, O_WRONLY | O_CREAT | O_APPEND, 0600);
	posix_spawn_file_actions_adddup2(&files, 1, 2);
	if (posix_spawn(&pid, argv[0], &files, NULL, argv, environ))
		exit(1);
	took = until_other(port, 0, began);
	kill(pid, SIGQUIT);
	waitpid(pid, NULL, 0);
	return took;
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "replace") == 0)
		printf("%.3f\n", replace(atoi(argv[2])));
	else if (argc == 5 && strcmp(argv[1], "reload") == 0)
		printf("%.3f\n", reload(atoi(argv[2]), atoi(argv[3]), atoi(argv[4])));
	else if (argc > 4 && strcmp(argv[1], "start") == 0)
		printf("%.3f\n", start(atoi(argv[2]), argv[3], argv + 4));
	else
		return 2;
	return 0;
}
