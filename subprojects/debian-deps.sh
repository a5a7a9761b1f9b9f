#!/bin/sh
# debian-deps.sh: takes what a Debian system is too old to have from Debian 13
# (trixie), through the mirror and the keyring that the system itself uses.
# Nothing of the system changes: apt runs here with a configuration, lists,
# cache and an empty package status of its own, in a temporary folder.
#
#   Mbed TLS  the upstream tarball out of Debian's source package, into
#             packagecache/ under the name and hash of mbedtls.wrap. Should
#             Debian 13 have moved on to a release that the wrap does not name:
#             its built static libraries, into debian-mbedtls/.
#   llhttp    header and static library of libllhttp-dev, into debian-llhttp/.
#
# Does nothing where the system's packages are new enough, or where an earlier
# run already did its work. Needs no root. Exit status: 0 when meson will find
# everything, 1 when something could not be had (and it says what).
set -eu

suite=trixie
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
cache=$here/packagecache
work=

say() { printf '%s\n' "debian-deps: $*"; }
warn() { printf '%s\n' "debian-deps: $*" >&2; }
die()
{
    warn "$*"
    exit 1
}

cleanup() { [ -z "$work" ] || rm -rf -- "$work"; }
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# The value of a key in a wrap file.
wrap_value() { sed -n "s/^$2 *= *//p" "$here/$1.wrap"; }

has_hash()
{
    [ -f "$1" ] && [ "$(sha256sum <"$1" | cut -d' ' -f1)" = "$2" ]
}

system_has()
{
    command -v pkg-config >/dev/null 2>&1 && pkg-config --exists "$@"
}

# --- What is missing ---------------------------------------------------------

mbedtls_file=$(wrap_value mbedtls source_filename)
mbedtls_hash=$(wrap_value mbedtls source_hash)
mbedtls_version=${mbedtls_file#mbedtls-}
mbedtls_version=${mbedtls_version%.tar.*}
llhttp_file=$(wrap_value llhttp source_filename)
llhttp_hash=$(wrap_value llhttp source_hash)

needs_mbedtls()
{
    ! system_has 'mbedtls >= 3.6' 'mbedx509 >= 3.6' 'mbedcrypto >= 3.6' &&
        [ ! -f "$here/debian-mbedtls/meson.build" ] &&
        [ ! -f "$here/$(wrap_value mbedtls directory)/meson.build" ] &&
        ! has_hash "$cache/$mbedtls_file" "$mbedtls_hash"
}

needs_llhttp()
{
    ! system_has 'libllhttp >= 9.2.1' &&
        [ ! -f "$here/debian-llhttp/meson.build" ] &&
        [ ! -f "$here/$(wrap_value llhttp directory)/meson.build" ] &&
        ! has_hash "$cache/$llhttp_file" "$llhttp_hash"
}

want=
! needs_mbedtls || want="$want mbedtls"
! needs_llhttp || want="$want llhttp"
if [ -z "$want" ]; then
    say "nothing to do: Mbed TLS and llhttp are at hand"
    exit 0
fi

for tool in apt-get dpkg dpkg-deb ar sha256sum; do
    command -v "$tool" >/dev/null 2>&1 ||
        die "needs $tool, which this system does not have." \
            "Run it on Debian (with package binutils for ar)," \
            "or let meson download the wraps."
done
[ -r "$keyring" ] ||
    die "cannot read $keyring: install the package debian-archive-keyring."

# --- An apt of our own -------------------------------------------------------

# Prints "URI suite" for every binary source that the system installs Debian
# from, one a line; reads both the one-line format and deb822.
system_sources()
{
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ -r "$file" ] || continue
        # deb [options] URI suite components
        sed -n -e 's/#.*//' -e 's/^deb[[:space:]]\{1,\}//p' "$file" |
            sed -e 's/^\[[^]]*\][[:space:]]*//' |
            while read -r uri name rest; do
                case " $rest " in
                *' main '*) printf '%s %s\n' "$uri" "$name" ;;
                esac
            done
    done
    for file in /etc/apt/sources.list.d/*.sources; do
        [ -r "$file" ] || continue
        # One paragraph per source; a field goes on in indented lines.
        awk '
            function flush(    n, m, i, j, u, s) {
                if (types ~ /(^|[ \t])deb([ \t]|$)/ && enabled !~ /^no/ &&
                    components ~ /(^|[ \t])main([ \t]|$)/) {
                    n = split(uris, u, /[ \t]+/)
                    m = split(suites, s, /[ \t]+/)
                    for (i = 1; i <= n; i++)
                        for (j = 1; j <= m; j++)
                            if (u[i] != "" && s[j] != "")
                                print u[i], s[j]
                }
                types = uris = suites = components = enabled = field = ""
            }
            /^#/ { next }
            /^[ \t]*$/ { flush(); next }
            /^[^ \t]/ {
                field = tolower($0); sub(/:.*/, "", field)
                value = $0; sub(/^[^:]*:[ \t]*/, "", value)
            }
            /^[ \t]/ { value = $0; sub(/^[ \t]+/, "", value) }
            field == "types" { types = types " " value }
            field == "uris" { uris = uris " " value }
            field == "suites" { suites = suites " " value }
            field == "components" { components = components " " value }
            field == "enabled" { enabled = tolower(value) }
            END { flush() }
        ' "$file"
    done
}

# The system's mirrors, asked for trixie: plain suites where Debian is, the
# security suite where the system takes its own from. Other vendors' sources
# in the list are not Debian and are left out by their suites' names.
our_sources()
{
    system_sources | while read -r uri name; do
        case $name in
        bookworm | trixie | stable | oldstable | testing | forky | sid | unstable)
            printf '%s %s\n' "$uri" "$suite" ;;
        bookworm-security | trixie-security | stable-security | oldstable-security)
            printf '%s %s-security\n' "$uri" "$suite" ;;
        esac
    done | sort -u
}

private_apt()
{
    work=$(mktemp -d "${TMPDIR:-/tmp}/inlets-deps.XXXXXX")
    mkdir -p "$work/lists/partial" "$work/cache/archives/partial" \
        "$work/sources.list.d" "$work/get"
    : >"$work/status"
    our_sources >"$work/mirrors"
    [ -s "$work/mirrors" ] ||
        die "found no Debian mirror in /etc/apt/sources.list or" \
            "/etc/apt/sources.list.d." \
            "Add one, or let meson download the wraps."
    while read -r uri name; do
        printf 'Types: deb deb-src\nURIs: %s\nSuites: %s\n' "$uri" "$name"
        printf 'Components: main\nSigned-By: %s\n\n' "$keyring"
    done <"$work/mirrors" >"$work/sources.list.d/$suite.sources"
    # A file, since the command line cannot quote. What the system says about
    # proxies, certificates and mirror lists stays in force.
    cat >"$work/apt.conf" <<EOF
Dir::Etc::SourceList "/dev/null";
Dir::Etc::SourceParts "$work/sources.list.d";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::State::Lists "$work/lists";
Dir::State::Status "$work/status";
Dir::Cache "$work/cache";
Dir::Log "$work";
APT::Sandbox::User "";
APT::Default-Release "";
Acquire::Languages "none";
Acquire::Retries "3";
EOF
    say "asking the system's Debian mirror for $suite:$want"
    APT_CONFIG=$work/apt.conf apt-get -q update >"$work/log" 2>&1 ||
        {
            cat "$work/log" >&2
            die "the system's mirror does not answer for $suite" \
                "(the lines above are apt's)."
        }
}

apt_version()
{
    APT_CONFIG=$work/apt.conf apt-cache show --no-all-versions "$1" \
        2>/dev/null | sed -n 's/^Version: //p' | head -n 1
}

# Downloads binary packages and unpacks them into $work/root.
apt_unpack()
{
    mkdir -p "$work/root"
    (
        cd "$work/get"
        APT_CONFIG=$work/apt.conf apt-get -q download "$@" \
            >"$work/log" 2>&1 ||
            {
                cat "$work/log" >&2
                die "could not download $* of $suite" \
                    "(the lines above are apt's)."
            }
        for deb in ./*.deb; do
            dpkg-deb -x "$deb" "$work/root"
            rm -f -- "$deb"
        done
    )
}

# Puts a finished folder in place in one step, so that a run that was cut off
# leaves nothing that looks done.
settle()
{
    rm -rf -- "${here:?}/$1" "$here/.$1.new"
    cp -R -- "$work/$1" "$here/.$1.new"
    mv -- "$here/.$1.new" "$here/$1"
}

# --- Mbed TLS ----------------------------------------------------------------

# The source package's upstream tarball is the upstream release file, byte for
# byte; the hash in the wrap decides.
mbedtls_tarball()
{
    (
        cd "$work/get"
        APT_CONFIG=$work/apt.conf apt-get -q source --download-only \
            --tar-only mbedtls >"$work/log" 2>&1
    ) || {
        cat "$work/log" >&2
        warn "could not download the source of Mbed TLS (the lines above are" \
            "apt's); trying the built libraries."
        return 1
    }
    for tarball in "$work"/get/mbedtls_*.orig.tar.*; do
        case $tarball in *.asc) continue ;; esac
        if has_hash "$tarball" "$mbedtls_hash"; then
            mkdir -p "$cache"
            cp -- "$tarball" "$cache/.$mbedtls_file.new"
            mv -- "$cache/.$mbedtls_file.new" "$cache/$mbedtls_file"
            say "Mbed TLS $mbedtls_version: upstream's tarball, by its hash"
            return 0
        fi
        say "Debian's source is ${tarball##*/}, not the $mbedtls_version of" \
            "mbedtls.wrap (or its hash is another); taking Debian's built" \
            "libraries instead."
    done
    return 1
}

mbedtls_binaries()
{
    version=$(apt_version libmbedtls-dev)
    if ! dpkg --compare-versions "$version" ge 3.6 ||
        ! dpkg --compare-versions "$version" lt 5; then
        die "$suite has Mbed TLS '$version', and 3.6 or 4 is needed."
    fi
    apt_unpack libmbedtls-dev
    out=$work/debian-mbedtls
    mkdir -p "$out/include"
    cp -R "$work/root/usr/include/mbedtls" "$work/root/usr/include/psa" \
        "$out/include/"
    for lib in mbedtls mbedx509 mbedcrypto; do
        mkdir -p "$out/obj/$lib"
        archive=$(find "$work/root/usr/lib" -name "lib$lib.a" | head -n 1)
        [ -n "$archive" ] || die "libmbedtls-dev $version holds no lib$lib.a."
        (cd "$out/obj/$lib" && ar x "$archive")
        # Meson has no wildcards: the list is written here.
        {
            printf '%s_objects = files(\n' "$lib"
            (cd "$out" && printf "  '%s',\n" "obj/$lib"/*.o)
            printf ')\n'
        } >>"$out/objects.txt"
    done
    printf '%s\n' "${version%%-*}" >"$out/version"
    : >"$out/empty.c"
    sed "/^# OBJECTS$/r $out/objects.txt" \
        "$here/packagefiles/debian-mbedtls/meson.build" >"$out/meson.build"
    settle debian-mbedtls
    say "Mbed TLS $version: Debian's built libraries"
}

# --- llhttp ------------------------------------------------------------------

llhttp_binaries()
{
    version=$(apt_version libllhttp-dev)
    # "9.2.1~7.3.0+...": Debian numbers it by llhttp and by undici's release.
    dpkg --compare-versions "${version%%[~+-]*}" ge 9.2.1 ||
        die "$suite has llhttp '$version', and 9.2.1 is needed."
    apt_unpack libllhttp-dev
    out=$work/debian-llhttp
    mkdir -p "$out/include" "$out/obj"
    cp "$work/root/usr/include/llhttp.h" "$out/include/"
    archive=$(find "$work/root/usr/lib" -name libllhttp.a | head -n 1)
    [ -n "$archive" ] || die "libllhttp-dev $version holds no libllhttp.a."
    (cd "$out/obj" && ar x "$archive")
    printf '%s\n' "${version%%[~+-]*}" >"$out/version"
    : >"$out/empty.c"
    cp "$here/packagefiles/debian-llhttp/meson.build" "$out/"
    settle debian-llhttp
    say "llhttp ${version%%[~+-]*}: Debian's built library"
}

private_apt
case $want in *mbedtls*) mbedtls_tarball || mbedtls_binaries ;; esac
case $want in *llhttp*) llhttp_binaries ;; esac
