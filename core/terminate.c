/* Being asked to end. Two threads, made with the first handler and kept: one takes the requests,
   and ends the process when its time is over; it runs nothing of the user's, and takes no lock that
   is held across anything that could wait. The other runs the handler, which may hang if it
   likes. */
#include "core/error.h"
#include "core/log.h"
#include "core/process.h"

#define LOOK_AGAIN_NS (INT64_C(100) * 1000000)

enum { NS_IN_MS = 1000000, LISTENER_WAITS = 0, LISTENER_GOES = 1, LISTENER_ENDS = 2 };

static platform_lock setting; /* of one that sets or takes back a handler */
static bool has_runner;
static bool has_listener;
static _Atomic int listener_state;

static platform_lock lock; /* over what follows; held for nothing but to read and write it */
static void (*handler)(void *context);
static void *handler_context;
static int64_t grace_ns; /* below 0: for ever */
static int64_t first_ns; /* when the first request came, since there is a handler; 0: none has */
static uint64_t asked;   /* requests that the handler is to be called for */
static uint64_t served;  /* those that it has been called for */

/* Where the one that runs the handler sleeps. */
static platform_parker_shared runner_place;
static platform_parker runner;
static _Atomic int runner_status; /* 1: not known yet */

/* ---- the one that runs the handler ---- */

/* Takes the next request; false if there is none. */
static bool take(void (**function)(void *context), void **context)
{
    platform_lock_acquire(&lock);
    bool any = served < asked;
    served += any;
    *function = handler;
    *context = handler_context;
    platform_lock_release(&lock);
    return any;
}

static void run(void *argument)
{
    uint64_t secret = 0;
    (void) argument;
    int status = platform_random(&secret, sizeof secret);
    if (status == 0) {
        status = platform_parker_create(&runner, &runner_place, secret, 1);
    }
    atomic_store(&runner_status, status);
    while (status == 0) {
        void (*function)(void *context);
        void *context;
        if (!take(&function, &context)) {
            if (platform_park(&runner, -1) < 0) {
                platform_sleep_ns(LOOK_AGAIN_NS);
            }
        } else if (function != NULL) {
            LOG(KIN_LOG_INFO, "asked to end");
            function(context);
        } else {
            platform_terminate_default(); /* the handler has been taken back meanwhile */
        }
    }
}

static int start_runner(void)
{
    if (has_runner) {
        return 0;
    }
    atomic_store(&runner_status, 1);
    int status = platform_thread_start(run, NULL);
    while (status == 0 && atomic_load(&runner_status) == 1) {
        platform_sleep_ns(20000);
    }
    status = status < 0 ? status : atomic_load(&runner_status);
    has_runner = status == 0;
    return status;
}

/* ---- the one that takes the requests ---- */

/* How long to wait for the next one: until the time is over, and after the first not so long that a
   change of the grace is missed. */
static int64_t time_left(void)
{
    platform_lock_acquire(&lock);
    int64_t first = first_ns;
    int64_t grace = grace_ns;
    platform_lock_release(&lock);
    if (first == 0) {
        return -1;
    }
    int64_t left = grace < 0 ? LOOK_AGAIN_NS : first + grace - platform_clock_ns();
    left = left > 0 ? left : 0;
    return left < LOOK_AGAIN_NS ? left : LOOK_AGAIN_NS;
}

/* True if there is a handler for it. */
static bool note_request(void)
{
    int64_t now = platform_clock_ns();
    platform_lock_acquire(&lock);
    bool caught = handler != NULL;
    if (caught) {
        asked++;
        first_ns = first_ns != 0 ? first_ns : now;
    }
    platform_lock_release(&lock);
    return caught;
}

static void listen(void *argument)
{
    (void) argument;
    while (atomic_load(&listener_state) == LISTENER_WAITS) {
        platform_sleep_ns(20000);
    }
    while (atomic_load(&listener_state) == LISTENER_GOES) {
        int64_t left = time_left();
        if (left == 0) {
            platform_terminate_now();
        }
        int status = platform_terminate_wait(left);
        if (status < 0) {
            platform_sleep_ns(status == KIN_E_TIMEOUT ? 0 : LOOK_AGAIN_NS);
        } else if (note_request()) {
            platform_unpark(&runner);
        } else {
            platform_terminate_default();
        }
    }
}

/* It is there before requests are caught, so that none is caught for nobody. */
static int start_listener(void)
{
    if (has_listener) {
        return platform_terminate_catch();
    }
    atomic_store(&listener_state, LISTENER_WAITS);
    int status = platform_thread_start(listen, NULL);
    if (status < 0) {
        return status;
    }
    status = platform_terminate_catch();
    has_listener = status == 0;
    atomic_store(&listener_state, has_listener ? LISTENER_GOES : LISTENER_ENDS);
    return status;
}

/* ---- handlers ---- */

static void set_handler(void (*function)(void *context), void *context, int grace_ms)
{
    platform_lock_acquire(&lock);
    handler = function;
    handler_context = context;
    grace_ns = grace_ms < 0 ? -1 : (int64_t) grace_ms * NS_IN_MS;
    first_ns = function != NULL ? first_ns : 0;
    platform_lock_release(&lock);
}

/* With `setting` held. What has been caught and not been served is answered by the runner. */
static void take_back(void)
{
    if (handler != NULL) { /* changes under both locks */
        platform_terminate_release();
        set_handler(NULL, NULL, 0);
    }
}

int kin_on_terminate(void (*function)(void *context), void *context, int grace_ms)
{
    error_clear();
    if (grace_ms < KIN_FOREVER) {
        return KIN_E_INVALID;
    }
    if (!family_is_joined()) {
        return KIN_E_INIT;
    }
    int status = 0;
    platform_lock_acquire(&setting);
    if (function == NULL) {
        take_back();
    } else {
        status = start_runner();
        bool had_one = handler != NULL;
        if (status == 0) {
            set_handler(function, context, grace_ms);
            status = start_listener();
        }
        if (status < 0 && !had_one) {
            set_handler(NULL, NULL, 0);
        }
    }
    platform_lock_release(&setting);
    return status;
}

void terminate_forget(void)
{
    platform_lock_acquire(&setting);
    take_back();
    platform_lock_release(&setting);
}

void terminate_reset_copy(void)
{
    setting = (platform_lock){{0}};
    lock = (platform_lock){{0}};
    has_runner = false;
    has_listener = false;
    handler = NULL;
    first_ns = 0;
    asked = 0;
    served = 0;
    platform_terminate_reset_copy();
}
