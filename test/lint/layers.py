#!/usr/bin/env python3
"""Who may include whom. Usage: layers.py [ROOT]

    cmd, examples -> <inlets/...> and uv.h
    node          -> everything
    other rooms   -> relay, proto, base          (acme, dns, admin, ...)
    net           -> base, libuv
    relay         -> proto, base
    proto         -> base, and one third-party library for each file
    base          -> libc
    The headers of errors, types, log and allocator may be included
    everywhere. The machines in relay never include one another. No circles.
"""

import pathlib
import re

import tree

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.M)

COMMON = {'inlets/alloc.h', 'inlets/err.h', 'inlets/export.h',
          'inlets/log.h', 'inlets/types.h', 'inlets/version.h'}

ROOMS = {   # room: (rooms that it may include, public headers beside COMMON)
    'base': ({'base'}, set()),
    'proto': ({'base', 'proto'}, set()),
    'relay': ({'base', 'proto', 'relay'}, {'inlets/exchange.h'}),
    'net': ({'base', 'net'}, set()),
    'node': (None, None),       # everything
}
LATER = ({'base', 'proto', 'relay'}, {'inlets/exchange.h'})

# Third-party headers: (prefix, what may include them), as path patterns.
THIRD_PARTY = (
    ('uv.h', r'lib/(net|node)/.*|cmd/.*|examples/.*|test/(threads|bench)/.*'),
    ('uv/', r'lib/net/.*'),
    ('llhttp.h', r'lib/proto/http1[^/]*|lib/node/version\.c'),
    ('wslay/', r'lib/proto/websocket[^/]*|lib/node/version\.c'
               r'|test/fuzz/websocket_mirror\.h'),
    ('mbedtls/', r'lib/proto/(crypto|tls)[^/]*|lib/node/(alloc|version)\.c'),
    # The hash service stands for anybody's upstream: it uses nothing of ours.
    ('psa/', r'lib/proto/(crypto|tls)[^/]*|lib/node/(alloc|version)\.c'
             r'|examples/hash-service\.c|test/bench/primitives\.c'),
    ('jansson.h', r'lib/proto/json[^/]*|test/fuzz/fuzz_jwt\.c'),
    ('crypt.h', r'lib/proto/password\.c'),
    ('cmocka.h', r'test/.*'),
)

# Doors to the world: only for those who own them.
SOCKETS = re.compile(r'sys/(socket|epoll|select|un|poll|sendfile)\.h|netdb\.h'
                     r'|netinet/.*|poll\.h|net/if\.h|linux/.*')
PURE = re.compile(r'lib/(base|proto|relay)/')

LIBC = re.compile(
    r'(assert|ctype|errno|fcntl|inttypes|limits|locale|math|poll|pthread|pwd'
    r'|grp|sched|setjmp|signal|stdalign|stdarg|stdatomic|stdbool|stddef'
    r'|stdint|stdio|stdlib|string|strings|time|unistd|netdb|getopt|malloc'
    r'|sysexits|spawn|dirent|termios|dlfcn)\.h'
    r'|(sys|netinet|net|arpa|linux)/[a-z_0-9]+\.h')

MACHINES = ('visitor', 'session', 'upstream')


def resolve(top, path, name):
    """The file that "name" means: beside, below lib, or below cmd."""
    for base in (path.parent, pathlib.PurePosixPath('lib'),
                 pathlib.PurePosixPath('cmd'),
                 pathlib.PurePosixPath('test'),
                 pathlib.PurePosixPath('include')):
        if (top / base / name).is_file():
            return base / name
    return None


def check_system(problems, path, line, name):
    where = str(path)
    for prefix, allowed in THIRD_PARTY:
        if name.startswith(prefix):
            if not re.fullmatch(allowed, where):
                problems.add(path, line, f'<{name}> is not for this room')
            return
    if PURE.match(where) and SOCKETS.fullmatch(name):
        problems.add(path, line, f'<{name}>: no sockets above the waterline')
    elif not LIBC.fullmatch(name):
        problems.add(path, line, f'<{name}> is unknown to layers.py')


def check_public(problems, path, line, name):
    """<inlets/...> from inside the library."""
    if path.parts[0] != 'lib' or name in COMMON:
        return
    extra = ROOMS.get(path.parts[1], LATER)[1]
    if extra is not None and name not in extra:
        problems.add(path, line, f'<{name}> belongs to those above')


def check_own(problems, path, line, target):
    """An include of a file of this tree, in quotes."""
    top_dir = path.parts[0]
    if top_dir == 'include':
        problems.add(path, line, 'a public header includes a private one')
    elif top_dir in ('cmd', 'examples'):
        if target.parts[0] not in ('cmd', 'examples'):
            problems.add(path, line, f'{target}: only <inlets/...> and uv.h')
    elif top_dir == 'lib' and len(path.parts) > 2:
        check_room(problems, path, line, target)
    if target.suffix == '.c':
        problems.add(path, line, f'{target} is not a header')


def check_room(problems, path, line, target):
    room = path.parts[1]
    allowed = ROOMS.get(room, (LATER[0] | {room}, None))[0]
    if target.parts[0] != 'lib':
        problems.add(path, line, f'{target} is outside of lib')
    elif allowed is not None and target.parts[1] not in allowed:
        problems.add(path, line, f'{room} may not include {target.parts[1]}')
    elif room == 'relay' and target.parts[1] == 'relay':
        ours, theirs = machine(path), machine(target)
        if ours and theirs and ours != theirs:
            problems.add(path, line, f'machines meet through flow and '
                         f'service: {ours} includes {theirs}')


def machine(path):
    """The machine that a file of relay is a part of, if any."""
    stem = path.stem.split('_')[0]
    return stem if stem in MACHINES else None


def find_circle(graph):
    """A list of headers that include each other in a circle, or None."""
    done, way = set(), []

    def visit(node):
        if node in way:
            return way[way.index(node):] + [node]
        if node in done:
            return None
        way.append(node)
        for follower in sorted(graph.get(node, ())):
            if circle := visit(follower):
                return circle
        way.pop()
        done.add(node)
        return None
    for node in sorted(graph):
        if circle := visit(node):
            return circle
    return None


def main():
    top, problems = tree.root(), tree.Problems()
    graph = {}
    for path in tree.of_kind(tree.files(top), '.c', '.h'):
        if path.parts[0] not in ('include', 'lib', 'cmd', 'examples', 'test'):
            continue
        source = tree.code(tree.text(top, path), keep_strings=True)
        for match in INCLUDE.finditer(source):
            line = source.count('\n', 0, match.start()) + 1
            quote, name = match.groups()
            if quote == '<' and name.startswith('inlets/'):
                check_public(problems, path, line, name)
                target = pathlib.PurePosixPath('include') / name
            elif quote == '<':
                check_system(problems, path, line, name)
                continue
            else:
                target = resolve(top, path, name)
                if target is None:
                    problems.add(path, line, f'no file "{name}"')
                    continue
                check_own(problems, path, line, target)
            if path.suffix == '.h':
                graph.setdefault(str(path), set()).add(str(target))
    if circle := find_circle(graph):
        problems.add(circle[0], 1, 'includes itself: ' + ' -> '.join(circle))
    problems.exit('layers')


main()
