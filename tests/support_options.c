#include "support_options.h"

#include <string.h>

void each_method(void (*test)(int method))
{
    static const int methods[] = {KIN_START_SPAWN, KIN_START_FORK, KIN_START_FORKSERVER};
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        if (kin_has_start_method(methods[i])) {
            test(methods[i]);
        }
    }
}

static int do_nothing(void *argument, size_t size)
{
    (void) argument, (void) size;
    return 0;
}

bool can_choose_cores(void)
{
    int cores[MOST_CORES];
    kin_process process;
    kin_process_options options = {.cores = cores, .core_count = system_cores(cores)};
    int status = kin_process_start(&process, do_nothing, NULL, 0, &options);
    if (status == KIN_E_UNSUPPORTED) {
        return false;
    }
    assert_int_equal(status, 0);
    assert_int_equal(end_of(process), 0);
    return true;
}

static char directory[64];

void make_place(const char *name)
{
    uint64_t number;
    assert_int_equal(platform_random(&number, sizeof number), 0);
    (void) snprintf(directory, sizeof directory, "%s %llx", name, (unsigned long long) number);
    system_make_directory(directory);
}

void remove_place(void)
{
    system_remove(directory);
    if (system_exists(directory)) {
        (void) fprintf(stderr, "something is left in %s\n", directory);
    }
}

const char *place(const char *name)
{
    static char paths[64][256];
    static unsigned next;
    char *path = paths[next++ % 64];
    (void) snprintf(path, sizeof paths[0], "%s%s%s", directory, SEPARATOR, name);
    return path;
}

void write_file(const char *path, const char *text)
{
    intptr_t file;
    assert_int_equal(platform_stream_open(&file, path, PLATFORM_WRITE), 0);
    assert_true(system_write(file, text, strlen(text)));
    platform_stream_close(file);
}

size_t read_file(const char *path, char *text)
{
    intptr_t file;
    assert_int_equal(platform_stream_open(&file, path, PLATFORM_READ), 0);
    size_t length = read_to_end(file, text, TEXT_SIZE - 1);
    platform_stream_close(file);
    text[length] = '\0';
    return length;
}

void assert_file(const char *path, const char *text)
{
    char found[TEXT_SIZE];
    (void) read_file(path, found);
    assert_string_equal(found, text);
}

int warm_up_all(void **state)
{
    const kin_process_options options = {.method = KIN_START_FORKSERVER};
    kin_process process;
    int status = warm_up(state);
    if (kin_has_start_method(KIN_START_FORKSERVER)) {
        assert_int_equal(kin_process_start(&process, do_nothing, NULL, 0, &options), 0);
        assert_int_equal(end_of(process), 0);
    }
    return status;
}
