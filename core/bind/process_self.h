/*
 * process_self.h - the functions of brood.core.process that are about the calling process.
 */
#ifndef BIND_PROCESS_SELF_H
#define BIND_PROCESS_SELF_H

#include "bind/bind.h"

extern const luaL_Reg process_self_functions[];

#endif
