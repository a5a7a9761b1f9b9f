#!/bin/bash
# test/run.sh: installs what the tests need, builds the tree in the ways they
# need, runs all of them and counts. See --help. The last line of output is
# "N passed, N failed"; the exit status is 0 only when nothing failed. A test
# that was skipped counts as failed: a missing tool must not look like success.
set -eu

usage()
{
    cat <<'EOF'
Usage: ./test/run.sh [--no-install] [--list] [stage ...]

Runs all tests, or only the stages named:

  unit      build/asan (ASan and UBSan, warnings are errors): unit, world and
            allocation-failure tests, corpora, headers, lint
  e2e       build/asan: real programs over real sockets
  tsan      build/tsan: loops in several threads under ThreadSanitizer
  fuzz      build/fuzz (clang): each fuzz target for a bounded number of runs
  valgrind  build/release: unit and world tests and one e2e run
  bulk      build/release: 1 GiB each way, 10,000 visitors, meson install
  soak      build/asan and build/release: everything at once for a while, then
            memory and descriptors as before

Environment: FUZZ_RUNS (20000) and FUZZ_SECONDS (20) bound each fuzz target;
SOAK_SECONDS (15 and 25; 3600 for an hour of each) is how long the soaks load;
JOBS (number of processors) bounds what runs at the same time; VALGRIND_FLAGS
are added to its own (--track-origins=yes takes twice the time).
EOF
}

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
cd -- "$root"

all_stages='unit e2e tsan fuzz valgrind bulk soak'
stages=
install=yes
for arg; do
    case $arg in
    -h | --help)
        usage
        exit 0
        ;;
    --list)
        printf '%s\n' "$all_stages"
        exit 0
        ;;
    --no-install) install=no ;;
    unit | e2e | tsan | fuzz | valgrind | bulk | soak) stages="$stages $arg" ;;
    *)
        printf '%s\n' "run.sh: no stage '$arg'. Stages: $all_stages." >&2
        exit 2
        ;;
    esac
done
: "${stages:=$all_stages}"
: "${JOBS:=$(getconf _NPROCESSORS_ONLN)}"
: "${FUZZ_RUNS:=20000}"
: "${FUZZ_SECONDS:=20}"

# --- Counting ----------------------------------------------------------------

passed=0
failed=0
failures=()
logs=$root/build/logs
started=$SECONDS

heading() { printf '\n== %s  [%d s]\n' "$*" $((SECONDS - started)); }

# count PASSED FAILED WHAT
count()
{
    passed=$((passed + $1))
    failed=$((failed + $2))
    if [ "$2" -gt 0 ]; then
        failures+=("$3: $2 failed")
    fi
    printf -- '-- %s: %d passed, %d failed\n' "$3" "$1" "$2"
}

finish()
{
    status=$?
    # Reached without a summary only when this script itself broke off.
    if [ -z "${summarised-}" ]; then
        failed=$((failed + 1))
        failures+=("run.sh broke off with status $status")
    fi
    if [ "$failed" -gt 0 ]; then
        printf '\nFailed:\n'
        printf '  %s\n' "${failures[@]}"
    fi
    printf '\nTook %d s.\n' $((SECONDS - started))
    printf '%d passed, %d failed\n' "$passed" "$failed"
    [ "$failed" -eq 0 ] || exit 1
    exit 0
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# Counts what a program printed as its last line, "N passed, N failed".
# counted WHAT COMMAND...
counted()
{
    local what=$1 status=0 last
    shift
    "$@" 2>&1 | tee "$logs/last" || status=$?
    last=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$logs/last" | tail -n 1) ||
        last=
    if [ -z "$last" ]; then
        printf '%s\n' "$what printed no count (exit status $status)"
        count 0 1 "$what"
        return
    fi
    local p=${last%% passed*} f=${last#* passed, }
    f=${f%% failed}
    # Non-zero without a failure in the count is a failure too.
    if [ "$status" -ne 0 ] && [ "$f" -eq 0 ]; then f=1; fi
    if [ $((p + f)) -eq 0 ]; then f=1; fi
    count "$p" "$f" "$what"
}

# Runs one command as one test; shows its output only when it fails.
# one WHAT COMMAND...
one()
{
    local what=$1
    shift
    if "$@" >"$logs/last" 2>&1; then
        count 1 0 "$what"
    else
        cat "$logs/last"
        count 0 1 "$what"
    fi
}

# Counts the cases in Meson's log of a test run: each TAP line is a case, a
# program without TAP is one, and a program that died is one more failure.
meson_count()
{
    python3 - "$1" <<'EOF'
import json, re, sys

passed = failed = 0
for line in open(sys.argv[1], encoding="utf-8", errors="replace"):
    test = json.loads(line)
    cases = re.findall(r"^(ok|not ok)\b([^\n]*)", test.get("stdout") or "",
                       re.M)
    good = sum(1 for word, rest in cases
               if word == "ok" and not re.search(r"#\s*SKIP", rest, re.I))
    bad = len(cases) - good
    fine = test["result"] in ("OK", "EXPECTEDFAIL")
    if not cases:
        good, bad = (1, 0) if fine else (0, 1)
    elif not fine and not bad:
        bad = 1
    passed += good
    failed += bad
print(passed, failed)
EOF
}

# meson_test WHAT BUILD ARGUMENT...
meson_test()
{
    local what=$1 dir=$2 log=
    shift 2
    rm -f -- "build/$dir/meson-logs/run-"*
    meson test -C "build/$dir" --no-rebuild --print-errorlogs \
        --num-processes "$JOBS" --logbase run "$@" || true
    for log in "build/$dir/meson-logs/run-"*.json \
        "build/$dir/meson-logs/run.json"; do
        [ ! -f "$log" ] || break
    done
    if [ ! -s "$log" ]; then
        printf '%s\n' "meson test ran nothing in build/$dir"
        count 0 1 "$what"
        return
    fi
    # shellcheck disable=SC2046
    count $(meson_count "$log") "$what"
}

# --- Building ----------------------------------------------------------------

# build NAME MESON-OPTION...: configures build/NAME (anew when the options, the
# place of the tree or the compiler changed) and compiles it, or only $targets.
targets=
build()
{
    local name=$1 dir=build/$1
    shift
    local mark
    mark="$root $* ${CC:-cc} $(${CC:-cc} --version | head -n 1)
$(meson --version) $(ls -d subprojects/debian-* 2>/dev/null)"
    if [ ! -f "$dir/build.ninja" ] ||
        [ "$(cat "$dir/inlets-mark" 2>/dev/null)" != "$mark" ]; then
        rm -rf -- "$dir"
        heading "configuring $dir"
        if ! meson setup "$dir" "$@" >"$logs/setup-$name" 2>&1; then
            tail -n 40 "$logs/setup-$name"
            count 0 1 "configuring $dir"
            return 1
        fi
        printf '%s\n' "$mark" >"$dir/inlets-mark"
    fi
    heading "compiling $dir"
    # shellcheck disable=SC2086
    if ! ninja -j "$JOBS" -C "$dir" $targets >"$logs/compile-$name" 2>&1; then
        grep -v '^\[[0-9]' "$logs/compile-$name" | tail -n 80
        count 0 1 "compiling $dir"
        return 1
    fi
    tail -n 1 "$logs/compile-$name"
}

sanitizers='-Db_sanitize=address,undefined -Db_lundef=false'
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
export ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1
export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1

# Names of functions and lines cost no speed, and valgrind shows them.
build_release()
{
    build release --buildtype=release -Ddebug=true
}

build_asan()
{
    # shellcheck disable=SC2086
    build asan --buildtype=debugoptimized -Doptimization=1 -Dwerror=true \
        $sanitizers
}

# Every file in its table: a test that nobody lists would pass for ever.
tables_are_complete()
{
    local file name status=0
    while IFS= read -r file; do
        case $file in
        lib/*)
            name=${file#lib/}
            grep -qF "'$name'" lib/meson.build
            ;;
        test/*)
            name=${file##*/}
            name=${name%.*}
            case $name in
            test_*) name=${name#test_} ;;
            fuzz_*) name=${name#fuzz_} ;;
            esac
            grep -qF "'$name'" test/meson.build
            ;;
        include/*) grep -qF "'${file#include/}'" include/meson.build ;;
        esac || {
            printf '%s\n' "$file is in no table of its meson.build"
            status=1
        }
    done <<EOF
$(find lib -name '*.c'
find include -name '*.h'
find test/unit test/world test/oom test/threads -name 'test_*.c'
find test/fuzz -name 'fuzz_*.c'
find test/lint -name '*.py' ! -name tree.py)
EOF
    return $status
}

# --- Stages ------------------------------------------------------------------

stage_unit()
{
    one 'tables of sources and tests are complete' tables_are_complete
    build_asan || return 0
    heading 'unit, world, oom, corpora, headers, lint (ASan, UBSan)'
    meson_test 'unit, world, oom, corpora, headers, lint' asan \
        --no-suite threads
}

stage_e2e()
{
    build_asan || return 0
    heading 'e2e (ASan, UBSan)'
    # Most of them wait for time to pass.
    counted 'e2e' python3 test/e2e/run.py --build build/asan --suite fast \
        -j $((JOBS * 2))
}

stage_tsan()
{
    targets="test/threads_client test/threads_threads" \
        build tsan --buildtype=debugoptimized \
        -Doptimization=1 -Db_sanitize=thread -Db_lundef=false || return 0
    heading 'threads (TSan)'
    # TSan cannot live with the widest address randomisation of some kernels.
    if setarch -R true 2>/dev/null; then
        meson_test 'threads (TSan)' tsan --suite threads --wrap 'setarch -R'
    else
        meson_test 'threads (TSan)' tsan --suite threads
    fi
}

fuzz_one()
{
    local target=$1 name found
    name=${target##*/fuzz_}
    found=$(mktemp -d "${TMPDIR:-/tmp}/inlets-fuzz.XXXXXX")
    mkdir -p test/fuzz/findings
    # New inputs go to the first folder, which is thrown away; what crashes
    # goes to findings.
    local status=0
    "$target" -runs="$FUZZ_RUNS" -max_total_time="$FUZZ_SECONDS" \
        -timeout=60 -rss_limit_mb=1024 -print_final_stats=1 \
        -artifact_prefix="test/fuzz/findings/$name-" \
        "$found" "test/fuzz/corpus/$name" || status=$?
    rm -rf -- "$found"
    return $status
}

stage_fuzz()
{
    # shellcheck disable=SC2086
    CC=clang build fuzz --buildtype=debugoptimized -Dfuzz=true -Dtests=false \
        -Dexamples=false $sanitizers || return 0
    heading "fuzz targets, at most $FUZZ_RUNS runs or $FUZZ_SECONDS s each"
    local target any=
    for target in build/fuzz/test/fuzz_*; do
        if [ ! -f "$target" ] || [ ! -x "$target" ]; then continue; fi
        any=yes
        one "fuzz ${target##*/fuzz_}" fuzz_one "$target"
    done
    if [ -z "$any" ]; then
        printf '%s\n' 'no fuzz target was built'
        count 0 1 'fuzz targets'
    fi
}

stage_valgrind()
{
    local leaks=--errors-for-leak-kinds=definite,indirect,possible
    build_release || return 0
    heading 'unit and world (valgrind)'
    meson_test 'unit and world (valgrind)' release \
        --suite unit --suite world --timeout-multiplier 20 \
        --wrap "valgrind --quiet --leak-check=full --show-leak-kinds=all $leaks \
--error-exitcode=99 ${VALGRIND_FLAGS-}"
    heading 'e2e (valgrind)'
    counted 'e2e (valgrind)' python3 test/e2e/run.py --build build/release \
        --suite valgrind
}

stage_bulk()
{
    build_release || return 0
    heading 'what waits long (release)'
    counted 'patient' python3 test/e2e/run.py --build build/release \
        --suite patient -j 4
    heading 'bulk and 10,000 visitors (release)'
    counted 'bulk' python3 test/e2e/run.py --build build/release --suite bulk
}

stage_soak()
{
    build_asan || return 0
    heading 'soak (ASan, UBSan)'
    counted 'soak (ASan, UBSan)' env SOAK_SECONDS="${SOAK_SECONDS:-15}" \
        python3 test/e2e/run.py --build build/asan --suite soak
    build_release || return 0
    heading 'soak (release)'
    counted 'soak (release)' env SOAK_SECONDS="${SOAK_SECONDS:-25}" \
        python3 test/e2e/run.py --build build/release --suite soak
}

# --- All ---------------------------------------------------------------------

if [ "$install" = yes ]; then
    heading 'installing what is missing'
    if ! ./subprojects/install.sh tests; then
        count 0 1 'installing what the tests need'
        summarised=yes
        exit 1
    fi
fi
mkdir -p "$logs"
set -o pipefail

for stage in $stages; do
    "stage_$stage"
done
summarised=yes
