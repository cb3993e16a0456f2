/* Functions across processes: which module holds an address, and where this process has the same
   build of it. The build id that the linker wrote is what tells builds apart; a module without one
   is told by its code. */
#include "posix/process.h"

#include <dlfcn.h>
#include <elf.h>
#include <inttypes.h>
#include <link.h>
#include <stdio.h>
#include <string.h>

typedef struct search {
    platform_module *module;
    uintptr_t address; /* look for the module that holds this; 0: for the one with module->build */
    uintptr_t offset;
    int seen;
    bool found;
} search;

static bool holds(const struct dl_phdr_info *information, uintptr_t address, bool code)
{
    for (int i = 0; i < information->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &information->dlpi_phdr[i];
        uintptr_t start = information->dlpi_addr + header->p_vaddr;
        if (header->p_type == PT_LOAD && (!code || (header->p_flags & PF_X) != 0) &&
            address >= start && address - start < header->p_memsz) {
            return true;
        }
    }
    return false;
}

/* FNV-1a in two lanes. */
static void hash_bytes(uint64_t hash[2], const unsigned char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        hash[0] = (hash[0] ^ bytes[i]) * UINT64_C(0x100000001b3);
        hash[1] = (hash[1] ^ bytes[i] ^ hash[0] >> 32) * UINT64_C(0x9e3779b97f4a7c15);
    }
}

/* The same eight bytes at a time, for what is long. */
static void hash_words(uint64_t hash[2], const unsigned char *bytes, size_t size)
{
    size_t words = size / sizeof(uint64_t);
    for (size_t i = 0; i < words; i++) {
        uint64_t word;
        memcpy(&word, bytes + i * sizeof word, sizeof word);
        hash[0] = (hash[0] ^ word) * UINT64_C(0x9e3779b97f4a7c15);
        hash[0] ^= hash[0] >> 29;
        hash[1] = (hash[1] + hash[0]) * UINT64_C(0xbf58476d1ce4e5b9);
    }
    hash_bytes(hash, bytes + words * sizeof(uint64_t), size % sizeof(uint64_t));
}

static size_t align4(size_t n)
{
    return (n + 3) & ~(size_t) 3;
}

static bool hash_build_id(uint64_t hash[2], const struct dl_phdr_info *information)
{
    for (int i = 0; i < information->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &information->dlpi_phdr[i];
        if (header->p_type != PT_NOTE) {
            continue;
        }
        const unsigned char *at =
            (const unsigned char *) (information->dlpi_addr + header->p_vaddr);
        const unsigned char *end = at + header->p_memsz;
        while ((size_t) (end - at) >= sizeof(ElfW(Nhdr))) {
            ElfW(Nhdr) note;
            memcpy(&note, at, sizeof note);
            const unsigned char *name = at + sizeof note;
            const unsigned char *text = name + align4(note.n_namesz);
            if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 &&
                memcmp(name, "GNU", 4) == 0) {
                hash_bytes(hash, text, note.n_descsz);
                return true;
            }
            at = text + align4(note.n_descsz);
        }
    }
    return false;
}

static void hash_code(uint64_t hash[2], const struct dl_phdr_info *information)
{
    for (int i = 0; i < information->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &information->dlpi_phdr[i];
        if (header->p_type == PT_LOAD && (header->p_flags & PF_X) != 0) {
            hash_words(hash, (const unsigned char *) (information->dlpi_addr + header->p_vaddr),
                       header->p_filesz);
        }
    }
}

static void build_of(uint64_t build[2], const struct dl_phdr_info *information)
{
    build[0] = UINT64_C(0xcbf29ce484222325);
    build[1] = information->dlpi_phnum;
    if (!hash_build_id(build, information)) {
        hash_code(build, information);
    }
}

static int visit(struct dl_phdr_info *information, size_t size, void *argument)
{
    (void) size;
    search *s = argument;
    bool program = s->seen++ == 0;
    uint64_t build[2];
    if (s->address != 0) {
        if (!holds(information, s->address, true)) {
            return 0;
        }
        build_of(s->module->build, information);
    } else {
        build_of(build, information);
        if (memcmp(build, s->module->build, sizeof build) != 0) {
            return 0;
        }
    }
    const char *path = program || information->dlpi_name == NULL ? "" : information->dlpi_name;
    if (s->address != 0) {
        size_t length = strlen(path);
        if (length >= sizeof s->module->path) {
            return 0;
        }
        memcpy(s->module->path, path, length + 1);
    } else if (!holds(information, information->dlpi_addr + s->offset, true)) {
        return 0;
    }
    s->module->base = information->dlpi_addr;
    s->found = true;
    return 1;
}

int platform_module_of(platform_module *module, uintptr_t address)
{
    search s = {.module = module, .address = address};
    if (address != 0) {
        (void) dl_iterate_phdr(visit, &s);
    }
    return s.found ? 0 : KIN_E_FUNCTION;
}

int platform_module_find(platform_module *module, uintptr_t offset)
{
    search s = {.module = module, .offset = offset};
    (void) dl_iterate_phdr(visit, &s);
    if (!s.found && module->path[0] != '\0' && dlopen(module->path, RTLD_NOW) != NULL) {
        s.seen = 0;
        (void) dl_iterate_phdr(visit, &s);
    }
    return s.found ? 0 : KIN_E_FUNCTION;
}

#if WING_LINUX

/* True of a program whose addresses are in its file: it begins at 0, wherever it is mapped. */
static bool is_fixed(const char *path)
{
    unsigned char head[sizeof(ElfW(Ehdr))];
    ElfW(Ehdr) header = {.e_type = ET_NONE};
    FILE *file = fopen(path, "re");
    if (file != NULL) {
        if (fread(head, sizeof head, 1, file) == 1) {
            memcpy(&header, head, sizeof header);
        }
        (void) fclose(file);
    }
    return header.e_type == ET_EXEC;
}

/* Looks through a list of mappings. A module begins with the first of those in a row that have its
   path. */
static int find_mapping(FILE *maps, uint64_t address, char *path, size_t size, uint64_t *offset)
{
    char line[4096 + 128];
    char module[4096] = "";
    uint64_t base = 0;
    while (fgets(line, sizeof line, maps) != NULL) {
        uint64_t start;
        uint64_t end;
        char here[4096] = "";
        if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %*s %*s %*s %*s %4095[^\n]", &start, &end, here) <
            2) {
            continue;
        }
        if (strcmp(here, module) != 0) {
            memcpy(module, here, sizeof module);
            base = start;
        }
        if (address >= start && address < end) {
            if (module[0] != '/' || strlen(module) >= size) {
                return KIN_E_FUNCTION;
            }
            memcpy(path, module, strlen(module) + 1);
            *offset = is_fixed(path) ? address : address - base;
            return 0;
        }
    }
    return KIN_E_FUNCTION;
}

int platform_module_elsewhere(const platform_identity *identity, uint64_t address, char *path,
                              size_t size, uint64_t *offset)
{
    char name[48];
    (void) snprintf(name, sizeof name, "/proc/%" PRIu64 "/maps", identity->pid);
    FILE *maps = SYSTEM(fopen(name, "re"), NULL, EMFILE);
    if (maps == NULL) {
        return errno == ENOENT ? KIN_E_ENDED : wing_error(errno);
    }
    int status = find_mapping(maps, address, path, size, offset);
    (void) fclose(maps);
    return process_is_same(identity) ? status : KIN_E_ENDED;
}

#else

int platform_module_elsewhere(const platform_identity *identity, uint64_t address, char *path,
                              size_t size, uint64_t *offset)
{
    (void) identity, (void) address, (void) path, (void) size, (void) offset;
    return KIN_E_UNSUPPORTED;
}

#endif
