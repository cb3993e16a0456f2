# shellcheck shell=bash disable=SC2034
# What the scripts here share. Sourced, not run.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# Where what is built once and kept lies: outside the source tree. The same place as in
# cmake/cache.cmake.
if [ -n "${KIN_CACHE:-}" ]; then
    cache=$KIN_CACHE
elif [ -n "${XDG_CACHE_HOME:-}" ]; then
    cache=$XDG_CACHE_HOME/kin
elif [ -n "${HOME:-}" ]; then
    cache=$HOME/.cache/kin
else
    cache=/tmp/kin-cache-$(id -u)
fi

say() { printf '%s\n' "$*"; }
fail() {
    printf '%s\n' "$*" >&2
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# Runs a command; what it writes is kept in the named file, and the end of it is shown if it fails.
quietly() {
    local log=$1
    shift
    mkdir -p "$(dirname "$log")"
    if ! "$@" >"$log" 2>&1 </dev/null; then
        say "failed: $*" >&2
        grep -v -e '^ok [0-9]' -e '^\[[0-9]*/[0-9]*\] ' "$log" | tail -n "${KIN_LOG_LINES:-80}" >&2
        return 1
    fi
}

# Sets WINE and wine_server, and what they need in the environment.
wine_environment() {
    local candidate
    WINE=
    for candidate in wine64 /usr/lib/wine/wine64 wine; do
        if have "$candidate"; then
            WINE=$candidate
            break
        fi
    done
    [ -n "$WINE" ] || fail "Wine is missing"
    export WINEPREFIX=$cache/wine
    export WINEDEBUG=-all WINEARCH=win64
    # What asks for things that are not here, and the debugger, which a crash would start.
    export WINEDLLOVERRIDES='mscoree=;mshtml=;winemenubuilder.exe=;winedbg.exe='
    # Wine needs a page at a fixed address in each process (KUSER_SHARED_DATA). The system may put
    # the heap of its loader there by chance: one process in several thousand, also of Wine's own,
    # ends before it runs. An allocator that asks for huge pages has no heap to be in the way. Where
    # the system knows none, one that maps each block by itself has none either, but a start costs
    # three times as much.
    local allocator=glibc.malloc.hugetlb=2
    if GLIBC_TUNABLES=$allocator grep -qF '[heap]' /proc/self/maps 2>/dev/null; then
        allocator=glibc.malloc.mmap_threshold=1
    fi
    export GLIBC_TUNABLES=${GLIBC_TUNABLES:+$GLIBC_TUNABLES:}$allocator
    unset DISPLAY WAYLAND_DISPLAY
    mkdir -p "$WINEPREFIX"
    wine_server=wineserver
    have wineserver || wine_server=/usr/lib/wine/wineserver
}

# The server, which has no such page and may be slow with that allocator, is started without it,
# unless it runs; it stays for some seconds after the last program. Wine's own services have the
# output of whoever begins, for as long as anything runs: so nobody's test begins, but this does.
wine_start() {
    (
        flock 9
        if env -u GLIBC_TUNABLES "$wine_server" -p3 9>&-; then
            "$WINE" wineboot 9>&-
        fi
    ) 9>"$cache/wine.lock" </dev/null >/dev/null 2>&1 || true
}

# Leaves nothing running in our prefix: Wine's own services end by themselves, what a test left
# behind is killed.
wine_stop() {
    [ -d "$cache/wine" ] || return 0
    (
        wine_environment
        timeout 10 "$wine_server" -w || "$wine_server" -k
    ) >/dev/null 2>&1 || true
}

# Whether gcc can link a program with these flags.
can_link() {
    echo 'int main(void) { return 0; }' | gcc "$@" -x c - -o "${linked:-/dev/null}" >/dev/null 2>&1
}

# Whether 32-bit programs can be linked and run here.
can_run_32_bit() {
    local linked status=0
    linked=$(mktemp)
    can_link -m32 && "$linked" || status=1
    rm -f "$linked"
    return $status
}

case $(uname -s) in
Linux)
    os=linux
    default_legs="linux-gcc linux-clang linux-posix linux-asan linux-tsan install lint"
    if have apt-get && have dpkg; then
        os=debian
    fi
    if [ $os = debian ] && [ "$(uname -m)" = x86_64 ]; then
        default_legs="linux-gcc windows-x64 linux-clang linux-posix linux-asan linux-tsan
            linux-musl linux-x86 linux-aarch64 windows-x86 install install-windows lint"
    fi
    ;;
MINGW* | MSYS* | CYGWIN*)
    os=msys2
    default_legs="native install"
    ;;
Darwin)
    os=macos
    default_legs="native install"
    ;;
*)
    os=other
    default_legs="native install"
    ;;
esac
all_legs="native linux-gcc linux-clang linux-asan linux-tsan linux-musl linux-posix linux-x86 \
linux-aarch64 windows-x64 windows-x86 install install-windows lint"
