#!/bin/bash
# examples/quickstart.sh: the demo, for real, on this machine alone. Installs
# what is missing, builds a release, then runs an example service, an exit node
# and a client, and asks for the service through the exit node. See --help.
set -eu -o pipefail

usage()
{
    cat <<'EOF'
Usage: ./examples/quickstart.sh [--keep] [--port N] [--service-port N]

Builds inlets and shows a tunnel at work:

  curl  ->  inlets-server (--port, 8000)  ==tunnel==  inlets-client
                                            ->  hash-service (--service-port, 3000)

  --keep            go on serving until Ctrl-C
  --port N          the exit node's port, if 8000 is taken
  --service-port N  the example service's port, if 3000 is taken
  --no-install      install no packages
EOF
}

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
build=$root/build/quickstart
port=8000
service_port=3000
keep=no
install=yes

say() { printf '\n# %s\n' "$*"; }
die()
{
    printf '\nquickstart: %s\n' "$*" >&2
    exit 1
}

while [ $# -gt 0 ]; do
    case $1 in
    -h | --help)
        usage
        exit 0
        ;;
    --keep) keep=yes ;;
    --no-install) install=no ;;
    --port | --service-port)
        [ $# -ge 2 ] || die "$1 needs a number."
        [ "$1" = --port ] && port=$2 || service_port=$2
        shift
        ;;
    --port=*) port=${1#*=} ;;
    --service-port=*) service_port=${1#*=} ;;
    *)
        usage >&2
        die "unknown argument '$1'."
        ;;
    esac
    shift
done
for number in "$port" "$service_port"; do
    case $number in
    '' | *[!0-9]* | ??????*) die "'$number' is not a port number." ;;
    esac
    if [ "$number" -lt 1 ] || [ "$number" -gt 65535 ]; then
        die "'$number' is not a port number."
    fi
done
[ "$port" -ne "$service_port" ] ||
    die "--port and --service-port are both $port; they have to differ."

# --- Ports -------------------------------------------------------------------

# Who listens on a port, if the system tells.
listener()
{
    command -v ss >/dev/null 2>&1 || return 0
    ss -Hltnp "sport = :$1" 2>/dev/null |
        sed -n 's/.*users:(("\([^"]*\)",pid=\([0-9]*\).*/by \1 (process \2)/p' |
        head -n 1
}

# Whether somebody answers on the port; connecting is a thing of bash itself.
port_answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# require_free PORT WHAT OPTION
require_free()
{
    ! port_answers "$1" || {
        by=$(listener "$1")
        die "port $1, for $2, is taken${by:+ $by}." \
            "Stop what uses it, or choose another: $3 $(($1 + 1))"
    }
}

require_free "$service_port" 'the example service' --service-port
require_free "$port" 'the exit node' --port

# --- Install and build -------------------------------------------------------

cd -- "$root"
if [ "$install" = yes ]; then
    say 'Installing what is missing'
    ./subprojects/install.sh build
fi

# Anew when the tree has moved since: build trees know where they lie.
mark="$root $(cc --version | head -n 1) $(ls -d subprojects/debian-* 2>/dev/null || true)"
if [ ! -f "$build/build.ninja" ] ||
    [ "$(cat "$build/inlets-mark" 2>/dev/null)" != "$mark" ]; then
    rm -rf -- "$build"
    mkdir -p "$root/build"
    say 'meson setup build/quickstart --buildtype=release -Dtests=false'
    meson setup build/quickstart --buildtype=release -Dtests=false \
        >"$root/build/quickstart.log" 2>&1 || {
        tail -n 30 "$root/build/quickstart.log" >&2
        die 'meson could not set up the build (the lines above are its own).'
    }
    printf '%s\n' "$mark" >"$build/inlets-mark"
fi
say 'ninja -C build/quickstart'
ninja -C build/quickstart >"$root/build/quickstart.log" 2>&1 || {
    tail -n 40 "$root/build/quickstart.log" >&2
    die 'the build failed (the lines above are from ninja).'
}
tail -n 1 "$root/build/quickstart.log"

# --- Run ---------------------------------------------------------------------

work=$(mktemp -d "${TMPDIR:-/tmp}/inlets-quickstart.XXXXXX")
pids=()
printers=()

# Ends what this script started, by its id, and waits for it.
stop_all()
{
    local pid tries
    for pid in "${pids[@]}"; do
        kill -TERM "$pid" 2>/dev/null || true
    done
    for pid in "${pids[@]}"; do
        tries=0
        while kill -0 "$pid" 2>/dev/null && [ $tries -lt 50 ]; do
            sleep 0.1
            tries=$((tries + 1))
        done
        kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    # These end by themselves, once the last line is printed.
    for pid in "${printers[@]}"; do
        wait "$pid" 2>/dev/null || true
    done
    pids=()
    printers=()
}
finish()
{
    status=$?
    trap '' INT TERM HUP
    stop_all
    rm -rf -- "$work"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# start NAME COMMAND...: in the background, its output shown line by line with
# the program's name in front.
start()
{
    local name=$1
    shift
    local shown="$*"
    shown=${shown//"$build/examples/"/}
    shown=${shown//"$build/cmd/"/}
    printf '\n$ %s &\n' "${shown//"$work/"/}"
    mkfifo "$work/$name"
    # Ctrl-C is for this script, which then ends its programs in order.
    (
        trap '' INT
        exec sed -u "s/^/[$name] /" <"$work/$name"
    ) &
    printers+=($!)
    "$@" >"$work/$name" 2>&1 </dev/null &
    pids+=($!)
}

is_running()
{
    kill -0 "$1" 2>/dev/null ||
        die "$2 ended by itself; its last lines are above."
}

# wait_for SECONDS WHAT PID COMMAND...
wait_for()
{
    local seconds=$1 tries=$(($1 * 10)) what=$2 pid=$3
    shift 3
    while ! "$@"; do
        is_running "$pid" "$what"
        tries=$((tries - 1))
        [ $tries -gt 0 ] || die "$what is not ready after $seconds s."
        sleep 0.1
    done
    is_running "$pid" "$what" # and it is not a stranger who answers
}

# Shows a command, then runs it.
show()
{
    printf '\n$ %s\n' "$1"
    shift
    "$@"
}

# A build takes minutes: somebody may have come meanwhile.
require_free "$service_port" 'the example service' --service-port
require_free "$port" 'the exit node' --port
say "An example service: it answers the hash of what is posted to /hash"
start hash-service "$build/examples/hash-service" --port "$service_port"
wait_for 10 hash-service "${pids[0]}" port_answers "$service_port"

say 'A secret that the exit node and the client share'
(
    umask 077
    # 32 bytes of the kernel's randomness, in hex.
    od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$work/token"
)
printf '$ head -c 32 /dev/urandom | od ... > token   # readable by you alone\n'

say 'The exit node: on a real set-up this runs on a machine with a public address'
start inlets-server "$build/cmd/inlets-server" --port "$port" \
    --bind-addr 127.0.0.1 --token-from "$work/token"
wait_for 10 inlets-server "${pids[1]}" port_answers "$port"

say 'The client, on the machine with the service'
start inlets-client "$build/cmd/inlets-client" \
    --url "ws://127.0.0.1:$port" --token-from "$work/token" \
    --upstream "http://127.0.0.1:$service_port"

tunnel_is_up()
{
    curl -sf -o /dev/null --max-time 5 "http://127.0.0.1:$port/metrics"
}
wait_for 10 inlets-client "${pids[2]}" tunnel_is_up

say 'A request to the exit node is answered by the service'
show "curl -d \"hash this\" http://127.0.0.1:$port/hash" \
    curl -sS --fail --max-time 20 -d "hash this" \
    "http://127.0.0.1:$port/hash" | tee "$work/answer"
printf '\n'
expected=$(printf 'hash this' | sha256sum | cut -d' ' -f1)
grep -q "$expected" "$work/answer" ||
    die "the answer is not the SHA-256 of \"hash this\" ($expected)."

printf '\n$ curl http://127.0.0.1:%s/metrics | grep hash\n' "$port"
curl -sS --fail --max-time 20 "http://127.0.0.1:$port/metrics" |
    grep hash || die 'the metrics of the service do not speak of hashes.'

if [ "$keep" = yes ]; then
    say "Serving http://127.0.0.1:$port/ until Ctrl-C"
    # Ctrl-C is how this is meant to end.
    trap 'exit 0' INT
    while sleep 1; do
        for pid in "${pids[@]}"; do
            kill -0 "$pid" 2>/dev/null ||
                die 'one of the programs ended by itself; see above which.'
        done
    done
fi

say 'Stopping the client, the exit node and the service'
stop_all
say "It works. Next: README.md, a real set-up on a VPS"
