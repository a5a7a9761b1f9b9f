"""Names under the exit node's domain, for clients that ask for no host."""

import re

from lib.house import check, equal, test
from lib.origin import hello, named

from test_accounts import Book

DOMAIN = 't.example.com'
URL = r'endpoint up.*url=http://([a-z0-9-]+)\.t\.example\.com:(\d+)(\S*) '


def name_of(client):
    """What its log says that it is called."""
    return re.search(URL, client.wait_log(URL)[0] + ' ')[1]


def host_of(client):
    return f'{name_of(client)}.{DOMAIN}'


def client_of(book, server, account, text, **options):
    return book.client(server, account, book.w.origin(named(text)), **options)


@test()
def an_account_gets_its_name_again(w):
    book = Book(w)
    ann = book.add('ann', f'*.{DOMAIN}')
    bob = book.add('bob', f'*.{DOMAIN}')
    server = book.server('--domain', DOMAIN)
    first = client_of(book, server, ann, 'first')
    name, other = name_of(first), name_of(client_of(book, server, bob, 'bob'))
    check(re.fullmatch(r'[a-z]+-[a-z]+-[2-9a-km-z]{5}', name), name)
    check(name != other, 'two accounts have one name')
    equal(server.get('/', f'{name}.{DOMAIN}').body, b'first', 'visited')
    equal(server.get('/', f'{other}.{DOMAIN}').body, b'bob', 'the other')
    server.wait_log(f'endpoint up.*url=http://{name}')
    equal(server.get('/', f'nobody.{DOMAIN}').status, 503, 'another name')
    second = client_of(book, server, ann, 'second')
    equal(name_of(second), name, 'of a second client')
    equal({server.get('/', f'{name}.{DOMAIN}').body for _ in range(6)},
          {b'first', b'second'}, 'both answer')
    for client in (first, second):
        client.terminate()
    equal(name_of(client_of(book, server, ann, 'third')), name, 'later')
    server.terminate()
    again = book.server('--domain', DOMAIN)
    equal(name_of(client_of(book, again, ann, 'fourth')), name, 'elsewhere')


@test()
def a_host_of_its_own_is_its_name(w):
    book = Book(w)
    ann = book.add('ann', 'ann.example.org', f'*.x.{DOMAIN}', f'ann.{DOMAIN}',
                   f'more.{DOMAIN}')
    far = book.add('far', 'far.example.org')
    server = book.server('--domain', DOMAIN.upper() + '.')
    equal(name_of(client_of(book, server, ann, 'a')), 'ann', 'name')
    equal(server.get('/', f'ann.{DOMAIN}').body, b'a', 'visited')
    refused = client_of(book, server, far, 'far', ready=False)
    refused.wait_exit(1)
    check('may not serve this host' in refused.log, refused.log)
    wrong = client_of(book, server, ann, 'a', flags=['--name', 'bob'],
                      ready=False)
    wrong.wait_exit(1)
    check('may not serve this host' in wrong.log, wrong.log)


@test()
def holders_of_the_token_have_a_name_each(w):
    server = w.server('--domain', DOMAIN)
    clients = {text: w.client(server, w.origin(named(text)))
               for text in ('one', 'two', 'three')}
    equal(len({name_of(client) for client in clients.values()}), 3, 'names')
    for text, client in clients.items():
        equal(server.get('/', host_of(client)).body, text.encode(), text)
    name = name_of(clients['one'])
    clients['one'].terminate()
    equal(name_of(w.client(server, w.origin(hello))), name, 'again')


@test()
def names_are_asked_for(w):
    server = w.server('--domain', DOMAIN)
    origin = w.origin(hello)
    demo = w.client(server, f'/api={origin.url}', origin, flags=[
        '--name', 'demo'])
    equal({re.search(URL, line + ' ')[3] for line in demo.lines(URL)},
          {'', '/api'}, 'paths')
    w.client(server, f'blog={origin.url}', f'www.example.org={origin.url}',
             f'*.wild.test={origin.url}', f'localhost={origin.url}')
    for host, status in ((f'demo.{DOMAIN}', 200), (f'blog.{DOMAIN}', 200),
                         ('www.example.org', 200), ('a.wild.test', 200),
                         ('localhost', 200), ('demo', 503), ('blog', 503),
                         (f'www.{DOMAIN}', 503), (DOMAIN, 503)):
        equal(server.get('/x', host).status, status, host)
    plain = w.server()      # without a domain nothing is added
    said = w.client(plain, origin, flags=['--name', 'demo'])
    equal(said.lines('endpoint up.*url='), [], 'a URL')
    equal(plain.get('/x', 'demo').status, 200, 'without a domain')


@test()
def mistakes(w):
    for domain in ('example', '.com', 'a.', 'a b.com', '*.a.com', 'a.com/x',
                   'x' * 190 + '.com', ''):
        ran = w.run('inlets-server', '--port', '0', '--token', 'x',
                    '--domain', domain, code=2)
        check('--domain' in ran.err, ran.err)
    for name in ('a.b', '-a', 'a-', 'A', 'a_b', 'x' * 64, ''):
        ran = w.run('inlets-client', '--url', 'ws://127.0.0.1:1', '--upstream',
                    'http://127.0.0.1:2', '--name', name, code=2)
        check('--name' in ran.err, ran.err)
