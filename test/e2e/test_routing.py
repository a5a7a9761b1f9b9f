"""Which client and which upstream answers for a host and a path."""

import time

from lib.house import Client, check, equal, free_port, soon, test
from lib.origin import hello, named
from lib.visitor import Visitor


def answers(server, cases):
    """cases: (host, target, name of the origin that must answer)."""
    for host, target, name in cases:
        answer = server.get(target, host)
        equal((answer.status, answer.body.decode()), (200, name),
              f'{host}{target}')


@test()
def exact_then_wildcard_then_every_host(w):
    exact, wild, every = (w.origin(named(n)) for n in ('exact', 'wild', 'all'))
    server = w.server()
    w.client(server, every, f'*.example.com={wild.url}',
             f'a.example.com={exact.url}')
    answers(server, [
        ('a.example.com', '/', 'exact'), ('A.Example.COM:80', '/', 'exact'),
        ('b.example.com', '/', 'wild'), ('B.EXAMPLE.com.', '/', 'wild'),
        ('example.com', '/', 'all'), ('aexample.com', '/', 'all'),
        ('b.example.com.evil.net', '/', 'all'), ('127.0.0.1', '/', 'all'),
        ('x.b.example.com', '/', 'all')])


@test()
def across_clients_too(w):
    """The same order when each endpoint is another client's, whoever came
    first; and the next one takes over when the best one leaves."""
    exact, wild, every = (w.origin(named(n)) for n in ('exact', 'wild', 'all'))
    server = w.server()
    w.client(server, every)
    answers(server, [('a.example.com', '/', 'all')])
    w.client(server, f'*.example.com={wild.url}')
    answers(server, [('a.example.com', '/', 'wild')])
    best = w.client(server, f'a.example.com={exact.url}')
    answers(server, [('a.example.com', '/', 'exact'),
                     ('b.example.com', '/', 'wild'),
                     ('other', '/', 'all')])
    best.terminate()
    soon(lambda: server.get(host='a.example.com').body == b'wild', 5,
         'the wildcard taking over')


@test()
def longest_path_by_segments(w):
    root, api, deep, other = (w.origin(named(n))
                              for n in ('root', 'api', 'deep', 'other'))
    server = w.server()
    w.client(server, f'demo.local={root.url}', f'demo.local/api={api.url}',
             f'demo.local/api/v1/={deep.url}', f'/api={other.url}')
    answers(server, [
        ('demo.local', '/', 'root'), ('demo.local', '/ap', 'root'),
        ('demo.local', '/api', 'api'), ('demo.local', '/api/', 'api'),
        ('demo.local', '/api?x=/v1', 'api'), ('demo.local', '/api/x', 'api'),
        ('demo.local', '/apix', 'root'), ('demo.local', '/api/v10', 'api'),
        ('demo.local', '/api/v1', 'deep'), ('demo.local', '/api/v1/y', 'deep'),
        ('demo.local', '/x/api/v1', 'root'), ('else.local', '/api', 'other')])
    equal(server.get('/', 'else.local').status, 503, 'no endpoint there')


@test()
def paths_are_kept_and_put_in_front(w):
    origin = w.origin(hello)
    server = w.server()
    w.client(server, f'a.local/api={origin.url}',
             f'b.local={origin.url}/base', f'c.local/api={origin.url}/base/')
    for host, target, seen in (
            ('a.local', '/api/x?q=1', '/api/x?q=1'),
            ('b.local', '/x?q=1', '/base/x?q=1'), ('b.local', '/', '/base/'),
            ('c.local', '/api/x', '/base/api/x'),
            ('c.local', '/api', '/base/api')):
        equal(server.get(target, host).status, 200, f'{host}{target}')
        equal(origin.targets()[-1], seen, f'{host}{target}')


@test()
def dot_segments_where_paths_decide(w):
    """A path rule must not be left by what only the upstream reads as "..";
    without one a target is nobody's business but the upstream's."""
    origin = w.origin(hello)
    server = w.server()
    w.client(server, f'rule.local/v1={origin.url}',
             f'*.wild.local/x={origin.url}', f'base.local={origin.url}/base',
             f'plain.local={origin.url}')
    targets = ('/v1/../admin', '/v1/%2e%2e/admin', '/v1/..;/admin',
               '/v1/..%2fadmin', '/v1/.%5cx', '/v1/..')
    for target in targets:
        for host in ('rule.local', 'base.local'):
            answer = server.get(target, host)
            equal(answer.status, 400, f'{host}{target}')
        equal(server.get(target, 'plain.local').status, 200, target)
        equal(origin.targets()[-1], target, 'kept byte for byte')
    equal(server.get('/x/../y', 'a.wild.local').status, 400, 'a wildcard rule')
    equal(server.get('/v1/a..b?x=/../y', 'rule.local').status, 200,
          'dots elsewhere')
    equal(len(origin.targets()), len(targets) + 1, 'nothing else came')
    equal(len(server.lines('status=400.*result=EDOTS')),
          2 * len(targets) + 1, 'reasons in the log')


@test()
def host_fields_of_upstreams(w):
    origin = w.origin(hello)
    for flag, wanted in ((None, 'Demo.local:80'), ('keep', 'Demo.local:80'),
                         ('upstream', f'127.0.0.1:{origin.port}'),
                         ('inner.test:81', 'inner.test:81')):
        server = w.server()
        client = w.client(server, origin,
                          flags=['--host-header', flag] if flag else [])
        equal(server.get('/', 'Demo.local:80').status, 200, flag)
        seen = origin.requests[-1]
        equal((seen.get('Host'), seen.get('X-Forwarded-Host')),
              (wanted, 'Demo.local:80'), flag)
        client.terminate()


@test()
def equals_and_commas_inside_urls(w):
    origin = w.origin(hello)
    server = w.server()
    w.client(server, f'{origin.url}/k=v,w', f'q.local={origin.url}/a=b,c')
    equal(server.get('/x', 'any.local').status, 200, 'the catch-all')
    equal(origin.targets()[-1], '/k=v,w/x', 'the catch-all')
    equal(server.get('/x', 'q.local').status, 200, 'host=url')
    equal(origin.targets()[-1], '/a=b,c/x', 'host=url')


@test()
def comma_list(w):
    a, b, every = (w.origin(named(n)) for n in 'abc')
    server = w.server()
    w.client(server, f'a.local={a.url},b.local={b.url},{every.url}')
    answers(server, [('a.local', '/', 'a'), ('b.local', '/', 'b'),
                     ('x.local', '/', 'c')])


@test()
def upstream_without_a_scheme(w):
    a, b = w.origin(named('a')), w.origin(named('b'))
    server = w.server()
    w.client(server, f'a.local=127.0.0.1:{a.port}', f'127.0.0.1:{b.port}')
    answers(server, [('a.local', '/', 'a'), ('b.local', '/', 'b')])


@test()
def upstream_on_ipv6(w):
    six = w.origin(named('six'), host='::1')
    server = w.server()
    w.client(server, six)
    answers(server, [('demo.local', '/', 'six')])


@test()
def everything_on_ipv6(w):
    origin = w.origin(named('six'), host='::1')
    server = w.server(address='::1')
    w.client(server, origin)
    answers(server, [('demo.local', '/', 'six')])
    equal(origin.requests[-1].get('X-Forwarded-For'), '::1', 'the visitor')


@test()
def unknown_host_is_503(w):
    """Nothing is said about other hosts, and Retry-After is."""
    origin = w.origin(hello)
    server = w.server()
    empty = server.get(host='demo.local')
    w.client(server, f'demo.local={origin.url}')
    unknown = server.get(host='other.local')
    for answer in (empty, unknown):
        equal(answer.status, 503, 'no such host')
        check(answer.has('Retry-After'), 'no Retry-After')
        check(b'demo.local' not in answer.raw + answer.body, answer.body)
    equal(origin.opened, 0, 'connections of the origin')


@test()
def same_host_takes_turns(w):
    one, two = w.origin(named('one')), w.origin(named('two'))
    server = w.server()
    w.client(server, f'demo.local={one.url}')
    second = w.client(server, f'demo.local={two.url}')
    with w.visitor(server) as visitor:
        got = [visitor.get().body for _ in range(10)]
    got += [server.get().body for _ in range(10)]
    check(got.count(b'one') >= 5 and got.count(b'two') >= 5, got)
    second.terminate()
    for _ in range(10):
        equal(server.get().body, b'one', 'after the second one left')


EJECTED = r'msg="?target ejected'
BACK = r'msg="?target back'


@test()
def an_upstream_that_is_down_is_not_seen(w):
    """Two clients, one without its upstream: what could not be delivered
    there is answered by the other, and soon nothing is tried there any more;
    when the upstream is back, it serves again."""
    dead, alive = free_port(), w.origin(named('alive'))
    server = w.server()
    w.client(server, f'demo.local=http://127.0.0.1:{dead}')
    w.client(server, f'demo.local={alive.url}')
    for i in range(30):
        answer = server.get(method='POST' if i % 2 else 'GET',
                            body=b'x' * 100 * i if i % 2 else None)
        equal((answer.status, answer.body), (200, b'alive'), f'request {i}')
    equal(len(alive.requests), 30, 'requests of the one that is there')
    equal(len(server.lines(EJECTED)), 1, 'lines in the log')
    w.origin(named('back'), port=dead)
    soon(lambda: server.get().body == b'back', 15, 'its return')
    server.wait_log(BACK)
    got = [server.get().body for _ in range(10)]
    check(got.count(b'back') >= 4, got)


@test()
def who_fails_does_not_win(w):
    """An upstream that breaks every connection is the first to be idle
    again. A POST that it may have seen is not repeated, so its visitor gets
    a 502; but only a few do."""
    def breaks(x):
        x.read()
        x.close()

    broken, alive = w.origin(breaks), w.origin(named('alive'))
    server = w.server()
    w.client(server, f'demo.local={broken.url}')
    w.client(server, f'demo.local={alive.url}')
    began = time.monotonic()
    got = [server.get(method='POST', body=b'x').status for _ in range(40)]
    probes = int(time.monotonic() - began)
    check(set(got) == {200, 502}, got)
    check(3 <= got.count(502) <= 3 + probes, got)
    equal(len(alive.requests), got.count(200), 'answered')
    equal(len(broken.requests), got.count(502), 'seen once each')
    got = [server.get().status for _ in range(20)]
    equal(set(got), {200}, 'what may be repeated')


def curl_with(w, server, jar):
    return w.run('curl', '-sS', '--max-time', '20', '--noproxy', '*',
                 '-b', jar, '-c', jar, '-d', 'x',
                 'http://%s:%d/deep/path' % server.visitors, code=0).out


@test()
def sticks_by_cookie(w):
    """Each of curl's cookie jars stays with its client; when that is gone,
    the jar gets another. Upstreams never see the cookie."""
    one, two = w.origin(named('one')), w.origin(named('two'))
    server = w.server('--stick', 'cookie')
    first = w.client(server, one)
    w.client(server, two)
    jars = [w.file(f'jar{i}', '') for i in range(2)]
    mine = [curl_with(w, server, jar) for jar in jars]
    equal(sorted(mine), ['one', 'two'], 'in turn')
    for _ in range(4):
        for jar, name in zip(jars, mine):
            equal(curl_with(w, server, jar), name, jar)
    cookie = server.get(fields=[('Cookie', 'a=b')]).get('Set-Cookie')
    check(cookie.startswith('inlets_stick='), cookie)
    answer = server.get(
        fields=[('Cookie', f'a=b; {cookie.split(";")[0]}; c=d')])
    check(not answer.has('Set-Cookie'), 'a new cookie for a good one')
    for request in one.requests + two.requests:
        check('inlets_stick' not in request.get('Cookie', ''), request.raw)
    check(any(request.get('Cookie') == 'a=b; c=d'
              for request in one.requests + two.requests), 'the others')
    first.terminate()
    for _ in range(3):
        for jar in jars:
            equal(curl_with(w, server, jar), 'two', 'the one that is left')


@test()
def sticks_by_address(w):
    one, two = w.origin(named('one')), w.origin(named('two'))
    server = w.server('--stick', 'address')
    clients = {b'one': w.client(server, one), b'two': w.client(server, two)}
    names = {}
    for last in range(1, 33):
        source = f'127.0.0.{last}'
        for _ in range(2):
            with server.visitor(source=source) as visitor:
                name = visitor.get().body
            equal(names.setdefault(source, name), name, source)
    check(set(names.values()) == {b'one', b'two'}, names)
    gone = names['127.0.0.1']
    clients[gone].terminate()
    for source, name in names.items():
        with server.visitor(source=source) as visitor:
            answer = visitor.get()
        equal(answer.status, 200, source)
        check(answer.body != gone, source)


@test()
def many_endpoints_of_one_client(w):
    origin = w.origin(lambda x: x.reply(200, x.request.get('Host')))
    server = w.server()
    hosts = [f'h{i}.local' for i in range(200)]
    w.client(server, *[f'{host}={origin.url}' for host in hosts])
    with w.visitor(server) as visitor:
        for host in hosts:
            equal(visitor.get(host=host).body.decode(), host, 'Host')


@test()
def control_port_of_its_own(w):
    server, _, origin = w.pair(hello, control=True)
    with w.visitor(server) as visitor:
        for target in ('/tunnel', '/healthz', '/readyz', '/metrics'):
            equal(visitor.get(target).status, 200, f'visitor of {target}')
            equal(origin.targets()[-1], target, 'at the origin')
    for target, statuses in (('/', [404]), ('/x', [404]), ('/healthz', [200]),
                             ('/readyz', [200]), ('/tunnel', [400, 426])):
        with w.keep(Visitor(server.tunnels)) as control:
            status = control.get(target).status
            check(status in statuses, f'control port {target}: {status}')
    count = len(origin.requests)
    head = w.visitor(server).upgrade('/tunnel', [
        ('Authorization', f'Bearer {w.token}')])
    equal(head.status, 200, 'an upgrade on the data port is the upstream\'s')
    equal(len(origin.requests), count + 1, 'requests of the origin')


@test()
def shared_port_takes_only_upgrades(w):
    server, _, origin = w.pair(hello)
    for target in ('/tunnel', '/tunnel/x', '/tunnelx', '/healthz'):
        equal(server.get(target).status, 200, target)
        equal(origin.targets()[-1], target, 'at the origin')


@test()
def tunnel_path_can_be_moved(w):
    origin = w.origin(hello)
    server = w.server('--tunnel-path', '/secret/door')
    w.client(server, origin, flags=['--tunnel-path', '/secret/door'])
    equal(server.get('/tunnel').status, 200, '/tunnel is a visitor\'s')
    wrong = w.client(server, origin, ready=False)
    wrong.wait_exit(1)
    check('--tunnel-path' in wrong.err, wrong.err)


@test()
def tunnel_path_in_the_url(w):
    origin = w.origin(hello)
    server = w.server('--tunnel-path', '/door')
    port = server.tunnels[1]
    client = w.start(Client, 'by-url', [
        w.path('cmd', 'inlets-client'), '--url',
        f'ws://127.0.0.1:{port}/door', '--token-from', w.token_file,
        '--upstream', origin.url])
    equal(server.wait_serving().status, 200, 'through the tunnel')
    check(client.running, 'the client left')


@test()
def forms_of_the_url(w):
    origin = w.origin(hello)
    server = w.server()
    port = server.tunnels[1]
    for flag, url in (('--url', f'127.0.0.1:{port}'),
                      ('--remote', f'127.0.0.1:{port}'),
                      ('--remote', f'ws://127.0.0.1:{port}'),
                      ('--url', f'http://127.0.0.1:{port}'),
                      ('--url', f'ws://localhost:{port}/')):
        client = w.start(Client, 'form', [
            w.path('cmd', 'inlets-client'), flag, url, '--token-from',
            w.token_file, '--upstream', origin.url])
        equal(server.wait_serving(timeout=5).status, 200, url)
        client.terminate()
        soon(lambda: server.get().status == 503, 5, 'the client leaving')


@test()
def two_servers_do_not_share_anything(w):
    one, two = w.origin(named('one')), w.origin(named('two'))
    servers = w.server(), w.server(control=free_port())
    for server, origin in zip(servers, (one, two)):
        w.client(server, origin)
    answers(servers[0], [('demo.local', '/', 'one')])
    answers(servers[1], [('demo.local', '/', 'two')])
