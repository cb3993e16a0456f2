/* Functions across processes: which module an address is in, and where another process has that
   module.

   A build is told from others by two numbers. build[0] is a hash of the headers: time stamp,
   checksum, entry point, sections. build[1] is a hash of the build id that the linker left (a
   CodeView record); without one, and if the link was made to be reproducible, so that the time
   stamp is 0, of the code. The code is read from the file, because in memory relocations, debuggers
   and virus scanners change it; that is done once a module. */
#include "win32/wing.h"

#include <psapi.h>
#include <stdlib.h>
#include <string.h>

#define SEED_HEADERS 0xcbf29ce484222325
#define SEED_IDENTITY 0x84222325cbf29ce4
#define CODEVIEW_SIGNATURE 0x53445352 /* "RSDS" */

enum { CODEVIEW_IDENTITY_SIZE = 4 + 16 + 4, HASHES_KEPT = 16 };

/* Hashes of code, by module and headers; a slot whose base is NULL is free. */
static struct kept_hash {
    HMODULE base;
    uint64_t headers;
    uint64_t code;
} kept_hashes[HASHES_KEPT];
static size_t next_kept;
static SRWLOCK kept_lock = SRWLOCK_INIT;

/* The headers are the first thing in a module, in memory and in its file. NULL if this is no
   module. */
static const IMAGE_NT_HEADERS *headers_of(const unsigned char *base)
{
    const IMAGE_DOS_HEADER *dos = (const IMAGE_DOS_HEADER *) (const void *) base;
    if (dos->e_magic != IMAGE_DOS_SIGNATURE || dos->e_lfanew < 0) {
        return NULL;
    }
    const IMAGE_NT_HEADERS *headers =
        (const IMAGE_NT_HEADERS *) (const void *) (base + (size_t) dos->e_lfanew);
    return headers->Signature == IMAGE_NT_SIGNATURE &&
                   headers->OptionalHeader.Magic == IMAGE_NT_OPTIONAL_HDR_MAGIC
               ? headers
               : NULL;
}

static bool is_executable(HMODULE base, uintptr_t offset)
{
    const IMAGE_NT_HEADERS *headers = headers_of((const unsigned char *) base);
    const IMAGE_SECTION_HEADER *section = IMAGE_FIRST_SECTION(headers);
    for (WORD i = 0; i < headers->FileHeader.NumberOfSections; i++) {
        if ((section[i].Characteristics & IMAGE_SCN_MEM_EXECUTE) != 0 &&
            offset >= section[i].VirtualAddress &&
            offset - section[i].VirtualAddress < section[i].Misc.VirtualSize) {
            return true;
        }
    }
    return false;
}

static uint64_t hash_headers(const IMAGE_NT_HEADERS *headers)
{
    uint64_t hash = wing_hash(SEED_HEADERS, &headers->FileHeader, sizeof headers->FileHeader);
    /* Not the whole optional header: the loader writes the base into it. */
    const DWORD parts[] = {headers->OptionalHeader.AddressOfEntryPoint,
                           headers->OptionalHeader.SizeOfImage, headers->OptionalHeader.SizeOfCode,
                           headers->OptionalHeader.CheckSum};
    hash = wing_hash(hash, parts, sizeof parts);
    return wing_hash(hash, IMAGE_FIRST_SECTION(headers),
                     headers->FileHeader.NumberOfSections * sizeof(IMAGE_SECTION_HEADER));
}

/* Where the linker's build id stands in memory, or NULL. */
static const unsigned char *find_build_id(const unsigned char *base,
                                          const IMAGE_NT_HEADERS *headers)
{
    const DWORD image = headers->OptionalHeader.SizeOfImage;
    if (headers->OptionalHeader.NumberOfRvaAndSizes <= IMAGE_DIRECTORY_ENTRY_DEBUG) {
        return NULL;
    }
    const IMAGE_DATA_DIRECTORY *place =
        &headers->OptionalHeader.DataDirectory[IMAGE_DIRECTORY_ENTRY_DEBUG];
    if (place->VirtualAddress == 0 || place->VirtualAddress > image ||
        place->Size > image - place->VirtualAddress) {
        return NULL;
    }
    const IMAGE_DEBUG_DIRECTORY *entries =
        (const IMAGE_DEBUG_DIRECTORY *) (const void *) (base + place->VirtualAddress);
    for (size_t i = 0; i < place->Size / sizeof *entries; i++) {
        const DWORD data = entries[i].AddressOfRawData;
        DWORD signature;
        if (entries[i].Type != IMAGE_DEBUG_TYPE_CODEVIEW || data == 0 || data > image ||
            image - data < CODEVIEW_IDENTITY_SIZE ||
            entries[i].SizeOfData < CODEVIEW_IDENTITY_SIZE) {
            continue;
        }
        memcpy(&signature, base + data, sizeof signature);
        if (signature == CODEVIEW_SIGNATURE) {
            return base + data;
        }
    }
    return NULL;
}

/* Hashes the executable sections of a file that holds `size` bytes; false if it is not the file of
   `headers`. */
static bool hash_file_code(const unsigned char *file, uint64_t size,
                           const IMAGE_NT_HEADERS *headers, uint64_t *hash)
{
    const size_t place = (size_t) ((const IMAGE_DOS_HEADER *) (const void *) file)->e_lfanew;
    const size_t sections = headers->FileHeader.NumberOfSections * sizeof(IMAGE_SECTION_HEADER);
    if (size < sizeof(IMAGE_DOS_HEADER) || place > size ||
        size - place < sizeof *headers + headers->FileHeader.SizeOfOptionalHeader + sections) {
        return false;
    }
    const IMAGE_NT_HEADERS *in_file = headers_of(file);
    if (in_file == NULL || hash_headers(in_file) != hash_headers(headers)) {
        return false;
    }
    const IMAGE_SECTION_HEADER *section = IMAGE_FIRST_SECTION(in_file);
    for (WORD i = 0; i < in_file->FileHeader.NumberOfSections; i++) {
        const DWORD start = section[i].PointerToRawData;
        const DWORD length = section[i].SizeOfRawData;
        if ((section[i].Characteristics & IMAGE_SCN_MEM_EXECUTE) == 0) {
            continue;
        }
        if (start > size || length > size - start) {
            return false;
        }
        *hash = wing_hash(*hash, file + start, length);
    }
    return true;
}

static int hash_open_file(HANDLE file, const IMAGE_NT_HEADERS *headers, uint64_t *hash)
{
    LARGE_INTEGER size;
    if (!SYSTEM(GetFileSizeEx(file, &size), FALSE, ERROR_ACCESS_DENIED)) {
        return wing_last_error();
    }
    HANDLE section = SYSTEM(CreateFileMappingW(file, NULL, PAGE_READONLY, 0, 0, NULL), NULL,
                            ERROR_NOT_ENOUGH_MEMORY);
    if (section == NULL) {
        return wing_last_error();
    }
    int status = 0;
    const void *view =
        SYSTEM(MapViewOfFile(section, FILE_MAP_READ, 0, 0, 0), NULL, ERROR_NOT_ENOUGH_MEMORY);
    if (view == NULL) {
        status = wing_last_error();
    } else {
        /* A child could not start from a file that has been replaced either. */
        status = hash_file_code(view, (uint64_t) size.QuadPart, headers, hash) ? 0 : KIN_E_FUNCTION;
        UnmapViewOfFile(view);
    }
    CloseHandle(section);
    return status;
}

static int hash_code(HMODULE module, const IMAGE_NT_HEADERS *headers, uint64_t *hash)
{
    wchar_t *path;
    int status = wing_module_path(module, &path);
    if (status != 0) {
        return status;
    }
    HANDLE file = SYSTEM(CreateFileW(path, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_DELETE, NULL,
                                     OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, NULL),
                         INVALID_HANDLE_VALUE, ERROR_FILE_NOT_FOUND);
    if (file == INVALID_HANDLE_VALUE) {
        status = wing_last_error();
    } else {
        status = hash_open_file(file, headers, hash);
        CloseHandle(file);
    }
    free(path);
    return status;
}

/* hash_code, but from what is kept if it is. */
static int hash_code_once(HMODULE module, const IMAGE_NT_HEADERS *headers, uint64_t *hash)
{
    const uint64_t of_headers = hash_headers(headers);
    int status = 0;
    bool found = false;
    AcquireSRWLockExclusive(&kept_lock);
    for (size_t i = 0; i < HASHES_KEPT && !found; i++) {
        if (kept_hashes[i].base == module && kept_hashes[i].headers == of_headers) {
            *hash = kept_hashes[i].code;
            found = true;
        }
    }
    if (!found) {
        status = hash_code(module, headers, hash);
        if (status == 0) {
            kept_hashes[next_kept++ % HASHES_KEPT] = (struct kept_hash){module, of_headers, *hash};
        }
    }
    ReleaseSRWLockExclusive(&kept_lock);
    return status;
}

/* The second number of a build. */
static int hash_identity(HMODULE module, const IMAGE_NT_HEADERS *headers, uint64_t *hash)
{
    const unsigned char *id = find_build_id((const unsigned char *) module, headers);
    *hash = SEED_IDENTITY;
    if (id != NULL) {
        *hash = wing_hash(*hash, id, CODEVIEW_IDENTITY_SIZE);
    } else if (headers->FileHeader.TimeDateStamp == 0) {
        int status = hash_code_once(module, headers, hash);
        return status == 0 || status == KIN_E_NOMEM ? status : KIN_E_FUNCTION;
    }
    return 0;
}

/* "" for the program itself. What does not fit could not be told to another process. */
static int copy_path(HMODULE module, char *path, size_t size)
{
    wchar_t *wide;
    if (module == GetModuleHandleW(NULL)) {
        path[0] = '\0';
        return 0;
    }
    int status = wing_module_path(module, &wide);
    if (status != 0) {
        return status;
    }
    if (WideCharToMultiByte(CP_UTF8, WC_ERR_INVALID_CHARS, wide, -1, path, (int) size, NULL,
                            NULL) == 0) {
        status = KIN_E_FUNCTION;
    }
    free(wide);
    return status;
}

int platform_module_of(platform_module *module, uintptr_t address)
{
    HMODULE base;
    if (!SYSTEM(GetModuleHandleExW(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS |
                                       GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT,
                                   (const wchar_t *) address, &base),
                FALSE, ERROR_MOD_NOT_FOUND)) {
        wing_last_error();
        return KIN_E_FUNCTION;
    }
    const IMAGE_NT_HEADERS *headers = headers_of((const unsigned char *) base);
    if (headers == NULL || !is_executable(base, address - (uintptr_t) base)) {
        return KIN_E_FUNCTION;
    }
    module->base = (uintptr_t) base;
    module->build[0] = hash_headers(headers);
    int status = hash_identity(base, headers, &module->build[1]);
    return status != 0 ? status : copy_path(base, module->path, sizeof module->path);
}

/* True if `base` is a build as `module` says. */
static bool is_build(const platform_module *module, HMODULE base)
{
    uint64_t identity;
    const IMAGE_NT_HEADERS *headers = headers_of((const unsigned char *) base);
    /* The first number costs little and is different for almost all others. */
    return headers != NULL && hash_headers(headers) == module->build[0] &&
           hash_identity(base, headers, &identity) == 0 && identity == module->build[1];
}

/* The loaded module of that build, or NULL. */
static HMODULE find_loaded(const platform_module *module)
{
    HMODULE found = NULL;
    HMODULE *modules = NULL;
    DWORD needed = 128 * sizeof *modules;
    DWORD size = 0;
    while (size < needed) {
        HMODULE *larger = WING_RESIZE(modules, needed);
        size = needed;
        if (larger == NULL ||
            !SYSTEM(K32EnumProcessModules(GetCurrentProcess(), larger, size, &needed), FALSE,
                    ERROR_PARTIAL_COPY)) {
            free(larger != NULL ? larger : modules);
            return NULL;
        }
        modules = larger;
    }
    for (size_t i = 0; i < needed / sizeof *modules && found == NULL; i++) {
        HMODULE held;
        /* Another thread may unload it: look at it only with a reference to it. */
        if (!SYSTEM(GetModuleHandleExW(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS,
                                       (const wchar_t *) (const void *) modules[i], &held),
                    FALSE, ERROR_MOD_NOT_FOUND)) {
            continue;
        }
        if (is_build(module, held)) {
            found = held;
        }
        FreeLibrary(held);
    }
    free(modules);
    return found;
}

/* Loads it for good, or NULL. */
static HMODULE load(const platform_module *module)
{
    wchar_t *path;
    DWORD mode;
    if (module->path[0] == '\0' || wing_wide(module->path, &path) != 0) {
        return NULL;
    }
    BOOL quiet = SetThreadErrorMode(SEM_FAILCRITICALERRORS | SEM_NOOPENFILEERRORBOX, &mode);
    HMODULE loaded = SYSTEM(LoadLibraryExW(path, NULL, LOAD_WITH_ALTERED_SEARCH_PATH), NULL,
                            ERROR_MOD_NOT_FOUND);
    if (loaded == NULL) {
        wing_last_error();
    } else if (!is_build(module, loaded)) {
        FreeLibrary(loaded);
        loaded = NULL;
    }
    if (quiet) {
        SetThreadErrorMode(mode, NULL);
    }
    free(path);
    return loaded;
}

int platform_module_find(platform_module *module, uintptr_t offset)
{
    HMODULE base = GetModuleHandleW(NULL);
    if (!is_build(module, base)) {
        base = find_loaded(module);
    }
    if (base == NULL) {
        base = load(module);
    }
    if (base == NULL || !is_executable(base, offset)) {
        return KIN_E_FUNCTION;
    }
    module->base = (uintptr_t) base;
    return 0;
}

int platform_module_elsewhere(const platform_identity *identity, uint64_t address, char *path,
                              size_t size, uint64_t *offset)
{
    wchar_t wide[MAX_PATH + 1];
    MEMORY_BASIC_INFORMATION about;
    uint64_t stamp;
    HANDLE process = SYSTEM(
        OpenProcess(PROCESS_QUERY_INFORMATION | PROCESS_VM_READ, FALSE, (DWORD) identity->pid),
        NULL, ERROR_ACCESS_DENIED);
    if (process == NULL) {
        return GetLastError() == ERROR_INVALID_PARAMETER ? KIN_E_ENDED : wing_last_error();
    }
    int status = wing_process_stamp(process, &stamp);
    if (status == 0 && stamp != identity->stamp) {
        status = KIN_E_ENDED;
    }
    if (status == 0 &&
        (address > UINTPTR_MAX ||
         VirtualQueryEx(process, (void *) (uintptr_t) address, &about, sizeof about) == 0 ||
         K32GetModuleFileNameExW(process, (HMODULE) about.AllocationBase, wide, MAX_PATH) == 0 ||
         WideCharToMultiByte(CP_UTF8, 0, wide, -1, path, (int) size, NULL, NULL) == 0)) {
        status = KIN_E_FUNCTION;
    }
    if (status == 0) {
        *offset = address - (uint64_t) (uintptr_t) about.AllocationBase;
    }
    CloseHandle(process);
    return status;
}
