/* Joining and leaving the family, and the small calls that belong nowhere else. */
#include "core/barrier.h"
#include "core/condition.h"
#include "core/deadlock.h"
#include "core/dict.h"
#include "core/error.h"
#include "core/event.h"
#include "core/forkserver.h"
#include "core/group.h"
#include "core/list.h"
#include "core/log.h"
#include "core/pipe.h"
#include "core/pool.h"
#include "core/queue.h"
#include "core/semaphore.h"
#include "core/sync.h"
#include "core/wait.h"

static platform_lock init_lock;

/* In each copy that fork makes of this process. */
static void reset_copy(void)
{
    init_lock = (platform_lock){{0}};
    log_reset_copy();
    family_reset_copy();
    wait_reset_copy();
    death_reset_copy();
    watcher_reset_copy();
    early_reset_copy();
    permits_reset_copy();
    pool_reset_copy();
    process_reset_copy();
    exits_reset_copy();
    birth_forget();
    terminate_reset_copy();
}

/* What a member does at its normal end. The rest is given back by whoever notices that it has
   ended. A copy that never became a member has nothing to do. */
static void end(void)
{
    if (family_is_member()) {
        LOG(KIN_LOG_DEBUG, "leaving the family");
        process_expect_end();
        process_run_exits();
        pool_end_all();
        process_end_children();
        pipe_end_all();
        if (member_self() == family_first()) {
            forkserver_end();
        }
    }
}

static int set_up(void)
{
    static bool watches_forks;
    platform_process_tell_abort();
    sync_set_up();
    event_set_up();
    condition_set_up();
    semaphore_set_up();
    barrier_set_up();
    lock_set_up();
    rwlock_set_up();
    array_set_up();
    list_set_up();
    dict_set_up();
    process_set_up();
    process_watch_set_up();
    group_set_up();
    queue_set_up();
    pipe_set_up();
    pool_set_up();
    process_set_end(end);
    family_set_rejoin(process_rejoin);
    int status = watches_forks ? 0 : platform_process_at_fork(reset_copy);
    watches_forks = status == 0;
    return status;
}

static int set_exit_hook(void)
{
    static bool done;
    int status = done ? 0 : platform_process_at_exit(end);
    done = status == 0;
    return status;
}

static int found(int *argc, char ***argv, const kin_options *options)
{
    int status = set_exit_hook();
    if (status == 0 && argc != NULL && argv != NULL) {
        status = process_keep_arguments(*argc, *argv);
    }
    if (status == 0) {
        status = family_found(options);
    }
    if (status < 0) {
        return status;
    }
    deadlock_set_up(options);
    status = process_found(0);
    if (status < 0) {
        family_forget(true);
    } else {
        LOG(KIN_LOG_DEBUG, "founded a family, with an arena of %u MiB",
            (unsigned) (arena_memory()->size >> 20));
    }
    return status;
}

int kin_init_with(int *argc, char ***argv, const kin_options *options)
{
    error_clear();
    int status = 0;
    process_birth birth;
    log_set_up();
    log_hold();
    platform_lock_acquire(&init_lock);
    if (!family_is_joined()) {
        status = set_up();
        int born = process_read_birth(&birth);
        if (born > 0) {
            if (argc != NULL && argv != NULL) {
                (void) process_keep_arguments(*argc, *argv); /* its children see the default then */
            }
            (void) set_exit_hook(); /* its children outlive it then */
            platform_lock_release(&init_lock);
            log_release();
            return process_live(&birth);
        }
        status = status == 0 ? born : status;
        if (status == 0) {
            status = found(argc, argv, options);
        }
        if (status < 0) {
            LOG(KIN_LOG_ERROR, "kin_init failed: %s", kin_error_name(status));
        }
    }
    platform_lock_release(&init_lock);
    log_release();
    return status;
}

int kin_init(int *argc, char ***argv)
{
    return kin_init_with(argc, argv, NULL);
}

int kin_shutdown(void)
{
    error_clear();
    log_hold();
    platform_lock_acquire(&init_lock);
    int status = KIN_E_INIT;
    if (family_is_joined()) {
        end();
        terminate_forget(); /* only now: what ends there may hang */
        death_recover(member_self());
        process_forget();
        birth_forget();
        thread_forget();
        wait_close_parkers();
        family_forget(true);
        status = 0;
    }
    platform_lock_release(&init_lock);
    log_release();
    return status;
}

const char *kin_version(void)
{
    return "0.1.0";
}

int64_t kin_clock_ns(void)
{
    return platform_clock_ns();
}

int kin_sleep(int milliseconds)
{
    error_clear();
    if (milliseconds < KIN_FOREVER) {
        return KIN_E_INVALID;
    }
    platform_sleep_ns(milliseconds < 0 ? -1 : (int64_t) milliseconds * 1000000);
    return 0;
}

int kin_usable_cores(void)
{
    return platform_usable_cores();
}

static void count_member(uint64_t reference, enum member_state state, void *context)
{
    (void) reference;
    kin_arena_usage *usage = context;
    usage->processes += state == MEMBER_ALIVE;
}

int kin_arena_read_usage(kin_arena_usage *usage)
{
    error_clear();
    if (usage == NULL) {
        return KIN_E_INVALID;
    }
    if (!family_is_joined()) {
        return KIN_E_INIT;
    }
    death_sweep(); /* what the dead hold is not in use */
    *usage = (kin_arena_usage){0};
    int status = arena_read_usage(usage);
    if (status == 0) {
        member_each(count_member, usage);
        for (uint32_t number = thread_next(0); number != 0; number = thread_next(number)) {
            usage->threads += atomic_load(&thread_at(number)->owner) != 0;
        }
        usage->syncs = sync_count();
    }
    return status;
}

int kin_arena_trim(void)
{
    error_clear();
    if (!family_is_joined()) {
        return KIN_E_INIT;
    }
    death_sweep();
    return arena_trim();
}
