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
#include <sys/types.h>

/* Before a fork: from now on there is a record. The process that makes it needs none of its own. */
void wards_share(void);
/* In the child of a fork, before it does anything: it has none yet. */
void wards_begin(void);
/* minds: it is a process of ours, which ends by itself when its guardian is dead. */
void wards_add(pid_t group, bool minds);
/* The group is empty. */
void wards_remove(pid_t group);

/*
 * A child of ours is dead: KILL its wards, which are our children now (we are subreaper), and
 * theirs; without `all` those that mind are left to their own end. each() is told of every
 * group that was alive.
 */
void wards_end(pid_t dead, bool all, void (*each)(pid_t group, void *arg), void *arg);
/* The same with our own wards. To be called from a signal handler as well. */
void wards_end_own(void);
/* Is a child of ours left in such a group? Reaps those that are dead. */
bool wards_left(pid_t group);

#endif
