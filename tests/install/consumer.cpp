// A user of an installed kin, in C++: the headers compile there, and functions and options work.
#include <cstdio>
#include <kin/kin.h>

static int child(void *argument, std::size_t size)
{
    return size == sizeof(int) ? *static_cast<int *>(argument) : 1;
}

int main(int argc, char **argv)
{
    int argument = 7;
    int code = 0;
    kin_process process{};
    kin_process_options options{};
    options.daemon = true;
    int status = kin_init(&argc, &argv);
    if (status >= 0) {
        status = kin_process_start(&process, child, &argument, sizeof argument, &options);
    }
    if (status >= 0) {
        status = kin_process_join(process, KIN_FOREVER);
    }
    if (status >= 0) {
        status = kin_process_exit_code(process, &code);
    }
    if (status >= 0) {
        status = kin_process_close(process);
    }
    std::printf("kin %s: %s, exit code %d\n", kin_version(), kin_error_name(status), code);
    return status >= 0 && code == 7 ? 0 : 1;
}
