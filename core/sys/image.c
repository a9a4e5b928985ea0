/*
 * image.c - the program's own pages, and its libraries'. Starting reads many that are never looked
 * at again: what was relocated, what a config was read with, what chose the functions that suit the
 * processor. They stay in this process, and in no other, until somebody else needs the memory.
 */
#include "sys/image.h"

#include <elf.h>
#include <link.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

/* Read from the file again they would not be what they are: they were written to. */
static bool is_relocated(const struct dl_phdr_info *object)
{
	for (int i = 0; i < object->dlpi_phnum; i++) {
		const ElfW(Phdr) *part = &object->dlpi_phdr[i];
		const ElfW(Dyn) *dynamic = (const void *)(object->dlpi_addr + part->p_vaddr);

		if (part->p_type != PT_DYNAMIC)
			continue;
		for (; dynamic->d_tag != DT_NULL; dynamic++) {
			if (dynamic->d_tag == DT_TEXTREL ||
			    (dynamic->d_tag == DT_FLAGS && dynamic->d_un.d_val & DF_TEXTREL))
				return true;
		}
	}
	return false;
}

static int release_object(struct dl_phdr_info *object, size_t size, void *arg)
{
	uintptr_t page = *(uintptr_t *)arg;

	(void)size;
	if (object->dlpi_addr == getauxval(AT_SYSINFO_EHDR) || is_relocated(object))
		return 0;
	for (int i = 0; i < object->dlpi_phnum; i++) {
		const ElfW(Phdr) *part = &object->dlpi_phdr[i];
		uintptr_t from = (object->dlpi_addr + part->p_vaddr) & ~(page - 1);
		uintptr_t to = object->dlpi_addr + part->p_vaddr + part->p_filesz;

		if (part->p_type == PT_LOAD && !(part->p_flags & PF_W) && to > from)
			madvise((void *)from, to - from, MADV_DONTNEED);
	}
	return 0;
}

void image_release(void)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);

	dl_iterate_phdr(release_object, &page);
}
