/* Those who only try, and try several things in turn, learn of each death that has to do with one
   of
   them, whoever else lives. */
#include "support.h"

#include <string.h>

enum { MS = 1000000, HOLDERS = 2, PAUSE_MS = 25 };

/* What one process holds. */
typedef struct holding {
    kin_lock lock;
    kin_rwlock read;
    kin_semaphore semaphore;
    kin_connection mine;
    kin_connection its;
    mark has;
} holding;

static int hold(void *argument, size_t size)
{
    uint64_t offset;
    CHECK(size == sizeof offset);
    memcpy(&offset, argument, sizeof offset);
    holding *h = arena_at(offset);
    CHECK(kin_lock_acquire(h->lock, LONG_MS) == 0);
    CHECK(kin_rwlock_read(h->read, LONG_MS) == 0);
    CHECK(kin_semaphore_acquire(h->semaphore, LONG_MS) == 0);
    mark_add(&h->has);
    (void) kin_sleep(KIN_FOREVER);
    return CHILD_FAILED;
}

static kin_process start_holder(holding *h, bool stream)
{
    const kin_semaphore_options owned = {.value = 1, .owned = true};
    const kin_pipe_options pipe = {.stream = stream};
    assert_int_equal(kin_lock_create(&h->lock, NULL), 0);
    assert_int_equal(kin_rwlock_create(&h->read, NULL), 0);
    assert_int_equal(kin_semaphore_create(&h->semaphore, &owned), 0);
    assert_int_equal(kin_pipe_create(&h->mine, &h->its, &pipe), 0);
    uint64_t offset = arena_offset(h);
    kin_process process = start(hold, &offset, sizeof offset);
    assert_int_equal(kin_connection_give(h->its, process), 0);
    assert_true(mark_await(&h->has, 1));
    return process;
}

static int try_lock(const holding *h)
{
    return kin_lock_acquire(h->lock, 0);
}

static int try_write(const holding *h)
{
    return kin_rwlock_write(h->read, 0);
}

static int try_semaphore(const holding *h)
{
    return kin_semaphore_acquire(h->semaphore, 0);
}

static int try_pipe(const holding *h)
{
    char byte;
    return kin_connection_receive(h->mine, &byte, 1, NULL, 0);
}

static const struct {
    int (*attempt)(const holding *h);
    int status; /* when the holder is gone */
    bool stream;
} cases[] = {{try_lock, KIN_OWNER_DIED, false},
             {try_write, 0, false},
             {try_semaphore, 0, false},
             {try_pipe, KIN_E_CLOSED, false},
             {try_pipe, KIN_E_CLOSED, true}};

static void destroy_all(const holding *h)
{
    assert_int_equal(kin_lock_destroy(h->lock), 0);
    assert_int_equal(kin_rwlock_destroy(h->read), 0);
    assert_int_equal(kin_semaphore_destroy(h->semaphore), 0);
    assert_int_equal(kin_connection_close(h->mine), 0);
}

/* The second one is tried as soon as the first has been: each time there is only one look to be had
   for a thread that looks not too often, whatever it looks at. */
static void each_thing_that_is_tried_is_looked_after(void **state)
{
    (void) state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        holding *h = shared_new(HOLDERS * sizeof *h);
        kin_process holders[HOLDERS];
        for (int n = 0; n < HOLDERS; n++) {
            holders[n] = start_holder(&h[n], cases[i].stream);
        }
        system_kill(kin_process_pid(holders[1]));
        int status;
        int64_t deadline = wait_deadline(LONG_MS / 6);
        do {
            platform_sleep_ns(PAUSE_MS * INT64_C(1) * MS);
            assert_int_equal(cases[i].attempt(&h[0]), KIN_E_TIMEOUT);
            status = cases[i].attempt(&h[1]);
        } while (status == KIN_E_TIMEOUT && kin_clock_ns() < deadline);
        assert_int_equal(status, cases[i].status);
        kill_and_close(holders[0]);
        assert_int_equal(kin_process_join(holders[1], LONG_MS), 0);
        assert_int_equal(kin_process_close(holders[1]), 0);
        for (int n = 0; n < HOLDERS; n++) {
            destroy_all(&h[n]);
        }
        shared_free(h);
    }
}

int main(int argc, char **argv)
{
    if (kin_init(&argc, &argv) < 0) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        CLEAN_TEST(each_thing_that_is_tried_is_looked_after),
    };
    return cmocka_run_group_tests(tests, warm_up, NULL);
}
