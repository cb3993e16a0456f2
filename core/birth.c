/* The other side of a start: what a process does that finds that it was started by kin. */
#include "core/error.h"
#include "core/group.h"
#include "core/log.h"
#include "core/process_object.h"

#include <stdlib.h>
#include <string.h>

/* What a child is told: these numbers, in hexadecimal. They are read and written by hand: the C
   library's ways cost a young process more than all the rest of its birth. */
enum { TOLD_VERSION, TOLD_OBJECT, TOLD_SIZE, TOLD_REFERENCE, TOLD_TOKEN, TOLD_GUEST, TOLD };

static int digit_of(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Behind the number, or NULL if there is none. */
static const char *read_number(const char *at, uint64_t *number)
{
    const char *start = at;
    *number = 0;
    for (int digit; (digit = digit_of(*at)) >= 0; at++) {
        if (*number >> 60 != 0) {
            return NULL;
        }
        *number = *number << 4 | (uint64_t) digit;
    }
    return at > start ? at : NULL;
}

static char *write_number(char *at, uint64_t number)
{
    static const char hex_digits[] = "0123456789abcdef";
    unsigned shift = 60;
    while (shift > 0 && number >> shift == 0) {
        shift -= 4;
    }
    for (;; shift -= 4) {
        *at++ = hex_digits[number >> shift & 15];
        if (shift == 0) {
            return at;
        }
    }
}

_Static_assert(TOLD * 17 <= PROCESS_BIRTH_SIZE, "room for the numbers, and what is between them");

void process_write_birth(char *text, const process_birth *birth)
{
    const uint64_t told[TOLD] = {
        1, (uint64_t) birth->object, birth->size, birth->reference, birth->token, birth->guest};
    for (int i = 0; i < TOLD; i++) {
        text = write_number(text, told[i]);
        *text++ = i < TOLD - 1 ? ':' : '\0';
    }
}

static bool read_told(uint64_t *told, const char *text)
{
    for (int i = 0; i < TOLD; i++) {
        text = read_number(text, &told[i]);
        if (text == NULL || *text++ != (i < TOLD - 1 ? ':' : '\0')) {
            return false;
        }
    }
    return told[TOLD_VERSION] == 1;
}

int process_read_birth(process_birth *birth)
{
    char text[PROCESS_BIRTH_SIZE];
    uint64_t told[TOLD];
    int status = platform_environment_take("KIN_CHILD", text, sizeof text);
    if (status < 0) {
        return status == KIN_E_NOT_FOUND ? 0 : status;
    }
    if (!read_told(told, text)) {
        /* A child, but of what? It is refused: to run main as a founder is not what it was started
           for. */
        *birth = (process_birth){.object = PLATFORM_NONE};
        return 1;
    }
    *birth = (process_birth){(intptr_t) told[TOLD_OBJECT], told[TOLD_SIZE], told[TOLD_REFERENCE],
                             told[TOLD_TOKEN], told[TOLD_GUEST] != 0};
    return 1;
}

static int exit_code_for(int status)
{
    return status == KIN_E_VERSION ? EXIT_VERSION
           : status == KIN_E_NOMEM ? EXIT_NOMEM
                                   : EXIT_ATTACH;
}

/* Of one that cannot even join. */
static _Noreturn void give_up(int status)
{
    LOG(KIN_LOG_ERROR, "cannot join the family that started it: %s", kin_error_name(status));
    platform_process_exit_now(exit_code_for(status));
}

/* A daemon must not outlive its parent from here on. */
static int follow_parent(const process_object *p)
{
    member *parent = member_at(p->parent);
    if (parent == NULL) {
        return KIN_E_ENDED;
    }
    platform_identity identity = parent->identity;
    platform_process process;
    int status = platform_process_parent(&process, &identity, arena_memory());
    if (status == 0) {
        status = platform_process_follow(&process);
    }
    return status;
}

static _Noreturn void fail(process_object *p, int status)
{
    atomic_store(&p->error, status);
    LOG(KIN_LOG_ERROR, "cannot run the function that it was started for: %s",
        kin_error_name(status));
    wait_raise(&p->changed);
    platform_process_exit_now(EXIT_ATTACH);
}

/* The same, for whoever waits for the start to tell it. */
static _Noreturn void refuse(process_object *p, int status)
{
    atomic_store(&p->error, status);
    atomic_store(&p->refused, 1);
    fail(p, status);
}

int process_has_begun(const process_object *p)
{
    bool begun = atomic_load(&p->state) != PROCESS_STARTING; /* first: who refuses ends then */
    if (begun && atomic_load(&p->refused) == 0) {
        return 1;
    }
    return atomic_load(&p->error);
}

static void (*end_member)(void);

void process_set_end(void (*end)(void))
{
    end_member = end;
}

void process_end(void)
{
    end_member();
}

/* Set in a copy: what the original has set up for its own end does not run at the copy's. */
static bool is_copy;

static _Noreturn void leave(int code)
{
    process_begin_end();
    if (!is_copy) {
        exit(code);
    }
    process_end();
    process_note_code(code & 0xff); /* as the system will tell it to whoever reaps this process */
    platform_flush_output();
    platform_process_exit_now(code);
}

void kin_exit(int code)
{
    leave(code);
}

static int find_function(const launch *l, kin_process_function *function)
{
    uintptr_t address = (uintptr_t) l->address;
    int status = address != 0 ? 0 : function_resolve(&l->function, &address);
    memcpy(function, &address, sizeof *function);
    return status;
}

/* What a guest was given; it holds its launch for as long as it lives. */
static const launch *guest_launch;

int kin_process_argument(const void **argument, size_t *size)
{
    error_clear();
    if (argument == NULL || size == NULL) {
        return KIN_E_INVALID;
    }
    if (!family_is_joined()) {
        return KIN_E_INIT;
    }
    if (guest_launch == NULL) {
        return KIN_E_STATE;
    }
    *argument = guest_launch->size > 0 ? guest_launch->argument : NULL;
    *size = (size_t) guest_launch->size;
    return 0;
}

void birth_forget(void)
{
    guest_launch = NULL;
}

/* A guest may be a process that the one which was started has started: the handle stands for that
   one, as its starter has noted it, or will. */
static void note_identity(process_object *p, const platform_identity *identity)
{
    uint64_t none = 0;
    if (!p->guest) {
        atomic_store(&p->pid, identity->pid);
    } else if (atomic_compare_exchange_strong(&p->pid, &none, identity->pid)) {
        (void) atomic_compare_exchange_strong(&p->stamp, &none, identity->stamp);
    }
}

/* What has become of a child that is a member now, up to its function. */
static void live(int (*enter)(void *context), void *context)
{
    object_guard guard;
    object_guard launched;
    kin_process_function function;
    member *m = member_at(member_self());
    int status = object_enter(&guard, atomic_load(&m->process), KIND_PROCESS);
    if (status < 0) {
        give_up(status);
    }
    process_object *p = process_of(&guard);
    status = enter != NULL ? enter(context) : 0;
    if (status < 0) {
        refuse(p, status);
    }
    note_identity(p, &m->identity);
    atomic_store(&p->state, PROCESS_RUNNING);
    wait_raise(&p->changed);
    group_enter(p); /* who kills a group leaves one to it that is not running yet */
    log_set_name(p->name);
    LOG(KIN_LOG_DEBUG, "joined the family");
    if (p->daemon && follow_parent(p) < 0) {
        LOG(KIN_LOG_ERROR, "cannot follow its parent");
        platform_process_exit_now(EXIT_ATTACH);
    }
    status = object_enter(&launched, p->launch, KIND_PART);
    if (status < 0) {
        fail(p, KIN_E_ATTACH);
    }
    launch *l = (launch *) launched.object;
    if (p->guest) {
        guest_launch = l;
        return;
    }
    status = find_function(l, &function);
    if (status < 0) {
        fail(p, status);
    }
    leave(function(l->argument, (size_t) l->size));
}

void birth_live(void)
{
    live(NULL, NULL);
}

_Noreturn void birth_live_copy(uint64_t reference, uint64_t token, int (*enter)(void *context),
                               void *context)
{
    is_copy = true;
    int status = family_enter_copy(reference, token);
    if (status < 0) {
        give_up(status);
    }
    live(enter, context);
    platform_process_exit_now(EXIT_ATTACH); /* a guest is no copy */
}

int process_live(const process_birth *birth)
{
    int status = family_join(birth->object, birth->size, birth->reference, birth->token);
    if (status == 0) {
        birth_live();
        return 0;
    }
    if (!birth->guest) {
        give_up(status);
    }
    return status;
}
