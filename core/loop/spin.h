/*
 * spin.h - staying awake for a moment, where the next word is likely to come at once.
 */
#ifndef LOOP_SPIN_H
#define LOOP_SPIN_H

#include <uv.h>

/*
 * This process has nothing to do until somebody answers it. Where the answers before came within
 * microseconds the loop looks again and again for so long, and only then sleeps. Never fails: it
 * sleeps at once where it cannot do better.
 */
void spin_expect(uv_loop_t *loop);
/* Something has come. */
void spin_heard(void);

#endif
