/*
 * supervised - a program that has nothing to do: it says so with one byte on its stdout, which it
 * keeps open, and waits for a signal.
 */
#include <unistd.h>

int main(void)
{
	if (write(1, "+", 1) != 1)
		return 1;
	for (;;)
		pause();
}
