/*
 * main.c - the brood program: one runtime, whose Lua entry reads the command line.
 */
#include <stdio.h>
#include <string.h>

#include "brood.h"
#include "runtime.h"

int main(int argc, char **argv)
{
	struct runtime *rt;
	int err = runtime_create(&rt, argc, argv);

	if (err) {
		fprintf(stderr, "brood: cannot start: %s\n", strerror(-err));
		return 1;
	}
	runtime_exit(rt, runtime_run(rt, "brood.cli"));
}
