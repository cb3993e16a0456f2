/* Starting a process: everything that the child will look for is in the arena before the system is
   asked to start it, so that whoever dies at whatever point leaves something that recovery
   understands. */
#include "core/error.h"
#include "core/forkserver.h"
#include "core/group.h"
#include "core/log.h"
#include "core/process_object.h"
#include "core/setting.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char birth_variable[] = "KIN_CHILD=";

/* Few of them lie in `few_arguments`: a process that need not allocate is born faster. */
static char **kept_arguments;
static char *few_arguments[64];

static void forget_arguments(void)
{
    if (kept_arguments != few_arguments) {
        free(kept_arguments);
    }
    kept_arguments = NULL;
}

int process_keep_arguments(int argc, char **argv)
{
    forget_arguments();
    if (argc <= 0 || argv == NULL || platform_knows_arguments()) {
        return 0;
    }
    size_t bytes = ((size_t) argc + 1) * sizeof *kept_arguments;
    for (int i = 0; i < argc; i++) {
        bytes += strlen(argv[i]) + 1;
    }
    kept_arguments = bytes <= sizeof few_arguments ? few_arguments : malloc(bytes);
    if (kept_arguments == NULL) {
        return KIN_E_NOMEM;
    }
    char *text = (char *) (kept_arguments + argc + 1);
    for (int i = 0; i < argc; i++) {
        size_t length = strlen(argv[i]) + 1;
        kept_arguments[i] = memcpy(text, argv[i], length);
        text += length;
    }
    kept_arguments[argc] = NULL;
    return 0;
}

static void set_name(process_object *p, const char *name)
{
    if (name != NULL) {
        memcpy(p->name, name, strlen(name) + 1);
    } else {
        uint32_t number = atomic_fetch_add(&family_common()->names, 1) + 1;
        (void) snprintf(p->name, sizeof p->name, "process-%u", number);
    }
}

int process_found(uint64_t original)
{
    object *created;
    uint64_t id;
    int status = object_create(&created, sizeof(process_object));
    if (status < 0) {
        return status;
    }
    process_object *p = (process_object *) created;
    member *m = member_at(member_self());
    p->member = member_self();
    p->parent = original;
    member *parent = original != 0 ? member_at(original) : NULL;
    p->parent_process = parent != NULL ? atomic_load(&parent->process) : 0;
    atomic_store(&p->pid, m->identity.pid);
    atomic_store(&p->state, PROCESS_RUNNING);
    set_name(p, original == 0 ? "main" : NULL);
    log_set_name(p->name);
    status = object_publish(created, KIND_PROCESS, 0, &id);
    if (status == 0) {
        atomic_store(&m->process, id);
    }
    return status;
}

static platform_lock rejoin_lock;

int process_rejoin(void)
{
    uint64_t reference;
    uint64_t token;
    int status = 0;
    log_hold();
    platform_lock_acquire(&rejoin_lock);
    uint64_t original = family_original();
    if (original != 0) {
        status = member_reserve(&reference, &token);
        if (status == 0) {
            status = family_enter_copy(reference, token);
        }
        if (status == 0) {
            status = process_found(original);
        }
        if (status == 0) {
            LOG(KIN_LOG_DEBUG, "joined the family of which it is a copy");
        }
    }
    platform_lock_release(&rejoin_lock);
    log_release();
    return status;
}

void process_reset_copy(void)
{
    rejoin_lock = (platform_lock){{0}};
    setting_reset_copy();
    group_reset_copy();
    child_reset_copy();
}

/* What is asked for. */
typedef struct order {
    kin_process_function function;
    const void *argument;
    size_t size;
    const kin_process_options *options;
    uint32_t method;
    bool apart; /* in no group */
} order;

static int describe_function(launch *l, const order *o)
{
    if (o->function == NULL) {
        return 0;
    }
    if (o->method == KIN_START_FORK) {
        l->address = (uintptr_t) o->function;
        return 0;
    }
    return function_describe(&l->function, (uintptr_t) o->function);
}

static int make_launch(launch **made, const order *o)
{
    object *created;
    if (o->size > SIZE_MAX / 2) {
        return KIN_E_NOMEM; /* and sums of it do not overflow */
    }
    const size_t behind = (o->size + 63) / 64 * 64;
    const size_t setting_size =
        o->method == KIN_START_FORKSERVER ? setting_packed_size(o->options) : 0;
    int status = object_create(&created, sizeof(launch) + behind + setting_size);
    if (status < 0) {
        return status;
    }
    launch *l = (launch *) created;
    status = describe_function(l, o);
    if (status < 0) {
        object_drop(created);
        return status;
    }
    l->size = o->size;
    if (o->size > 0) {
        memcpy(l->argument, o->argument, o->size);
    }
    if (setting_size > 0) {
        l->setting = behind;
        l->setting_size = setting_size;
        setting_pack(l->argument + behind, o->options);
    }
    *made = l;
    return 0;
}

/* Undoes make_process for a child that could not be started. One that has been ended because
   nothing could be known of it, or because it could not have what it was to start with, may have
   come as far as to join. */
static void unmake_process(uint64_t id, uint64_t reference, uint64_t launch_id)
{
    if (!member_cancel(reference)) {
        for (int tries = 0; !death_check(reference) && tries < 1000; tries++) {
            platform_sleep_ns(1000000);
        }
    }
    process_destroy(id, launch_id);
}

/* Makes the process object with its launch and its member slot, all of which the child finds by the
   slot. */
static int make_process(process_object **made, uint64_t *id, uint64_t *token, const order *o)
{
    const kin_process_options *options = o->options;
    launch *l;
    object *created;
    int status = make_launch(&l, o);
    if (status < 0) {
        return status;
    }
    status = object_create(&created, sizeof(process_object));
    if (status < 0) {
        object_drop(&l->object);
        return status;
    }
    process_object *p = (process_object *) created;
    status = group_note(p, options, o->apart);
    if (status < 0) {
        object_drop(created);
        object_drop(&l->object);
        return status;
    }
    status = member_reserve(&p->member, token);
    if (status == KIN_E_PROCESS_LIMIT || status == KIN_E_NOMEM) {
        death_sweep(); /* some of them may be dead, with nobody there who noticed */
        status = member_reserve(&p->member, token);
    }
    if (status < 0) {
        object_drop(created);
        object_drop(&l->object);
        return status;
    }
    p->parent = member_self();
    p->parent_process = atomic_load(&member_at(member_self())->process);
    p->daemon = options->daemon;
    p->method = o->method;
    p->guest = o->function == NULL;
    set_name(p, options->name);
    uint64_t reference = p->member;
    status = object_publish(created, KIND_PROCESS, 0, id);
    if (status < 0) {
        (void) member_cancel(reference);
        object_drop(created);
        object_drop(&l->object);
        return status;
    }
    /* A launch is a part of its process: it goes with it, whoever dies in between. */
    status = object_publish(&l->object, KIND_PART, *id, &p->launch);
    if (status < 0) {
        unmake_process(*id, reference, 0);
        object_drop(&l->object);
        return status;
    }
    atomic_store(&member_at(reference)->process, *id);
    status = group_admit(p);
    if (status < 0) {
        unmake_process(*id, reference, p->launch);
        return status;
    }
    *made = p;
    return 0;
}

/* The arguments of this program are for itself, or for another build of it. */
static char *const *arguments_for(const order *o, char **name_alone)
{
    const kin_process_options *options = o->options;
    if (options->arguments != NULL) {
        return (char *const *) options->arguments;
    }
    if (o->function != NULL) {
        return kept_arguments;
    }
    name_alone[0] = (char *) options->program;
    name_alone[1] = NULL;
    return name_alone;
}

static int spawn(child *c, const process_object *p, uint64_t token, const order *o,
                 const setting *s)
{
    const platform_memory *memory = arena_memory();
    const process_birth birth = {memory->object, memory->size, p->member, token, p->guest != 0};
    char value[PROCESS_BIRTH_SIZE];
    char *name_alone[2];
    process_write_birth(value, &birth);
    platform_spawn how = {.program = o->options->program,
                          .arguments = arguments_for(o, name_alone),
                          .variable = birth_variable,
                          .value = value,
                          .inherit = memory->object,
                          .daemon = o->options->daemon,
                          .setting = &s->platform};
    return platform_process_spawn(&c->process, &how);
}

/* What a copy has to do before its function is reached: only what is safe in a signal handler. */
typedef struct copy_setting {
    setting *open;
    platform_prepared prepared;
} copy_setting;

static int enter_setting(void *context)
{
    copy_setting *s = context;
    int status = platform_setting_enter(&s->open->platform, &s->prepared);
    setting_close(s->open);
    return status;
}

/* True if what the copy is to have may be refused to it. */
static bool may_be_refused(const platform_setting *s)
{
    bool streams = false;
    for (int i = 0; i < PLATFORM_STREAMS; i++) {
        streams = streams || s->streams[i] != PLATFORM_NONE;
    }
    return streams || s->directory != NULL || s->priority != 0 || s->core_count > 0 || s->group ||
           s->session;
}

static bool has_to_enter(const platform_setting *s)
{
    return may_be_refused(s) || s->variables != NULL || s->bare;
}

/* Waits until the copy has what it is started with. If it cannot, it is as if it had never been. */
static int await_entry(child *c, process_object *p)
{
    int code;
    int status = 0;
    while (status == 0) {
        uint32_t seen = wait_count(&p->changed);
        bool ended = platform_process_wait(&c->process, 0) == 0;
        status = process_has_begun(p);
        if (status > 0 || (status == 0 && ended)) {
            return 0;
        }
        if (status == 0) {
            status = wait_for_change(&p->changed, seen, INT64_MAX);
        }
    }
    (void) platform_process_kill(&c->process, false);
    (void) platform_process_wait(&c->process, -1);
    (void) platform_process_exit_code(&c->process, &code);
    platform_process_close(&c->process);
    return status;
}

/* Copies this process; in the copy it does not come back. What standard output and error hold is
   written first, or both would write it. */
static int copy(child *c, process_object *p, uint64_t token, setting *open)
{
    copy_setting s = {.open = open};
    uint64_t reference = p->member;
    int status = platform_setting_prepare(&s.prepared, &open->platform);
    if (status < 0) {
        return status;
    }
    platform_flush_output();
    setting_lock(open);
    status = platform_process_fork(&c->process);
    if (status > 0) {
        birth_live_copy(reference, token, has_to_enter(&open->platform) ? enter_setting : NULL, &s);
    }
    setting_unlock();
    platform_setting_finish(&s.prepared);
    if (status == 0 && may_be_refused(&open->platform)) {
        status = await_entry(c, p);
    }
    return status;
}

/* Has the forkserver start it, and watches it by its identity: to the system it is not our child. 1
   if it is not to be watched: it has ended already, or, for want of a descriptor, is looked at as
   others do. */
static int ask(child *c, uint64_t id, process_object *p)
{
    int status = forkserver_start(id, p);
    if (status < 0) {
        return status;
    }
    const member *m = member_at(p->member);
    if (m == NULL) {
        return 1;
    }
    platform_identity identity = m->identity;
    return platform_process_open(&c->process, &identity, arena_memory()) < 0 ? 1 : 0;
}

static uint32_t default_method(void)
{
    uint32_t method = atomic_load(&family_common()->start_method);
    return method != KIN_START_DEFAULT ? method : KIN_START_SPAWN;
}

int kin_has_start_method(int method)
{
    return method == KIN_START_DEFAULT || method == KIN_START_SPAWN ||
           ((method == KIN_START_FORK || method == KIN_START_FORKSERVER) && platform_can_fork());
}

int kin_set_start_method(int method)
{
    error_clear();
    if (method < KIN_START_DEFAULT || method > KIN_START_FORKSERVER) {
        return KIN_E_INVALID;
    }
    if (!kin_has_start_method(method)) {
        return KIN_E_UNSUPPORTED;
    }
    if (!family_is_joined()) {
        return KIN_E_INIT;
    }
    atomic_store(&family_common()->start_method, (uint32_t) method);
    return 0;
}

int kin_get_start_method(void)
{
    error_clear();
    return family_is_joined() ? (int) default_method() : KIN_E_INIT;
}

/* A program is started by spawning it. */
static uint32_t method_for(const kin_process_options *options)
{
    bool anew = options->program != NULL || options->arguments != NULL;
    return options->method != KIN_START_DEFAULT ? (uint32_t) options->method
           : anew                               ? KIN_START_SPAWN
                                                : default_method();
}

static int check_start(const kin_process *process, const order *o)
{
    const kin_process_options *options = o->options;
    if (process == NULL || (o->function == NULL && options->program == NULL) ||
        (o->argument == NULL && o->size > 0)) {
        return KIN_E_INVALID;
    }
    if (options->name != NULL && strlen(options->name) >= PROCESS_NAME_SIZE) {
        return KIN_E_INVALID;
    }
    if (options->method < KIN_START_DEFAULT || options->method > KIN_START_FORKSERVER ||
        options->reserved_method != 0) {
        return KIN_E_INVALID;
    }
    return kin_has_start_method(options->method) ? 0 : KIN_E_UNSUPPORTED;
}

static int start(child *c, uint64_t id, process_object *p, uint64_t token, const order *o,
                 setting *s)
{
    switch (o->method) {
    case KIN_START_FORK:
        return copy(c, p, token, s);
    case KIN_START_FORKSERVER:
        return ask(c, id, p);
    default:
        return spawn(c, p, token, o, s);
    }
}

/* With the process object made, and held. The forkserver's copy opens what it needs itself. */
static int start_made(child *c, uint64_t id, process_object *p, uint64_t token, const order *o)
{
    static const kin_process_options nothing;
    setting s;
    int status = setting_open(&s, o->method == KIN_START_FORKSERVER ? &nothing : o->options);
    if (status < 0) {
        unmake_process(id, p->member, p->launch);
        free(c);
        return status;
    }
    status = group_settle(&s, p);
    if (status == 0) {
        status = start(c, id, p, token, o, &s);
    }
    if (status == 0) {
        if (c->process.child) {
            atomic_store(&p->pid, c->process.identity.pid);
            atomic_store(&p->stamp, c->process.identity.stamp);
        }
        child_describe(c, id, p);
        child_add(c);
        child_take_streams(c, s.own);
        if (group_is_closed(p)) {
            (void) child_kill(c, false); /* see group.c */
        }
    } else {
        free(c);
    }
    setting_close(&s);
    if (status < 0) {
        /* One that was killed on its way may look like one that could not be started. */
        status = group_is_closed(p) ? KIN_E_STATE : status;
        unmake_process(id, p->member, p->launch);
    }
    return status;
}

/* One that the forkserver starts is born into the server's process group, not into that of who
   asks, by which the system would find what it starts. */
static bool needs_group_of_its_own(const order *o)
{
    return platform_group_has_leaders() &&
           (o->options->group.id != 0 || (o->method == KIN_START_FORKSERVER && group_is_in_any()));
}

/* *started stays as it is if it fails. */
static int make_and_start(uint64_t *started, const order *o)
{
    uint64_t id;
    uint64_t token;
    process_object *p;
    object_guard guard;
    child *c = child_new();
    if (c == NULL) {
        return KIN_E_NOMEM;
    }
    int status = make_process(&p, &id, &token, o);
    if (status < 0) {
        free(c);
        return status;
    }
    status = object_enter(&guard, id, KIND_PROCESS);
    if (status < 0) {
        unmake_process(id, p->member, p->launch);
        free(c);
        return status;
    }
    status = start_made(c, id, p, token, o);
    if (status >= 0) {
        *started = id;
        status = 0;
    }
    object_leave(&guard);
    return status;
}

static int start_process(kin_process *process, kin_process_function function, const void *argument,
                         size_t size, const kin_process_options *options, bool apart)
{
    static const kin_process_options defaults;
    error_clear();
    kin_process_options settled = options != NULL ? *options : defaults;
    order o = {function, argument, size, &settled, 0, apart};
    int status = check_start(process, &o);
    if (status == 0 && !family_is_joined()) {
        status = KIN_E_INIT;
    }
    if (status == 0) {
        o.method = method_for(o.options);
        settled.new_process_group |= needs_group_of_its_own(&o);
        status = setting_check_options(o.options, (int) o.method);
    }
    if (status == 0) {
        status = early_prepare();
    }
    if (status < 0) {
        return status;
    }
    death_look_around();
    child_sweep();
    uint64_t id = 0;
    status = make_and_start(&id, &o);
    early_watch(id);
    if (status == 0) {
        process->id = id;
    }
    return status;
}

int process_start(kin_process *process, kin_process_function function, const void *argument,
                  size_t size, const kin_process_options *options)
{
    return start_process(process, function, argument, size, options, false);
}

int process_start_apart(kin_process *process, kin_process_function function, const void *argument,
                        size_t size, const kin_process_options *options)
{
    return start_process(process, function, argument, size, options, true);
}

static void log_start(int status, const kin_process *process, const kin_process_options *options)
{
    const char *name = options != NULL && options->name != NULL ? options->name : "a process";
    const char *program = options != NULL && options->program != NULL ? options->program : "itself";
    if (status < 0) {
        LOG(KIN_LOG_ERROR, "%s could not be started (program: %s): %s", name, program,
            kin_error_name(status));
        return;
    }
    object_guard guard;
    if (log_is_on(KIN_LOG_INFO) && object_enter(&guard, process->id, KIND_PROCESS) == 0) {
        static const char *const methods[] = {"", "spawn", "fork", "forkserver"};
        process_object *p = process_of(&guard);
        LOG(KIN_LOG_INFO, "%s (pid %u) is started by %s%s (program: %s)", p->name,
            (unsigned) atomic_load(&p->pid), methods[p->method], p->daemon ? " as a daemon" : "",
            program);
        object_leave(&guard);
    }
}

/* What a daemon starts would outlive it, which is killed with its parent, without having been
   joined. */
static bool is_daemon(void)
{
    object_guard guard;
    bool daemon = false;
    if (object_enter(&guard, kin_current_process().id, KIND_PROCESS) == 0) {
        daemon = process_of(&guard)->daemon != 0;
        object_leave(&guard);
    }
    return daemon;
}

int kin_process_start(kin_process *process, kin_process_function function, const void *argument,
                      size_t size, const kin_process_options *options)
{
    bool wants_daemon = options != NULL && options->daemon;
    int status = !wants_daemon && family_is_joined() && is_daemon() ? KIN_E_STATE : 0;
    error_clear();
    if (status == 0) {
        status = process_start(process, function, argument, size, options);
    }
    int64_t system_error = kin_system_error();
    log_start(status, process, options);
    platform_note_error(system_error);
    return status;
}

void process_forget(void)
{
    child_forget_all();
    group_forget(true);
    forget_arguments();
}
