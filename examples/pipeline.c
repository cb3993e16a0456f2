/* Programs as children: one whose input and output are pipes, in a group that ends as one.
   Prints: "child said: HELLO FROM THE PARENT", "in the group 3", "after the kill 0". */
#include "check.h"
#include <ctype.h>
#include <string.h>

/* Says in capitals what it reads, until the end. */
static int shout(void *argument, size_t size)
{
    (void) argument, (void) size;
    for (int c; (c = getchar()) != EOF;) {
        putchar(toupper(c));
    }
    return 0;
}

static int sleeper(void *argument, size_t size)
{
    (void) argument, (void) size;
    kin_sleep(60000);
    return 0;
}

static void talk(void)
{
    static const char text[] = "hello from the parent";
    kin_process_options piped = {.input.kind = KIN_STREAM_PIPE, .output.kind = KIN_STREAM_PIPE};
    kin_process process;
    char answer[64];
    size_t length = 0, more;
    check(kin_process_start(&process, shout, NULL, 0, &piped), "start");
    check(kin_process_write(process, text, strlen(text), NULL, 5000), "write");
    check(kin_process_close_stream(process, KIN_STDIN), "close stream");
    while (length < sizeof answer - 1 &&
           kin_process_read(process, KIN_STDOUT, answer + length, sizeof answer - 1 - length, &more,
                            5000) == 0) {
        length += more;
    }
    answer[length] = '\0';
    printf("child said: %s\n", answer);
    check(kin_process_join(process, KIN_FOREVER), "join");
    check(kin_process_close(process), "close");
}

int main(int argc, char **argv)
{
    check(kin_init(&argc, &argv), "kin_init");
    talk();

    kin_group group;
    kin_process sleepers[3];
    check(kin_group_create(&group), "group");
    for (int i = 0; i < 3; i++) {
        kin_process_options options = {.group = group, .directory = "."};
        check(kin_process_start(&sleepers[i], sleeper, NULL, 0, &options), "start");
    }
    printf("in the group %d\n", kin_group_count(group));
    check(kin_group_kill(group), "kill");
    check(kin_group_join(group, KIN_FOREVER), "join");
    printf("after the kill %d\n", kin_group_count(group));
    for (int i = 0; i < 3; i++) {
        check(kin_process_close(sleepers[i]), "close");
    }
    return kin_group_destroy(group);
}
