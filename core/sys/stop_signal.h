/*
 * stop_signal.h - the signals whose default action stops a process that has a terminal in the
 * background, and which a master takes for wishes. Nothing else is told apart here.
 */
#ifndef SYS_STOP_SIGNAL_H
#define SYS_STOP_SIGNAL_H

/* From now on TTIN and TTOU mean nothing to this process; programs that it executes have their
 * default actions. 0 or -errno. */
int stop_signals_pass(void);

#endif
