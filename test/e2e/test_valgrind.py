"""Both programs under valgrind, for a build without sanitizers: no invalid
access, nothing uninitialised, nothing lost."""

import os

from lib import websocket
from lib.house import DISCONNECTED, check, equal, soon, test
from lib.origin import echo, hello
from lib.wire import Cut


@test(suite='valgrind', timeout=60)
def a_day_in_the_life(w):
    check(not w.sanitized, 'valgrind needs a build without sanitizers')

    def answer(x):
        if x.target == '/ws':
            x.upgrade()
            websocket.echo(x)
            x.close()
        elif x.target == '/trailers':
            x.read()
            x.start(103, [('Link', '<a>')])
            x.start_chunked()
            x.chunk(b'body')
            x.last_chunk([('X-T', '1')])
        elif x.target == '/cut':
            x.start(200, [('Content-Length', 100)])
            x.send(b'half')
            x.close()
        elif x.target == '/echo':
            echo(x)
        else:
            hello(x)
    origin, gone = w.origin(answer), w.origin(hello)
    gone.close()
    server = w.server()
    client = w.client(server, f'a.local={origin.url}',
                      f'gone.local={gone.url}')
    slow = {'timeout': 60, 'host': 'a.local'}
    with w.visitor(server, **slow) as visitor:
        for _ in range(5):
            equal(visitor.get('/x?y').status, 200, 'GET')
        body = os.urandom(1 << 20)
        check(visitor.get('/echo', method='POST', body=body).body == body,
              'the echo changed')
        equal(visitor.get('/trailers').trailers, [('X-T', '1')], 'trailers')
        equal(visitor.get('/x', method='HEAD').status, 200, 'HEAD')
    with w.visitor(server, **slow) as visitor:
        check(visitor.upgrade('/ws').accepted, 'no upgrade')
        for size in (1, 70000):
            visitor.send(websocket.frame(websocket.BINARY, b'm' * size))
            equal(websocket.read_message(visitor)[1], b'm' * size, 'echo')
        visitor.send(websocket.frame(websocket.CLOSE, b'\x03\xe8'))
        visitor.how_it_ends(20)
    with w.visitor(server, **slow) as visitor:
        try:
            visitor.get('/cut')
            raise AssertionError('a cut answer ended cleanly')
        except Cut:
            pass
    equal(server.get(host='gone.local', timeout=60).status, 502, 'refused')
    equal(server.get(host='none.local', timeout=60).status, 503, 'unknown')
    with w.visitor(server, **slow) as visitor:
        visitor.send(b'garbage\r\n\r\n')
        equal(visitor.answer().status, 400, 'garbage')
    visitor = w.visitor(server, **slow)
    visitor.ask('POST', '/echo', [('Content-Length', 1 << 20)])
    visitor.send(b'x' * 1000)
    visitor.reset()
    server.terminate(60)
    client.wait_log(DISCONNECTED, timeout=60)
    server = w.server(port=server.visitors[1])
    soon(lambda: server.get(host='a.local', timeout=60).status == 200, 60,
         'coming back')
    refused = w.file('wrong', 'wrong')
    w.run('inlets-client', '--url', f'ws://127.0.0.1:{server.tunnels[1]}',
          '--token-from', refused, '--upstream', origin.url, code=1,
          timeout=60)
    w.run('inlets-server', '--no-such-flag', code=2, timeout=60)
    w.run('inlets-client', '--version', code=0, timeout=60)
