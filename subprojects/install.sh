#!/bin/sh
# install.sh build|tests: installs what is missing for building, or for
# building and testing, on Debian 12 or 13 (and what comes after). Asks dpkg
# first, and calls apt-get (through sudo when not root) only when something is
# missing. On other systems it says which programs are missing and goes on
# when none is.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)

say() { printf '%s\n' "install: $*"; }
die()
{
    printf '%s\n' "install: $*" >&2
    exit 1
}

case ${1-} in
build | tests) purpose=$1 ;;
*) die "usage: install.sh build|tests" ;;
esac

packages="gcc libc6-dev binutils meson ninja-build pkg-config curl
    libuv1-dev libwslay-dev libjansson-dev libcrypt-dev"
programs="cc meson ninja pkg-config curl"
if [ "$purpose" = tests ]; then
    packages="$packages g++ libcmocka-dev python3 clang libclang-rt-dev llvm
        valgrind libc6-dbg nginx-light haproxy wrk slowhttptest nghttp2-client
        mandoc procps util-linux iproute2 python3-websockets chromium
        openssl squid tinyproxy libnss3-tools sslscan testssl.sh"
    programs="$programs c++ python3 clang valgrind nginx haproxy wrk
        slowhttptest h2load mandoc setarch ip chromium openssl squid tinyproxy
        certutil sslscan testssl"
fi

# Where mbedTLS and llhttp of the system are new enough: Debian 13 and later
# (testing and unstable have no VERSION_ID).
is_new_debian()
{
    (
        ID='' VERSION_ID=''
        # shellcheck source=/dev/null
        . /etc/os-release
        [ "$ID" = debian ] && [ "${VERSION_ID:-99}" -ge 13 ]
    ) 2>/dev/null
}

is_debian() { command -v dpkg-query >/dev/null 2>&1 && [ -r /etc/debian_version ]; }

installed()
{
    dpkg-query -W -f='${db:Status-Abbrev}' "$1" 2>/dev/null | grep -q '^ii'
}

as_root()
{
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1; then
        sudo "$@"
    else
        die "needs root to install packages, and there is no sudo." \
            "As root, run: $*"
    fi
}

apt_install()
{
    say "installing:" "$@"
    log=$(mktemp "${TMPDIR:-/tmp}/inlets-install.XXXXXX")
    if as_root apt-get -q update >"$log" 2>&1 &&
        as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y \
            -o DPkg::Lock::Timeout=120 \
            install --no-install-recommends "$@" >"$log" 2>&1; then
        rm -f -- "$log"
        return 0
    fi
    cat "$log" >&2
    rm -f -- "$log"
    die "apt-get failed (the lines above are its own)." \
        "Repair what it names, then run this again."
}

# nginx starts when it is installed, on port 80 of this machine; HAProxy and the
# proxies start too. The tests only want the programs, so services stay off
# while they are installed.
quiet_install()
{
    policy=/usr/sbin/policy-rc.d
    if [ -e "$policy" ]; then
        apt_install "$@"
        return
    fi
    trap 'as_root rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
    apt_install "$@"
    as_root rm -f "$policy"
    trap - EXIT
}

# Meson lays an overlay over a dependency once, when it unpacks it. Trees that
# were unpacked before an overlay of ours changed get the new one here.
refresh_overlays()
{
    for overlay in "$here"/packagefiles/*; do
        name=${overlay##*/}
        dir=$here/$name
        [ ! -f "$here/$name.wrap" ] ||
            dir=$here/$(sed -n 's/^directory *= *//p' "$here/$name.wrap")
        # debian-mbedtls is written anew by debian-deps.sh.
        case $name in debian-mbedtls) continue ;; esac
        [ -d "$dir" ] || continue
        (cd "$overlay" && find . -type f) | while IFS= read -r file; do
            cmp -s "$overlay/$file" "$dir/$file" ||
                cp -- "$overlay/$file" "$dir/$file"
        done
    done
}
refresh_overlays

if is_debian; then
    ! is_new_debian || packages="$packages libmbedtls-dev libllhttp-dev"
    missing=
    for package in $packages; do
        installed "$package" || missing="$missing $package"
    done
    if [ -n "$missing" ]; then
        # Word splitting is meant: package names hold no spaces.
        # shellcheck disable=SC2086
        case $missing in
        *nginx* | *haproxy* | *squid* | *tinyproxy*) quiet_install $missing ;;
        *) apt_install $missing ;;
        esac
    fi
    # What Debian 12 is too old to have. Where its mirror cannot help, meson
    # downloads the wraps from upstream.
    "$here/debian-deps.sh" ||
        say "meson will now try upstream's own release files"
else
    missing=
    for program in $programs; do
        command -v "$program" >/dev/null 2>&1 || missing="$missing $program"
    done
    [ -z "$missing" ] ||
        die "this is not Debian, and these programs are missing:$missing." \
            "Install them (and libuv, wslay, jansson, libxcrypt$([ "$purpose" = build ] ||
                echo ', cmocka') with headers), then run this again."
fi
