/*
 * image.c - the program's own pages, and its libraries'. Starting reads many that are never looked
 * at again: what was relocated, what a config was read with, what chose the functions that suit the
 * processor. They stay in this process, and in no other, until somebody else needs the memory.
 */
#include "sys/image.h"

#include <fcntl.h>
#include <link.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

/* An entry of /proc/PID/pagemap. */
#define OF_FILE (1ull << 61)
#define PRESENT (1ull << 63)

enum {
	PAGES = 256, /* entries that are read at once */
};

struct image {
	int pagemap;
	uintptr_t page;
};

/*
 * A page that was written to is ours: a relocation, or a debugger's breakpoint. Read from the file
 * again it would not be what it is, so it stays.
 */
static bool is_files(uint64_t entry)
{
	return (entry & (PRESENT | OF_FILE)) == (PRESENT | OF_FILE);
}

static void release_pages(uintptr_t from, const uint64_t *entries, size_t n, uintptr_t page)
{
	for (size_t i = 0, end; i < n; i = end + 1) {
		for (end = i; end < n && is_files(entries[end]); end++)
			;
		if (end > i)
			madvise((void *)(from + i * page), (end - i) * page, MADV_DONTNEED);
	}
}

static void release_part(const struct image *image, uintptr_t from, uintptr_t to)
{
	uint64_t entries[PAGES];

	while (from < to) {
		size_t n = (to - from + image->page - 1) / image->page;
		ssize_t got;

		if (n > PAGES)
			n = PAGES;
		got = pread(image->pagemap, entries, n * sizeof(*entries),
			    (off_t)(from / image->page * sizeof(*entries)));
		if (got <= 0)
			return;
		n = (size_t)got / sizeof(*entries);
		release_pages(from, entries, n, image->page);
		from += n * image->page;
	}
}

static int release_object(struct dl_phdr_info *object, size_t size, void *arg)
{
	const struct image *image = arg;

	(void)size;
	if (object->dlpi_addr == getauxval(AT_SYSINFO_EHDR))
		return 0;
	for (int i = 0; i < object->dlpi_phnum; i++) {
		const ElfW(Phdr) *part = &object->dlpi_phdr[i];
		uintptr_t from = object->dlpi_addr + part->p_vaddr;

		if (part->p_type == PT_LOAD && !(part->p_flags & PF_W))
			release_part(image, from & ~(image->page - 1), from + part->p_filesz);
	}
	return 0;
}

void image_release(void)
{
	struct image image = {
		.pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC),
		.page = (uintptr_t)sysconf(_SC_PAGESIZE),
	};

	if (image.pagemap < 0)
		return;
	dl_iterate_phdr(release_object, &image);
	close(image.pagemap);
}
