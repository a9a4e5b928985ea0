/*
 * tally.c - the shared mapping behind a row of numbers.
 */
#include "sys/tally.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

struct tally {
	size_t count;
	int64_t *numbers;
};

int tally_create(struct tally **out, size_t count)
{
	struct tally *t;

	if (count == 0 || count > SIZE_MAX / 2 / sizeof(int64_t))
		return -EINVAL;
	t = malloc(sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->count = count;
	t->numbers = mmap(NULL, count * sizeof(int64_t), PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (t->numbers == MAP_FAILED) {
		int err = -errno;

		free(t);
		return err;
	}
	*out = t;
	return 0;
}

int64_t *tally_number(struct tally *t, size_t index)
{
	return index < t->count ? &t->numbers[index] : NULL;
}

void tally_free(struct tally *t)
{
	if (!t)
		return;
	munmap(t->numbers, t->count * sizeof(int64_t));
	free(t);
}
