/* A user of an installed kin, in C: starts a process, and is content if that ends with what it was
   given. */
#include <kin/kin.h>
#include <stdio.h>

static int child(void *argument, size_t size)
{
    return size == sizeof(int) ? *(int *) argument : 1;
}

int main(int argc, char **argv)
{
    int argument = 7;
    int code = 0;
    kin_process process;
    int status = kin_init(&argc, &argv);
    if (status >= 0) {
        status = kin_process_start(&process, child, &argument, sizeof argument, NULL);
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
    printf("kin %s: %s, exit code %d\n", kin_version(), kin_error_name(status), code);
    return status >= 0 && code == 7 ? 0 : 1;
}
