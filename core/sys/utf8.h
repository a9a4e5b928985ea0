/*
 * utf8.h - telling UTF-8 from bytes that are none, for whatever writes text that others parse.
 */
#ifndef SYS_UTF8_H
#define SYS_UTF8_H

#include <stddef.h>

/* Length of the UTF-8 sequence at s, 0 where it is none: overlong forms, surrogates and beyond
 * U+10FFFF included. */
size_t utf8_length(const unsigned char *s, size_t left);

#endif
