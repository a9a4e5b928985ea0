/*
 * signame.h - signals by name: "TERM", "SIGTERM", any case; "RTMIN+2".
 */
#ifndef SYS_SIGNAME_H
#define SYS_SIGNAME_H

#include <stddef.h>

/* -1 when there is none. */
int signal_by_name(const char *name);
/* Without SIG; a number as text where it has no name. */
const char *signal_name(int signum, char out[16]);

#endif
