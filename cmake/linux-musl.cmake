# Builds static programs with musl. They run here, so this is no cross build.

set(CMAKE_C_COMPILER musl-gcc)
# Without the build id that its specs leave out, modules would be told by a hash of their code.
set(CMAKE_EXE_LINKER_FLAGS_INIT "-static -Wl,--build-id")

include(${CMAKE_CURRENT_LIST_DIR}/cache.cmake)
# Where ci/install puts the kernel's headers, which musl's compiler does not find by itself.
set(CMAKE_C_FLAGS_INIT "-isystem ${kin_cache}/prefix/linux-musl/include")
kin_find_in_cache(linux-musl)
