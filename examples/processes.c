/* Names, liveness, terminate, kill, daemons and who is still there.
   Prints: "alive 1", "terminated 1", "killed 1", "parent seen 1", "children 0". */
#include "check.h"
#include <string.h>

static int sleeper(void *argument, size_t size)
{
    (void) argument, (void) size;
    kin_sleep(60000);
    return 0;
}

static int reporter(void *argument, size_t size)
{
    (void) size;
    int parent_pid = *(int *) argument;
    return kin_process_pid(kin_parent_process()) == parent_pid &&
                   strcmp(kin_process_name(kin_current_process()), "reporter") == 0
               ? 5
               : 6;
}

int main(int argc, char **argv)
{
    check(kin_init(&argc, &argv), "kin_init");
    int code;
    kin_process process;

    kin_process_options daemon = {.daemon = true};
    check(kin_process_start(&process, sleeper, NULL, 0, &daemon), "start");
    printf("alive %d\n", kin_process_is_alive(process));
    check(kin_process_terminate(process), "terminate");
    check(kin_process_join(process, KIN_FOREVER), "join");
    check(kin_process_exit_code(process, &code), "exit code");
    printf("terminated %d\n", code == -KIN_SIGTERM);
    check(kin_process_close(process), "close");

    check(kin_process_start(&process, sleeper, NULL, 0, &daemon), "start");
    check(kin_process_kill(process), "kill");
    check(kin_process_join(process, KIN_FOREVER), "join");
    check(kin_process_exit_code(process, &code), "exit code");
    printf("killed %d\n", code == -KIN_SIGKILL);
    check(kin_process_close(process), "close");

    int pid = kin_process_pid(kin_current_process());
    kin_process_options named = {.name = "reporter"};
    check(kin_process_start(&process, reporter, &pid, sizeof pid, &named), "start");
    check(kin_process_join(process, KIN_FOREVER), "join");
    check(kin_process_exit_code(process, &code), "exit code");
    printf("parent seen %d\n", code == 5);
    check(kin_process_close(process), "close");

    /* The last one is left running: as a daemon it ends with this process. */
    printf("children %zu\n", kin_active_children(NULL, 0));
    check(kin_process_start(&process, sleeper, NULL, 0, &daemon), "start");
    return 0;
}
