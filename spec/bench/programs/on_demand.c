/*
 * on_demand             - a program of a backend: it answers every request on the Unix socket SOCKET with its pid
 * on_demand own PATH    - start that with SOCKET=PATH, until it has answered one request
 * on_demand first PORT  - one request over TCP, until its answer is there
 *
 * The last two print the milliseconds, and the pid that answered.
 */
#include <arpa/inet.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PAUSE_US = 50, LIMIT_MS = 15000 };

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static struct sockaddr_un unix_address(const char *path)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };

	snprintf(to.sun_path, sizeof(to.sun_path), "%s", path);
	return to;
}

static int serve(const char *path)
{
	struct sockaddr_un at = unix_address(path);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	char text[4096], body[16];
	int client;

	if (bind(fd, (struct sockaddr *)&at, sizeof(at)) || listen(fd, 16))
		return 1;
	snprintf(body, sizeof(body), "%d", (int)getpid());
	while ((client = accept(fd, NULL, NULL)) >= 0) {
		while (read(client, text, sizeof(text)) > 0)
			dprintf(client, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s", strlen(body), body);
		close(client);
	}
	return 1;
}

/* Over a connection that is there: the number in the body of its answer. */
static int ask(int fd)
{
	static const char request[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
	char text[4096], *body;
	ssize_t n = -1;

	if (send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL) > 0)
		n = read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return 0;
	text[n] = 0;
	body = strstr(text, "\r\n\r\n");
	return body && strstr(text, " 200 ") ? atoi(body + 4) : 0;
}

static int own(char *self, const char *path)
{
	struct sockaddr_un to = unix_address(path);
	char variable[sizeof(to.sun_path) + 8], *argv[] = { self, NULL }, *env[] = { variable, NULL };
	double began = now_ms(), took;
	pid_t pid;
	int fd = -1, answered;

	snprintf(variable, sizeof(variable), "SOCKET=%s", path);
	if (posix_spawn(&pid, self, NULL, NULL, argv, env))
		return 1;
	while (fd < 0 && now_ms() - began < LIMIT_MS) {
		fd = socket(AF_UNIX, SOCK_STREAM, 0);
		if (connect(fd, (struct sockaddr *)&to, sizeof(to))) {
			close(fd);
			fd = -1;
			usleep(PAUSE_US);
		}
	}
	answered = ask(fd);
	took = now_ms() - began;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	unlink(path);
	printf("%.3f %d\n", took, answered);
	return answered != pid;
}

static int first(int port)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_port = htons((unsigned short)port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	double began = now_ms();
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	int answered = connect(fd, (struct sockaddr *)&to, sizeof(to)) ? 0 : ask(fd);

	printf("%.3f %d\n", now_ms() - began, answered);
	return answered <= 0;
}

int main(int argc, char **argv)
{
	if (argc == 1 && getenv("SOCKET"))
		return serve(getenv("SOCKET"));
	if (argc == 3 && strcmp(argv[1], "own") == 0)
		return own(argv[0], argv[2]);
	if (argc == 3 && strcmp(argv[1], "first") == 0)
		return first(atoi(argv[2]));
	return 2;
}
