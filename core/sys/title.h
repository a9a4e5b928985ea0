/*
 * title.h - the name under which ps and top show this process.
 */
#ifndef SYS_TITLE_H
#define SYS_TITLE_H

/*
 * Move argv and the environment out of the way, so that title_set may write
 * over them. Call once, first. Returns the copied argv; on failure the given one.
 */
char **title_setup(int argc, char **argv);

/*
 * Show `text` (cut to the room there is) as the command line. Its first word,
 * without a colon, becomes comm.
 */
void title_set(const char *text);

#endif
