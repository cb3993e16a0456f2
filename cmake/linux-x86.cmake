# Builds 32-bit programs for x86 with this machine's compiler. They run here, so this is no cross
# build.

set(CMAKE_C_COMPILER gcc)
# The kernel's headers for both sizes lie in the folder of the larger one, where -m32 does not look.
set(CMAKE_C_FLAGS_INIT "-m32 -idirafter /usr/include/x86_64-linux-gnu")

include(${CMAKE_CURRENT_LIST_DIR}/cache.cmake)
kin_find_in_cache(linux-x86)
