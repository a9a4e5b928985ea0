/*
 * reserve.h - a name that one process of this machine has at a time, whichever user's, for as long
 * as it keeps the descriptor: however it ends, the name is free again.
 */
#ifndef SYS_RESERVE_H
#define SYS_RESERVE_H

/* 0 and an owned descriptor, or -EADDRINUSE where somebody has it, or another -errno. The name is
 * that of an abstract Unix socket, and so belongs to the network namespace. */
int name_reserve(const char *name, int *fd);

#endif
