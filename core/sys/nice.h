/*
 * nice.h - how much of a busy machine this process gets, and none that it forks.
 */
#ifndef SYS_NICE_H
#define SYS_NICE_H

/*
 * Be as nice as that, from -20 to 0; what is forked and executed has 0 again. 0, or -EACCES or
 * -EPERM where this process may not, -EBUSY where whoever started it has given it another niceness
 * or policy, which it keeps.
 */
int nice_self(int niceness);

#endif
