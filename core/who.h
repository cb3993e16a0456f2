/* Who is who, in words: for those who look at what hangs. Nothing here waits. */
#ifndef KIN_CORE_WHO_H
#define KIN_CORE_WHO_H

#include "core/object.h"

/* A text that grows until it is full; always with a zero at its end. */
typedef struct who_text {
    char *at;
    size_t left;
} who_text;

#if defined __GNUC__
#if defined __MINGW32__
__attribute__((format(gnu_printf, 2, 3)))
#else
__attribute__((format(printf, 2, 3)))
#endif
#endif
void who_add(who_text *text, const char *format, ...);

/* "worker (pid 12, thread 3)"; and 'lock "name"'. */
void who_add_thread(who_text *text, uint64_t reference, uint32_t number);
void who_add_sync(who_text *text, uint64_t id);

/* Its name, by its handle. */
void who_add_process(who_text *text, uint64_t id);

/* " at program+0x12a4", or nothing if no address is known. */
void who_add_site(who_text *text, uint64_t reference, uint64_t address);

/* Where an address of a member's is: the module's path and the offset in it; "" and the address
   where that cannot be told. */
void who_find_site(uint64_t reference, uint64_t address, char *module, size_t size,
                   uint64_t *offset);

#endif
