/*
 * title.c - setproctitle: the kernel shows the bytes between argv[0] and the end
 * of the environment, so both are copied elsewhere and their room is written over.
 */
#include "sys/title.h"

#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static char *room;
static size_t room_size;

/* One block, pointers first and their bytes behind them, so that one free gives it back. */
static char **copy_strings(char **from, size_t n)
{
	size_t bytes = 0;
	char **copy, *at;

	for (size_t i = 0; i < n; i++)
		bytes += strlen(from[i]) + 1;
	copy = malloc((n + 1) * sizeof(*copy) + bytes);
	if (!copy)
		return NULL;
	at = (char *)&copy[n + 1];
	for (size_t i = 0; i < n; i++) {
		copy[i] = at;
		at = stpcpy(at, from[i]) + 1;
	}
	copy[n] = NULL;
	return copy;
}

/* What ps shows as the command: at most 15 bytes. */
static void comm_set(const char *text, size_t length)
{
	char comm[16];

	if (length >= sizeof(comm))
		length = sizeof(comm) - 1;
	memcpy(comm, text, length);
	comm[length] = '\0';
	prctl(PR_SET_NAME, comm);
}

/* A program that was started as /proc/PID/exe is called "exe". */
static void name_itself(const char *program)
{
	const char *slash = strrchr(program, '/');
	char comm[16];

	if (prctl(PR_GET_NAME, comm) == 0 && strcmp(comm, "exe") == 0)
		comm_set(slash ? slash + 1 : program, strlen(slash ? slash + 1 : program));
}

char **title_setup(int argc, char **argv)
{
	char *end = argc > 0 ? argv[0] : NULL;
	char **argv_copy, **env_copy;
	size_t n = 0;

	if (!end)
		return argv;
	for (int i = 0; i < argc; i++) {
		if (argv[i] == end)
			end += strlen(argv[i]) + 1;
	}
	for (; environ[n]; n++) {
		if (environ[n] == end)
			end += strlen(environ[n]) + 1;
	}
	argv_copy = copy_strings(argv, (size_t)argc);
	env_copy = copy_strings(environ, n);
	if (!argv_copy || !env_copy) {
		free(argv_copy);
		free(env_copy);
		return argv;
	}
	name_itself(argv[0]);
	room = argv[0];
	room_size = (size_t)(end - room);
	environ = env_copy;
	return argv_copy;
}

void title_set(const char *text)
{
	if (!room || room_size < 2)
		return;
	memset(room, 0, room_size);
	strncpy(room, text, room_size - 1);
	comm_set(text, strcspn(text, ": "));
}
