/*
 * stream - a child sends 100,000 small frames, then one of 64 MB, to its parent through a stream
 * socket, a write for each; prints the milliseconds of both. What messages cost without a runtime.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { COUNT = 100000, SMALL = 32, LARGE = 64 << 20 };

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void send_frame(int fd, char *frame, uint32_t length)
{
	size_t sent = 0, size = sizeof(length) + length;

	memcpy(frame, &length, sizeof(length));
	while (sent < size) {
		ssize_t n = write(fd, frame + sent, size - sent);

		if (n <= 0)
			_exit(1);
		sent += (size_t)n;
	}
}

/* The child: a byte from the parent asks for each of the two. */
static void send_all(int fd)
{
	char *frame = malloc(sizeof(uint32_t) + LARGE), go;

	if (!frame)
		_exit(1);
	memset(frame, 'x', sizeof(uint32_t) + LARGE);
	if (read(fd, &go, 1) == 1)
		for (int i = 0; i < COUNT; i++)
			send_frame(fd, frame, SMALL);
	if (read(fd, &go, 1) == 1)
		send_frame(fd, frame, LARGE);
	_exit(0);
}

static double receive(int fd, char *memory, size_t size)
{
	double began = now_ms();

	if (write(fd, "g", 1) != 1)
		exit(1);
	for (size_t got = 0; got < size;) {
		size_t room = size - got < 65536 ? size - got : 65536;
		ssize_t n = read(fd, memory + (size > LARGE ? got : 0), room);

		if (n <= 0)
			exit(1);
		got += (size_t)n;
	}
	return now_ms() - began;
}

int main(void)
{
	char *memory = malloc(sizeof(uint32_t) + LARGE);
	int pair[2];
	double small;

	if (!memory || socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		exit(1);
	if (fork() == 0)
		send_all(pair[1]);
	small = receive(pair[0], memory, (size_t)COUNT * (sizeof(uint32_t) + SMALL));
	printf("%.3f %.3f\n", small, receive(pair[0], memory, sizeof(uint32_t) + LARGE));
	wait(NULL);
	free(memory);
	return 0;
}
