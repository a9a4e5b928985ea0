/*
 * main.c - the brood program: one runtime, whose Lua entry reads the command line.
 */
#include "brood.h"
#include "runtime.h"

int main(int argc, char **argv)
{
	struct runtime *rt;

	if (runtime_create(&rt, argc, argv))
		return 1;
	runtime_exit(rt, runtime_run(rt, "brood.cli"));
}
