/* Being asked to end: SIGTERM. Its handler counts, and wakes the thread that waits, which alone
   does something about it. While SIGTERM is caught that thread lets it through, so that it arrives
   even if all threads of the program block it. */
#include "posix/signals.h"
#include "posix/wing.h"

#include <semaphore.h>
#include <string.h>
#include <unistd.h>

enum { END_TRIES = 100, NS_IN_MS = 1000000, LOOK_AGAIN_NS = 20 * NS_IN_MS };

/* What the waiting thread sleeps on: without a limit on the semaphore, else on the word, because
   the clock of sem_timedwait may be set. */
static _Atomic uint32_t news;
static sem_t news_place;
static _Atomic uint32_t requests;
static _Atomic bool is_caught;
static _Atomic bool lets_through; /* the waiting thread does, or is about to find out whether to */
static struct sigaction before;   /* what SIGTERM did */
static _Atomic int owner;         /* the process that catches it: a copy does not */

/* Safe in a signal handler. */
static void tell_news(void)
{
    atomic_fetch_add(&news, 1);
    (void) sem_post(&news_place);
    platform_word_wake(&news, 1);
}

static void await_news(uint32_t seen, int64_t timeout_ns)
{
    if (timeout_ns < 0) {
        (void) sem_wait(&news_place);
    } else if (platform_has_word_wait()) {
        (void) platform_word_wait(&news, seen, timeout_ns);
    } else if (sem_trywait(&news_place) != 0) {
        platform_sleep_ns(timeout_ns < LOOK_AGAIN_NS ? timeout_ns : LOOK_AGAIN_NS);
    }
}

static void note_request(int number)
{
    int error = errno;
    if (getpid() == atomic_load(&owner)) {
        atomic_fetch_add(&requests, 1);
        tell_news();
    } else { /* in a copy before fork has returned there: it has nobody who would wait */
        (void) sigaction(number, &before, NULL);
        (void) kill(getpid(), number);
    }
    errno = error;
}

static bool is_ours(const struct sigaction *action)
{
    return (action->sa_flags & SA_SIGINFO) == 0 && action->sa_handler == note_request;
}

int platform_terminate_catch(void)
{
    struct sigaction now;
    if (atomic_load(&owner) != (int) getpid()) { /* the first time, or the first in a copy */
        if (SYSTEM(sem_init(&news_place, 0, 0), -1, ENOSYS) != 0) {
            return wing_error(errno);
        }
        atomic_store(&owner, (int) getpid());
    }
    if (SYSTEM(sigaction(SIGTERM, NULL, &now), -1, EINVAL) != 0) {
        return wing_error(errno);
    }
    if (!is_ours(&now)) {
        struct sigaction ours;
        memset(&ours, 0, sizeof ours);
        ours.sa_handler = note_request;
        ours.sa_flags = SA_RESTART | SA_ONSTACK;
        (void) sigemptyset(&ours.sa_mask);
        before = now;
        if (SYSTEM(sigaction(SIGTERM, &ours, NULL), -1, EINVAL) != 0) {
            return wing_error(errno);
        }
    }
    atomic_store(&is_caught, true);
    tell_news(); /* the waiting thread is to let it through */
    return 0;
}

static void restore(void)
{
    struct sigaction now;
    if (sigaction(SIGTERM, NULL, &now) == 0 && is_ours(&now)) {
        (void) sigaction(SIGTERM, &before, NULL);
    }
}

void platform_terminate_release(void)
{
    /* Pairs with settle_mask: it says that it may let SIGTERM through, then looks whether that is
       caught. */
    atomic_store(&is_caught, false);
    tell_news();
    while (atomic_load(&lets_through)) {
        platform_sleep_ns(20000);
    }
    restore();
}

static void settle_mask(void)
{
    sigset_t mask;
    (void) sigemptyset(&mask);
    (void) sigaddset(&mask, SIGTERM);
    atomic_store(&lets_through, true);
    bool caught = atomic_load(&is_caught);
    (void) pthread_sigmask(caught ? SIG_UNBLOCK : SIG_BLOCK, &mask, NULL);
    atomic_store(&lets_through, caught);
}

static bool take_request(void)
{
    uint32_t count = atomic_load(&requests);
    while (count > 0 && !atomic_compare_exchange_weak(&requests, &count, count - 1)) {
    }
    return count > 0;
}

int platform_terminate_wait(int64_t timeout_ns)
{
    int64_t until = timeout_ns >= 0 ? platform_clock_ns() + timeout_ns : 0;
    for (;;) {
        uint32_t seen = atomic_load(&news);
        settle_mask();
        if (take_request()) {
            return 0;
        }
        int64_t left = timeout_ns >= 0 ? until - platform_clock_ns() : -1;
        if (timeout_ns >= 0 && left <= 0) {
            return KIN_E_TIMEOUT;
        }
        await_news(seen, left); /* for whatever reason it returns, we look again */
    }
}

void platform_terminate_default(void)
{
    (void) kill(getpid(), SIGTERM);
}

/* Others may set SIGTERM to something else meanwhile, and the first process of a container is not
   ended by it. */
_Noreturn void platform_terminate_now(void)
{
    struct sigaction plain;
    sigset_t mask;
    memset(&plain, 0, sizeof plain);
    plain.sa_handler = SIG_DFL;
    (void) sigemptyset(&mask);
    (void) sigaddset(&mask, SIGTERM);
    for (int tries = 0; tries < END_TRIES; tries++) {
        (void) sigaction(SIGTERM, &plain, NULL);
        (void) pthread_sigmask(SIG_UNBLOCK, &mask, NULL);
        (void) kill(getpid(), SIGTERM);
        platform_sleep_ns(NS_IN_MS);
    }
    _exit(128 + SIGTERM);
}

void platform_terminate_reset_copy(void)
{
    if (atomic_load(&is_caught)) {
        restore();
    }
    atomic_store(&is_caught, false);
    atomic_store(&lets_through, false);
    atomic_store(&requests, 0);
}
