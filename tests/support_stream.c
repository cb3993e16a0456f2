#include "support_stream.h"

#include <stdlib.h>

unsigned char *stream_pattern;
unsigned char *stream_taken;

void stream_prepare(void)
{
    stream_pattern = malloc(STREAM_MOST);
    stream_taken = malloc(STREAM_MOST + 1);
    assert_true(stream_pattern != NULL && stream_taken != NULL);
    for (size_t i = 0; i < STREAM_MOST; i++) {
        stream_pattern[i] = (unsigned char) (i ^ i >> 7 ^ i >> 15 ^ i >> 23);
    }
}

void stream_clear(void)
{
    free(stream_pattern);
    free(stream_taken);
}

size_t read_to_end(intptr_t handle, void *buffer, size_t size)
{
    size_t length = 0;
    ptrdiff_t more = 1;
    while (more > 0 && length < size) {
        more = system_read(handle, (unsigned char *) buffer + length, size - length);
        length += more > 0 ? (size_t) more : 0;
    }
    return length;
}

static int handles;

int count_handles(void **state)
{
    (void) state;
    handles = system_handles();
    return 0;
}

/* Those of threads that have ended may go a little later. */
int compare_handles(void **state)
{
    (void) state;
    for (int i = 0; i < LONG_MS / 20 && system_handles() > handles; i++) {
        platform_sleep_ns(1000000);
    }
    if (system_handles() > handles) {
        (void) fprintf(stderr, "handles: %d before, %d after\n", handles, system_handles());
        return -1;
    }
    return 0;
}
