"""Upstreams that are sockets in the file system."""

import contextlib
import hashlib
import os
import signal
import threading

from lib import websocket
from lib.house import check, equal, none, test
from lib.origin import Pattern, echo, hello
from lib.procs import NO_LEAK_CHECK
from lib.wire import Cut

MIB = 1 << 20
UNREACHABLE = 'msg="upstream cannot be reached"'


def socket_path(w, name='app.sock'):
    # The client is nobody by the time it connects.
    os.chmod(w.folder, 0o711)
    return os.path.join(w.folder, name)


@test()
def nginx_at_a_socket(w):
    """A real one: bodies both ways, kept connections, its restart."""
    path = socket_path(w)
    blob = Pattern(20 * MIB)
    with open(os.path.join(w.folder, 'blob'), 'wb') as file:
        for piece in blob.pieces():
            file.write(piece)
    nginx = w.nginx(
        f'root {w.folder}; client_max_body_size 64m;'
        'location /hello { return 200 "$host $remote_addr"; }'
        'location /up { proxy_pass http://127.0.0.1:$http_x_port; }', path)
    sink = w.origin(echo, timeout=60)
    server = w.server()
    client = w.client(server, f'unix:{path}')
    body = os.urandom(10 * MIB)
    with w.visitor(server, timeout=40) as visitor:
        for _ in range(3):
            equal(visitor.get('/hello').body, b'demo.local unix:', 'hello')
        visitor.ask(target='/blob')
        equal(visitor.digest(visitor.final_head()),
              (blob.digest(), blob.length), 'down')
        visitor.ask('POST', '/up', body=body,
                    fields=[('X-Port', str(sink.port))])
        answer = visitor.final_head()
        equal((answer.status, visitor.digest(answer)),
              (200, (hashlib.sha256(body).hexdigest(), len(body))), 'up')
    nginx.terminate()
    equal(server.get('/hello').status, 502, 'nobody there')
    check(client.lines(f'{UNREACHABLE}.*socket={path} .*no such file'),
          client.log[-400:])
    w.nginx('location / { return 200 again; }', path)
    equal(server.get('/').body, b'again', 'back')


@test()
def ten_mebibytes_posted(w):
    path = socket_path(w)
    w.origin(echo, path=path, timeout=60)
    server = w.server()
    w.client(server, f'unix:{path}')
    body = os.urandom(10 * MIB)
    with w.visitor(server, timeout=40) as visitor:
        visitor.ask('POST', '/up', body=body)
        equal(visitor.digest(visitor.final_head()),
              (hashlib.sha256(body).hexdigest(), len(body)), 'echoed')


@test()
def websocket_at_a_socket(w):
    path = socket_path(w)

    def answer(x):
        x.upgrade()
        websocket.echo(x)
        x.closed = True

    w.origin(answer, path=path)
    server = w.server()
    w.client(server, f'unix:{path}')
    with w.visitor(server) as visitor:
        check(visitor.upgrade().accepted, 'no websocket')
        for data in (b'x', os.urandom(300000)):
            visitor.send(websocket.frame(websocket.BINARY, data))
            check(websocket.read_message(visitor) == (websocket.BINARY, data),
                  f'{len(data)} bytes changed')
        visitor.send(websocket.frame(websocket.CLOSE, b'\x03\xe8bye'))
        equal(websocket.read_message(visitor)[0], websocket.CLOSE, 'close')


@test()
def hosts_that_sockets_see(w):
    path = socket_path(w)
    origin = w.origin(hello, path=path)
    for flag, wanted in ((None, 'Demo.local:80'), ('upstream', 'localhost'),
                         ('inner.test:81', 'inner.test:81')):
        server = w.server()
        client = w.client(server, f'demo.local=unix:{path}',
                          flags=['--host-header', flag] if flag else [])
        equal(server.get('/', 'Demo.local:80').status, 200, flag)
        equal(origin.requests[-1].get('Host'), wanted, flag)
        check(client.lines(f'serving.*upstream=unix:{path}'), client.log)
        client.terminate()


@test()
def upstreams_at_sockets_that_leave(w):
    """Before an answer and in the middle of one."""
    path = socket_path(w)

    def answer(x):
        if x.target == '/half':
            x.start(200, [('Content-Length', 100)])
            x.send(b'half')
        x.closed = True

    w.origin(answer, path=path)
    server = w.server()
    w.client(server, f'unix:{path}')
    equal(server.get('/none').status, 502, 'no answer')
    with w.visitor(server) as visitor:
        visitor.ask(target='/half')
        said, _ = visitor.how_it_ends(5)
        check(b'Length: 100' in said and len(said) < 200, said)


@test()
def upstream_that_leaves_while_nobody_reads(w):
    """It is noticed, and what is left of the answer never passes for it."""
    path, sent, left = socket_path(w), [0], threading.Event()

    def answer(x):
        x.start(200, [('Content-Length', 256 * MIB)])
        x.sock.settimeout(1)
        try:
            while True:
                sent[0] += x.sock.send(bytes(65536))
        except TimeoutError:
            x.closed = True     # nothing has moved for a second
            left.set()

    w.origin(answer, path=path)
    server = w.server()
    client = w.client(server, f'unix:{path}')
    with w.visitor(server, timeout=30, rcvbuf=65536) as visitor:
        visitor.ask()
        check(left.wait(30), 'the origin was never stalled')
        head = visitor.final_head()
        got = len(visitor.buf)
        with contextlib.suppress(Cut, ConnectionError):
            visitor.buf.clear()
            while visitor.fill('the body'):
                got += len(visitor.buf)
                visitor.buf.clear()
        check(head.status == 200 and 0 < got <= sent[0] < 256 * MIB,
              head, got, sent)
    check(client.running, 'the client')


@test()
def no_way_to_a_socket(w):
    """502, and the log says why; it is tried again for each request."""
    path = socket_path(w)
    server = w.server()
    client = w.client(server, f'a.local=unix:{path},b.local=unix:/tmp')
    equal(server.get(host='a.local').status, 502, 'missing')
    equal(server.get(host='b.local').status, 502, 'a folder')
    check(client.lines(f'{UNREACHABLE}.*socket={path} .*no such file'),
          client.log)
    check(client.lines(f'{UNREACHABLE}.*socket=/tmp .*connection refused'),
          client.log)
    w.origin(hello, path=path)
    equal(server.get(host='a.local').status, 200, 'there it is')


@test()
def wrong_paths_are_refused(w):
    problems = []
    for upstream, says in (
            ('unix:app.sock', 'unix:/path'), ('a=unix:run/app', 'unix:/path'),
            ('unix:', 'unix:/path'), ('unix:8080', 'unix:/path'),
            ('unix:/' + 107 * 'x', 'at most 107 bytes'),
            ('unix:/run/x#skip-verify', 'without ? and #'),
            (f'unix:/run/x#ca:{w.token_file}', 'https:// alone')):
        ran = w.run('inlets-client', '--url', 'ws://127.0.0.1:1',
                    '--upstream', upstream, code=2)
        if says not in ran.err:
            problems.append(f'{upstream}: {ran.err}')
    none(problems)


@test()
def sockets_from_the_sandbox(w):
    """The file may come later, and by SIGHUP."""
    origin = w.origin(hello, path=socket_path(w))
    routes = w.file('routes', f'a.local={origin.url}\n')
    server = w.server()
    client = w.client(server, f'z.local=unix:{w.folder}/z.sock',
                      env=NO_LEAK_CHECK,
                      flags=['--sandbox', '--upstreams-from', routes])
    client.wait_log('in the sandbox')
    equal(server.get(host='a.local').status, 200, 'from the start')
    equal(server.get('/', 'a.local', method='POST', body=b'x').status, 200,
          'on a kept connection')
    late = w.origin(hello, path=socket_path(w, 'z.sock'))
    equal(server.get(host='z.local').status, 200, 'a file that came later')
    w.file('routes', f'b.local={late.url}\n')
    os.kill(client.pid, signal.SIGHUP)
    client.wait_log('msg=reloaded')
    server.wait_serving('b.local')
