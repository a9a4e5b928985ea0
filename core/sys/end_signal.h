/*
 * end_signal.h - TERM and INT for a process whose loop does not turn: who insists is heard.
 */
#ifndef SYS_END_SIGNAL_H
#define SYS_END_SIGNAL_H

/*
 * From now on a TERM or INT that comes while an earlier one has waited for a second ends the
 * process as that signal would. To be called when their handlers are in place: they are called
 * first. 0 or a negative errno.
 */
int end_signals_insist(void);
/* The loop has picked up what came so far. */
void end_signals_heard(void);

#endif
