/*
 * image.h - the pages of the program and its libraries that this process has in memory.
 */
#ifndef SYS_IMAGE_H
#define SYS_IMAGE_H

/* Have none: each comes back from its file, or from other processes, when it is used again. */
void image_release(void);

#endif
