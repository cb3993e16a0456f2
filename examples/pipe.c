/* A two-way connection; the other side ends, and the reader is told.
   Prints: "received: Hello, receiver!", "answer: 5", "end of file 1". */
#include "check.h"

static int greeter(void *argument, size_t size)
{
    (void) size;
    kin_connection connection = *(kin_connection *) argument;
    const char greeting[] = "Hello, receiver!";
    check(kin_connection_send(connection, greeting, sizeof greeting, KIN_FOREVER), "send");
    int number;
    check(kin_connection_receive(connection, &number, sizeof number, NULL, KIN_FOREVER), "receive");
    number += 1;
    check(kin_connection_send(connection, &number, sizeof number, KIN_FOREVER), "send");
    return 0;
}

int main(int argc, char **argv)
{
    check(kin_init(&argc, &argv), "kin_init");
    kin_connection mine, theirs;
    kin_process process;
    check(kin_pipe_create(&mine, &theirs, NULL), "pipe");
    check(kin_process_start(&process, greeter, &theirs, sizeof theirs, NULL), "start");
    check(kin_connection_give(theirs, process), "give");

    char text[64];
    int number = 4;
    check(kin_connection_receive(mine, text, sizeof text, NULL, KIN_FOREVER), "receive");
    printf("received: %s\n", text);
    check(kin_connection_send(mine, &number, sizeof number, KIN_FOREVER), "send");
    check(kin_connection_receive(mine, &number, sizeof number, NULL, KIN_FOREVER), "receive");
    printf("answer: %d\n", number);
    printf("end of file %d\n",
           kin_connection_receive(mine, text, sizeof text, NULL, KIN_FOREVER) == KIN_E_CLOSED);
    return 0;
}
