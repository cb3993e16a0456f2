/* What the options of a start say of the process's surroundings; setting.h says more. */
#include "core/setting.h"

#include <stdlib.h>
#include <string.h>

/* What starts in this process have open just now. In a copy it is somebody else's. */
static platform_lock open_lock;
static setting *open_settings;
static _Thread_local const setting *copying_for; /* what this thread makes a copy for */

/* ---- checks ---- */

static bool is_stream(const kin_stream *stream, int number)
{
    switch (stream->kind) {
    case KIN_STREAM_INHERIT:
    case KIN_STREAM_NULL:
    case KIN_STREAM_PIPE:
        return true;
    case KIN_STREAM_FILE:
        return stream->path != NULL && stream->path[0] != '\0';
    case KIN_STREAM_HANDLE:
        return stream->handle != PLATFORM_NONE;
    case KIN_STREAM_OUTPUT:
        return number == KIN_STDERR;
    default:
        return false;
    }
}

static const kin_stream *stream_of(const kin_process_options *options, int number)
{
    return number == KIN_STDIN    ? &options->input
           : number == KIN_STDOUT ? &options->output
                                  : &options->error;
}

/* "NAME=value" or "NAME". */
static bool are_variables(const char *const *variables)
{
    for (size_t i = 0; variables != NULL && variables[i] != NULL; i++) {
        if (variables[i][0] == '\0' || variables[i][0] == '=') {
            return false;
        }
    }
    return true;
}

static bool is_zero(const uint64_t *reserved, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (reserved[i] != 0) {
            return false;
        }
    }
    return true;
}

static bool passes_handles(const kin_process_options *options)
{
    for (int i = 0; i < PLATFORM_STREAMS; i++) {
        int kind = stream_of(options, i)->kind;
        if (kind == KIN_STREAM_PIPE || kind == KIN_STREAM_HANDLE) {
            return true;
        }
    }
    return options->inherit_count > 0;
}

int setting_check_options(const kin_process_options *options, int method)
{
    bool good = options->priority >= KIN_PRIORITY_INHERIT &&
                options->priority <= KIN_PRIORITY_HIGH && options->reserved_priority == 0 &&
                is_zero(options->reserved, sizeof options->reserved / sizeof *options->reserved) &&
                are_variables(options->environment) &&
                (options->inherit != NULL || options->inherit_count == 0) &&
                (options->cores != NULL || options->core_count == 0);
    for (size_t i = 0; good && i < options->core_count; i++) {
        good = options->cores[i] >= 0;
    }
    for (int i = 0; good && i < PLATFORM_STREAMS; i++) {
        good = is_stream(stream_of(options, i), i);
    }
    bool anew = options->program != NULL || options->arguments != NULL;
    if (!good || (anew && method != KIN_START_SPAWN) ||
        (options->arguments != NULL && options->arguments[0] == NULL)) {
        return KIN_E_INVALID;
    }
    return method == KIN_START_FORKSERVER && passes_handles(options) ? KIN_E_UNSUPPORTED : 0;
}

/* ---- what is opened ---- */

static int open_stream(setting *s, const kin_stream *stream, int number)
{
    const enum platform_open how = number == KIN_STDIN ? PLATFORM_READ
                                   : stream->append    ? PLATFORM_APPEND
                                                       : PLATFORM_WRITE;
    intptr_t *opened = &s->of_child[number];
    int status = 0;
    switch (stream->kind) {
    case KIN_STREAM_NULL:
        status = platform_stream_null(opened, how);
        break;
    case KIN_STREAM_FILE:
        status = platform_stream_open(opened, stream->path, how);
        break;
    case KIN_STREAM_PIPE:
        setting_lock(NULL);
        status = platform_stream_pipe(&s->own[number], opened,
                                      number == KIN_STDIN ? PLATFORM_WRITE : PLATFORM_READ);
        setting_unlock();
        break;
    case KIN_STREAM_HANDLE:
        s->platform.streams[number] = stream->handle;
        return 0;
    case KIN_STREAM_OUTPUT:
        s->platform.streams[number] = s->platform.streams[KIN_STDOUT] != PLATFORM_NONE
                                          ? s->platform.streams[KIN_STDOUT]
                                          : platform_stream_standard(KIN_STDOUT);
        if (s->platform.streams[number] != PLATFORM_NONE) {
            return 0;
        }
        status = platform_stream_null(opened, how); /* there is no standard output */
        break;
    default:
        return 0;
    }
    s->platform.streams[number] = *opened;
    return status;
}

int setting_open(setting *s, const kin_process_options *options)
{
    *s = (setting){.platform = platform_setting_none()};
    s->platform.directory = options->directory;
    s->platform.variables = options->environment;
    s->platform.bare = options->clean_environment;
    s->platform.handles = options->inherit;
    s->platform.handle_count = options->inherit_count;
    s->platform.priority = options->priority;
    s->platform.cores = options->cores;
    s->platform.core_count = options->core_count;
    s->platform.group = options->new_process_group;
    s->platform.session = options->new_session;
    bool opens = false;
    for (int i = 0; i < PLATFORM_STREAMS; i++) {
        s->own[i] = PLATFORM_NONE;
        s->of_child[i] = PLATFORM_NONE;
        opens = opens || stream_of(options, i)->kind != KIN_STREAM_INHERIT;
    }
    if (!opens) {
        return 0;
    }
    setting_lock(NULL);
    s->next = open_settings;
    open_settings = s;
    setting_unlock();
    int status = 0;
    for (int i = 0; i < PLATFORM_STREAMS && status == 0; i++) {
        status = open_stream(s, stream_of(options, i), i); /* a FIFO may take its time */
    }
    if (status < 0) {
        setting_close(s);
    }
    return status;
}

static void close_all(setting *s)
{
    for (int i = 0; i < PLATFORM_STREAMS; i++) {
        if (s->own[i] != PLATFORM_NONE) {
            platform_stream_close(s->own[i]);
            s->own[i] = PLATFORM_NONE;
        }
        if (s->of_child[i] != PLATFORM_NONE) {
            platform_stream_close(s->of_child[i]);
            s->of_child[i] = PLATFORM_NONE;
        }
    }
}

void setting_close(setting *s)
{
    setting_lock(NULL);
    setting **at = &open_settings;
    while (*at != NULL && *at != s) {
        at = &(*at)->next;
    }
    if (*at != NULL) {
        *at = s->next;
    }
    close_all(s); /* a copy that is made now has none of it */
    setting_unlock();
}

void setting_lock(const setting *mine)
{
    platform_lock_acquire(&open_lock);
    copying_for = mine;
}

void setting_unlock(void)
{
    copying_for = NULL;
    platform_lock_release(&open_lock);
}

void setting_reset_copy(void)
{
    open_lock = (platform_lock){{0}};
    for (setting *s = open_settings; s != NULL; s = s->next) {
        if (s != copying_for) {
            close_all(s);
        }
    }
    open_settings = NULL;
}

/* ---- as bytes ---- */

/* Behind it the cores, and the texts one after the other: the directory, the streams' paths, the
   variables. */
typedef struct packed {
    uint64_t core_count;
    uint64_t variable_count;
    int32_t priority;
    int32_t kinds[PLATFORM_STREAMS];
    uint8_t appends[PLATFORM_STREAMS];
    uint8_t has_directory;
    uint8_t has_variables;
    uint8_t bare;
    uint8_t group;
    uint8_t session;
} packed;

static size_t text_size(const char *text)
{
    return text != NULL ? strlen(text) + 1 : 0;
}

static const char *path_of(const kin_stream *stream)
{
    return stream->kind == KIN_STREAM_FILE ? stream->path : NULL;
}

static bool is_plain(const kin_process_options *options)
{
    bool plain = options->directory == NULL && options->environment == NULL &&
                 !options->clean_environment && options->priority == 0 &&
                 options->core_count == 0 && !options->new_process_group && !options->new_session;
    for (int i = 0; i < PLATFORM_STREAMS; i++) {
        plain = plain && stream_of(options, i)->kind == KIN_STREAM_INHERIT;
    }
    return plain;
}

size_t setting_packed_size(const kin_process_options *options)
{
    if (is_plain(options)) {
        return 0;
    }
    size_t size = sizeof(packed) + options->core_count * sizeof(int);
    size += text_size(options->directory);
    for (int i = 0; i < PLATFORM_STREAMS; i++) {
        size += text_size(path_of(stream_of(options, i)));
    }
    for (size_t i = 0; options->environment != NULL && options->environment[i] != NULL; i++) {
        size += text_size(options->environment[i]);
    }
    return size;
}

static char *put(char *to, const void *from, size_t size)
{
    if (size > 0) {
        memcpy(to, from, size);
    }
    return to + size;
}

void setting_pack(void *bytes, const kin_process_options *options)
{
    packed head = {.core_count = options->core_count,
                   .priority = options->priority,
                   .has_directory = options->directory != NULL,
                   .has_variables = options->environment != NULL,
                   .bare = options->clean_environment,
                   .group = options->new_process_group,
                   .session = options->new_session};
    char *at = (char *) bytes + sizeof head;
    at = put(at, options->cores, options->core_count * sizeof(int));
    at = put(at, options->directory, text_size(options->directory));
    for (int i = 0; i < PLATFORM_STREAMS; i++) {
        const kin_stream *stream = stream_of(options, i);
        head.kinds[i] = stream->kind;
        head.appends[i] = stream->append;
        at = put(at, path_of(stream), text_size(path_of(stream)));
    }
    for (size_t i = 0; options->environment != NULL && options->environment[i] != NULL; i++) {
        at = put(at, options->environment[i], text_size(options->environment[i]));
        head.variable_count++;
    }
    memcpy(bytes, &head, sizeof head);
}

static const char *take_text(const char **at)
{
    const char *text = *at;
    *at += strlen(text) + 1;
    return text;
}

/* `variables` has room for all and the end. The texts stay where they are. */
static void unpack(kin_process_options *options, const packed *head, const char *at,
                   const char **variables)
{
    kin_stream *streams[] = {&options->input, &options->output, &options->error};
    *options = (kin_process_options){.priority = head->priority,
                                     .clean_environment = head->bare != 0,
                                     .new_process_group = head->group != 0,
                                     .new_session = head->session != 0,
                                     .cores = (const int *) (const void *) at,
                                     .core_count = (size_t) head->core_count};
    at += options->core_count * sizeof(int);
    options->directory = head->has_directory ? take_text(&at) : NULL;
    for (int i = 0; i < PLATFORM_STREAMS; i++) {
        streams[i]->kind = head->kinds[i];
        streams[i]->append = head->appends[i] != 0;
        streams[i]->path = streams[i]->kind == KIN_STREAM_FILE ? take_text(&at) : NULL;
    }
    for (size_t i = 0; i < head->variable_count; i++) {
        variables[i] = take_text(&at);
    }
    options->environment = head->has_variables ? variables : NULL;
}

int setting_enter_packed(void *bytes)
{
    packed head;
    kin_process_options options;
    setting s;
    platform_prepared prepared;
    memcpy(&head, bytes, sizeof head);
    const char **variables = calloc((size_t) head.variable_count + 1, sizeof *variables);
    if (variables == NULL) {
        return KIN_E_NOMEM;
    }
    unpack(&options, &head, (const char *) bytes + sizeof head, variables);
    int status = setting_open(&s, &options);
    if (status == 0) {
        status = platform_setting_prepare(&prepared, &s.platform);
        if (status == 0) {
            status = platform_setting_enter(&s.platform, &prepared);
        }
        setting_close(&s);
    }
    free(variables);
    return status;
}
