# Shared by the scripts beside it; source it after `set -euo pipefail`. Every function prints one line, and on
# failure what failed, why, and what to do.

SCRIPTS="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
CHECKOUT="$(dirname "$SCRIPTS")"
CONSTRAINTS="$SCRIPTS/constraints.txt"
CACHE="${COSMICTAGGER_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/cosmictagger_tf}"
NAME="$(basename "$0")"

# pip's hints about newer versions of itself and about running as root say nothing to our user.
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore

say() { printf '%s: %s\n' "$NAME" "$*"; }
die() { printf '%s: %s\n' "$NAME" "$*" >&2; exit 1; }
misused() { printf '%s: %s (see %s --help)\n' "$NAME" "$*" "$0" >&2; exit 2; }

# The comment block at the top of a script is its help: everything after the shebang up to the first other line.
print_help() { awk 'NR == 1 { next } !/^#/ { exit } { sub(/^# ?/, ""); print }' "$0"; }

# ---------------------------------------------------------------------------------------------------------- steps

# start_log, end_log: where `step` writes; the log of what succeeds is removed.
LOG=""
start_log() {
    mkdir -p "$CACHE/logs" 2>/dev/null && [[ -w "$CACHE/logs" ]] ||
        die "cannot write to the cache folder $CACHE: set COSMICTAGGER_CACHE to a folder that you may write to"
    LOG="$(mktemp "$CACHE/logs/$NAME-XXXXXX.log")"
}
end_log() {
    rm -f "$LOG"
    LOG=""
}

# step TITLE COMMAND...: runs the command into the log; when it fails, shows the end of its output and stops.
step() {
    local title="$1" start="$SECONDS" from status=0
    shift
    [[ -n "$LOG" ]] || start_log
    say "$title ..."
    printf '\n==== %s\n$ %s\n' "$title" "$*" >>"$LOG"
    from="$(wc -c <"$LOG")"
    "$@" >>"$LOG" 2>&1 </dev/null || status=$?
    if ((status)); then
        {
            printf '%s: FAILED (status %s) while %s\n' "$NAME" "$status" "$title"
            # Under pip and make the cause stands far above the end.
            tail -c "+$((from + 1))" "$LOG" | grep -E -A 2 '\b[Ee]rror: |CMake Error|not found|No such file|Killed' |
                head -n 12 | cut -c 1-300 | sed 's/^ */    /' || true
            printf '%s: the end of its output is\n' "$NAME"
            tail -c "+$((from + 1))" "$LOG" | tail -n 15 | cut -c 1-300 | sed 's/^/    /'
            printf '%s: the whole log is %s\n' "$NAME" "$LOG"
        } >&2
        exit 1
    fi
    ((SECONDS - start < 10)) || say "$title: done in $((SECONDS - start)) s"
}

# attempt COMMAND...: like step, for a command that may fail.
attempt() { "$@" >>"$LOG" 2>&1 </dev/null; }

# --------------------------------------------------------------------------------------------------------- Debian

# may_install_packages: true where apt-get is there and may be used without asking for a password.
may_install_packages() {
    [[ "${COSMICTAGGER_APT:-1}" != 0 ]] && command -v apt-get >/dev/null || return 1
    ((EUID == 0)) && AS_ROOT=() && return 0
    command -v sudo >/dev/null && sudo -n true 2>/dev/null && AS_ROOT=(sudo -n)
}

apt_install() {
    local install=(env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -qq
        --no-install-recommends "$@")
    # A fresh machine has no package lists yet, and old lists name files that are gone.
    "${AS_ROOT[@]}" "${install[@]}" || { "${AS_ROOT[@]}" apt-get update -qq && "${AS_ROOT[@]}" "${install[@]}"; }
}

# system_packages REASON PACKAGE...: installs Debian packages, or names them and stops.
system_packages() {
    local reason="$1"
    shift
    may_install_packages || die "$reason. Install the system packages (Debian names): $*
    sudo apt-get install $*"
    step "installing the Debian packages $*" apt_install "$@"
}

# -------------------------------------------------------------------------------------------------------- Pythons

# find_python: the interpreter for a new environment. The pins in constraints.txt fit Python 3.11 and 3.12; 3.11 is
# tried first because larcv and Horovod have been compiled and tested with it alone.
find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3.11 python3 python3.12; do
        [[ -n "$candidate" ]] && "$candidate" -c \
            'import sys, venv, ensurepip; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' \
            2>/dev/null && command -v "$candidate" && return
    done
    die "no Python 3.11 or 3.12 with the venv module found: install one (Debian 12: apt-get install python3-venv)," \
        "or name it: PYTHON=/path/to/python3.11 $0"
}

# absolute_python PYTHON: its full path, so that it survives a change of folder.
absolute_python() {
    "$1" -c 'import sys; print(sys.executable)' 2>/dev/null || die "'$1' is not a Python that runs: name one with --python"
}

# make_environment DIR EXTRAS: a virtual environment in DIR that holds this checkout (editable) with the extras
# (comma-separated, may be empty), in the versions of constraints.txt. Quick when it is there already.
make_environment() {
    local dir="$1" extras="${2:-}" python stamp
    stamp="$(cat "$CHECKOUT/setup.cfg" "$CHECKOUT/setup.py" "$CHECKOUT"/cosmictagger_tf/data/*.c "$CONSTRAINTS" | cksum) [$extras] $CHECKOUT"
    if [[ -x "$dir/bin/python" && "$(cat "$dir/.cosmictagger_tf" 2>/dev/null)" == "$stamp" ]]; then
        say "using the environment $dir"
        return
    fi
    if ! "$dir/bin/python" -c '' 2>/dev/null; then
        if [[ -e "$dir" && ! -e "$dir/pyvenv.cfg" && -n "$(ls -A "$dir" 2>/dev/null)" ]]; then
            die "$dir exists and is no virtual environment: name another folder"
        fi
        python="$(find_python)"
        step "making the virtual environment $dir with $("$python" --version)" "$python" -m venv --clear "$dir"
    fi
    rm -f "$dir/.cosmictagger_tf"
    step "installing the build tools" "$dir/bin/python" -m pip install -c "$CONSTRAINTS" setuptools wheel
    step "installing the package${extras:+ with the extras $extras} (a download of 800 MB or more the first time)" \
        "$dir/bin/python" -m pip install -c "$CONSTRAINTS" --use-pep517 --no-build-isolation \
        -e "$CHECKOUT${extras:+[$extras]}"
    step "checking that the installed versions agree" "$dir/bin/python" -m pip check
    printf '%s\n' "$stamp" >"$dir/.cosmictagger_tf"
    end_log
}

# ------------------------------------------------------------------------------------------ wheels built from source

# pins_for PYTHON: the lines of constraints.txt for what PYTHON does not have yet: what is missing arrives in the
# pinned version, what is there stays as it is.
pins_for() {
    "$1" - "$CONSTRAINTS" <<'PY'
import importlib.metadata, re, sys
canonical = lambda name: re.sub(r"[-_.]+", "-", name).lower()
there = {canonical(d.metadata["Name"]) for d in importlib.metadata.distributions() if d.metadata["Name"]}
for line in open(sys.argv[1]):
    if re.match(r"[A-Za-z0-9]", line) and canonical(re.split(r"[=<>! ;]", line)[0]) not in there:
        print(line, end="")
PY
}

# build_jobs: one a core, but no more than fit in memory at 2 GB each.
build_jobs() {
    local cores gigabytes
    cores="$(nproc 2>/dev/null || echo 1)"
    gigabytes="$(awk '/MemAvailable/ { print int($2 / 1048576) }' /proc/meminfo 2>/dev/null || echo 2)"
    echo $((cores < gigabytes / 2 ? cores : gigabytes / 2 > 0 ? gigabytes / 2 : 1))
}

# need_compiler PYTHON: a C++ compiler, make, and the headers of this Python.
need_compiler() {
    local missing=()
    command -v c++ >/dev/null || command -v "${CXX:-g++}" >/dev/null || missing+=(g++)
    command -v make >/dev/null || missing+=(make)
    "$1" -c 'import os, sys, sysconfig as s; sys.exit(not os.path.exists(s.get_path("include") + "/Python.h"))' ||
        missing+=("$("$1" -c 'import sys; print("libpython%d.%d-dev" % sys.version_info[:2])')")
    [[ ${#missing[@]} == 0 ]] || system_packages "compiling needs a C++ compiler, make and Python's headers" "${missing[@]}"
}

# build_environment PYTHON DIR PACKAGE...: a throwaway environment that compiles, so that the target stays clean.
build_environment() {
    local python="$1" dir="$2"
    shift 2
    step "making the build environment" "$python" -m venv "$dir"
    step "installing the build tools" "$dir/bin/python" -m pip install -c "$CONSTRAINTS" "$@"
}

# fetch_source BUILD_PYTHON NAME VERSION DIR: the released source distribution, unpacked; its folder in SOURCE.
fetch_source() {
    step "downloading the source of $2 $3" "$1" -m pip download --no-deps --no-build-isolation --no-binary "$2" \
        -d "$4" "$2==$3"
    step "unpacking it" tar -xzf "$4/$2-$3.tar.gz" -C "$4"
    SOURCE="$4/$2-$3"
}

# cached_wheel TAG BUILDER: WHEEL becomes the wheel of this tag, built by `BUILDER DIR` (which leaves it in DIR/wheel)
# where the cache has none. Builds beside and moves at the end, under a lock: an interrupted or a second build at the
# same time never leaves half a wheel. BUILT says whether it was built now.
cached_wheel() {
    local folder="$CACHE/wheels/$1" lock="$CACHE/wheels/.$1.lock" wheels
    mkdir -p "$CACHE/wheels"
    exec 9>"$lock"
    if command -v flock >/dev/null && ! flock -n 9; then
        say "waiting for another build of the same wheel to end (lock $lock)"
        flock 9
    fi
    BUILT=0
    if ! compgen -G "$folder/*.whl" >/dev/null; then
        BUILT=1
        WORK="$(mktemp -d "$CACHE/wheels/.build-XXXXXX")"
        trap 'rm -rf "$WORK"' EXIT
        mkdir "$WORK/wheel"
        "$2" "$WORK"
        rm -rf "$folder"
        mv "$WORK/wheel" "$folder"
        rm -rf "$WORK"
    fi
    exec 9>&-
    wheels=("$folder"/*.whl)
    WHEEL="${wheels[0]}"
}

# install_wheel PYTHON: WHEEL and the packages it needs.
install_wheel() {
    local pins
    pins="$(mktemp)"
    pins_for "$1" >"$pins"
    step "installing $(basename "$WHEEL") into $("$1" -c 'import sys; print(sys.prefix)')" \
        "$1" -m pip install -c "$pins" "$WHEEL"
    # The same version built anew is not a reason for pip to replace it; this is.
    step "putting its files in place" "$1" -m pip install --force-reinstall --no-deps "$WHEEL"
    rm -f "$pins"
}

# provide TAG BUILDER PYTHON SELF_TEST: builds or takes from the cache, installs, tests. A cached wheel that fails its
# test (the system's libraries have changed since) is built anew once.
provide() {
    local tag="$1" builder="$2" python="$3" self_test="$4"
    cached_wheel "$tag" "$builder"
    if ((BUILT)); then
        say "kept for next time: $WHEEL"
    else
        say "from the cache: $WHEEL"
        # In a subshell, because a step that fails ends its shell.
        if (install_wheel "$python" && step "testing it" "$self_test"); then
            return
        fi
        say "the cached wheel does not work here any more: building it anew"
        rm -rf "$(dirname "$WHEEL")"
        cached_wheel "$tag" "$builder"
    fi
    install_wheel "$python"
    step "testing it" "$self_test"
}
