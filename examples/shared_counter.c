/* Three processes add to one shared counter under a lock; one of them is killed while it holds the
   lock. Prints: "counter 20000" and "told that the owner died 1". */
#include "check.h"

typedef struct {
    kin_lock lock;
    kin_memory memory;
    kin_event held;
} shared;

static int adder(void *argument, size_t size)
{
    (void) size;
    shared *s = argument;
    long *counter = kin_memory_address(s->memory);
    for (int i = 0; i < 10000; i++) {
        check(kin_lock_acquire(s->lock, KIN_FOREVER), "acquire");
        *counter += 1;
        check(kin_lock_release(s->lock), "release");
    }
    return 0;
}

static int holder(void *argument, size_t size)
{
    (void) size;
    shared *s = argument;
    check(kin_lock_acquire(s->lock, KIN_FOREVER), "acquire");
    check(kin_event_set(s->held), "set");
    kin_sleep(60000);
    return 0;
}

int main(int argc, char **argv)
{
    check(kin_init(&argc, &argv), "kin_init");
    shared s;
    check(kin_lock_create(&s.lock, NULL), "lock");
    check(kin_memory_create(&s.memory, sizeof(long)), "memory");
    check(kin_event_create(&s.held, NULL), "event");

    kin_process adders[2], victim;
    for (int i = 0; i < 2; i++) {
        check(kin_process_start(&adders[i], adder, &s, sizeof s, NULL), "start");
    }
    for (int i = 0; i < 2; i++) {
        check(kin_process_join(adders[i], KIN_FOREVER), "join");
    }
    check(kin_process_start(&victim, holder, &s, sizeof s, NULL), "start");
    check(kin_event_wait(s.held, KIN_FOREVER), "wait");
    check(kin_process_kill(victim), "kill");

    int notice = check(kin_lock_acquire(s.lock, 1000), "acquire after the owner's death");
    printf("counter %ld\n", *(long *) kin_memory_address(s.memory));
    printf("told that the owner died %d\n", notice == KIN_OWNER_DIED);
    check(kin_lock_release(s.lock), "release");
    return 0;
}
