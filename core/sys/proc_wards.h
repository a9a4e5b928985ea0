/*
 * proc_wards.h - which process groups each process of this tree looks after, in memory that all of
 * them share: whoever buries one ends what it has left.
 *
 * A ward is a group that must not outlive the process that started it. Nothing here fails: where
 * there is no memory for the record, a process that is killed leaves its wards behind. What
 * the record says may be old, or a lie of a process that has been broken into: nobody is killed for
 * it who is not a child of the one who kills.
 */
#ifndef SYS_PROC_WARDS_H
#define SYS_PROC_WARDS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Before a fork: from now on there is a record. The process that makes it needs none of its own. */
void wards_share(void);
/* In the child of a fork, before it does anything: it has none yet. */
void wards_begin(void);
/* minds: it is a process of ours, which ends by itself when its guardian is dead. Guardian and ward
 * may both say it: either may be killed before. */
void wards_add(pid_t owner, pid_t group, bool minds);
/*
 * The same for a program, before the clone: the place where its process, which must not run without
 * being known, puts its number beside what *entry says, where that still stands there. The
 * place is free again when 0 is in it. NULL: there is nothing to put.
 */
uint64_t *wards_reserve(uint64_t *entry);
/* Our ward is empty. */
void wards_remove(pid_t group);
/* One of that group was reaped: no ward of ours any more where that was the last. */
void wards_reaped(pid_t group);
/* It was killed by wards_end with each(): wards_left reaps it, and nobody else is to. */
bool wards_awaited(pid_t group);

/*
 * A child of ours is dead, and best not reaped yet: KILL its wards, which are our children now (we
 * are subreaper); without `all` those that mind are left to their own end. The wards of those
 * follow when they are dead: this is to be called for every child before it is reaped.
 * each(), which may be NULL, is told of every group that was alive, and wards_left is to be asked
 * about those until they are empty.
 */
void wards_end(pid_t dead, bool all, void (*each)(pid_t group, void *arg), void *arg);
/* The same with our own wards. To be called from a signal handler as well. */
void wards_end_own(void);
/* Is a child of ours left in such a group? Reaps those that are dead, ends what they looked after,
 * and tells each() of that. */
bool wards_left(pid_t group, void (*each)(pid_t group, void *arg), void *arg);

#endif
