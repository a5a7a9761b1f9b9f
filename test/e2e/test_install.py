"""meson install, a program of somebody else, and the quickstart."""

import os
import pathlib
import socket

from lib.house import check, equal, free_port, test, within

ROOT = pathlib.Path(__file__).resolve().parents[2]

PROGRAM = r'''
#include <inlets/inlets.h>
#include <stdio.h>
#include <uv.h>

static void closed(void *user)
{
    *(int *)user = 1;
}

int main(void)
{
    struct inlets_server_opts opts;
    struct inlets_server *server = NULL;
    uv_loop_t loop;
    int done = 0;
    int err;

    if (uv_loop_init(&loop) != 0) {
        return 2;
    }
    inlets_server_opts_init(&opts);
    opts.user = &done;
    err = inlets_server_new(&server, &loop, &opts);
    if (err == 0) {
        err = inlets_server_listen(server, "127.0.0.1:0",
            INLETS_LISTEN_VISITORS | INLETS_LISTEN_TUNNELS);
    }
    if (err != 0) {
        fprintf(stderr, "%s\n", inlets_strerror(err));
        return 3;
    }
    printf("%s port %u\n", inlets_version(), inlets_server_port(server, 0));
    inlets_server_close(server, closed, &done);
    uv_run(&loop, UV_RUN_DEFAULT);
    return done && uv_loop_close(&loop) == 0 ? 0 : 4;
}
'''


class Installed:
    """A build installed below a folder of the test."""

    def __init__(self, w):
        self.w, self.prefix = w, None
        self.top = os.path.join(w.folder, 'image')
        self.run('meson', 'install', '-C', w.build, '--no-rebuild',
                 '--destdir', self.top)
        self.files = {str(p.relative_to(self.top))
                      for p in pathlib.Path(self.top).rglob('*')
                      if not p.is_dir()}
        self.pc = next(iter(pathlib.Path(self.top).rglob('libinlets.pc')))
        text = self.pc.read_text()
        self.real_prefix = next(line.partition('=')[2] for line in
                                text.splitlines()
                                if line.startswith('prefix='))
        self.lib = str(self.pc.parent.parent)

    def run(self, *argv, env=None, code=0):
        env = {'CC': os.environ.get('CC', 'cc'), **(env or {})}
        ran = self.w.run(*argv, env=env, timeout=120)
        equal(ran.process.returncode, code, ' '.join(argv) + '\n' + ran.err)
        return ran.out

    def pkg_config(self, *argv):
        return self.run(
            'pkg-config', f'--define-variable=prefix={self.top}'
            f'{self.real_prefix}', *argv, 'libinlets',
            env={'PKG_CONFIG_PATH': str(self.pc.parent)}).split()


@test(suite='bulk', timeout=180)
def installed_library_is_usable(w):
    """Shared and static, with pkg-config alone."""
    there = Installed(w)
    source = w.file('program.c', PROGRAM)
    for kind in ('shared', 'static'):
        program = os.path.join(w.folder, f'program-{kind}')
        flags = there.pkg_config('--cflags')
        libs = there.pkg_config('--libs', *(
            ['--static'] if kind == 'static' else []))
        if kind == 'static':
            libs = ['-l:libinlets.a' if f == '-linlets' else f for f in libs]
        uv = there.run('pkg-config', '--cflags', '--libs', 'libuv').split()
        there.run('cc', '-std=c99', '-D_GNU_SOURCE', '-Wall', '-Wextra',
                  '-Werror', source, '-o', program, *flags, *libs, *uv)
        out = there.run(program, env={'LD_LIBRARY_PATH': there.lib})
        check(' port ' in out, out)
        linked = there.run('ldd', program,
                           env={'LD_LIBRARY_PATH': there.lib})
        equal('libinlets.so' in linked, kind == 'shared', f'{kind}: {linked}')


@test(suite='bulk', timeout=60)
def what_is_installed(w):
    """All public headers and no other, both libraries, both programs, man
    pages; nothing of the dependencies."""
    there = Installed(w)
    headers = {pathlib.Path(f).name for f in there.files if f.endswith('.h')}
    equal(headers, {p.name for p in (ROOT / 'include/inlets').glob('*.h')},
          'headers')
    names = {pathlib.Path(f).name for f in there.files}
    for name in ('inlets-server', 'inlets-client', 'libinlets.a',
                 'libinlets.so', 'libinlets.so.0', 'libinlets.pc',
                 'inlets-server.1', 'inlets-client.1'):
        check(name in names or name + '.gz' in names, f'no {name} in {names}')
    for name in names:
        check(not any(word in name for word in (
            'mbed', 'llhttp', 'wslay', 'inlets-core')), f'{name} is installed')
    for name in ('inlets-server', 'inlets-client'):
        path = next(f for f in there.files if f.endswith('bin/' + name))
        out = there.run(os.path.join(there.top, path), '--version',
                        env={'LD_LIBRARY_PATH': there.lib})
        check(name in out, out)


def quickstart(w, *argv, code, timeout):
    return w.run(str(ROOT / 'examples/quickstart.sh'), *argv, code=code,
                 timeout=timeout, env={
                     key: os.environ[key] for key in ('HOME', 'PATH', 'CC')
                     if key in os.environ})


@test(suite='bulk', timeout=900)
def quickstart_shows_the_demo(w):
    ran = quickstart(w, '--no-install', '--port', free_port(),
                     '--service-port', free_port(), code=0, timeout=850)
    check('hash this' in ran.out and 'It works' in ran.out, ran.out[-500:])


@test(suite='bulk', timeout=60)
def quickstart_says_that_a_port_is_taken(w):
    taken = w.keep(socket.create_server(('127.0.0.1', 0)))
    port = taken.getsockname()[1]
    for argv in (('--port', port, '--service-port', free_port()),
                 ('--port', free_port(), '--service-port', port)):
        with within(10, 'the refusal'):
            ran = quickstart(w, '--no-install', *argv, code=1, timeout=30)
        check(str(port) in ran.err and 'taken' in ran.err, ran.err)
