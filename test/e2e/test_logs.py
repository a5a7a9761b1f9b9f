"""What the programs say: a line for each request and each connection."""

import base64
import json
import os
import re
import ssl
import time

from lib.certs import never_answers
from lib.house import (CONNECTED, DISCONNECTED, REQUEST, check, equal, soon,
                       test)
from lib.origin import hello
from test_tls import secure_pair, url_of, visit

ID = re.compile(r'^[0-9a-f]{16}$')


def events(program, message=None):
    """The JSON lines of a log; all of them must be that."""
    found = []
    for line in program.log.splitlines():
        event = json.loads(line)
        for key in ('time', 'level', 'msg'):
            check(key in event, f'no {key} in {line}')
        check(all(isinstance(v, (str, int)) for v in event.values()), line)
        found.append(event)
    return [e for e in found if message is None or e['msg'] == message]


JSON = ['--log-format', 'json']


@test()
def one_line_per_request_on_both_ends(w):
    """With the same id, which the origin gets too."""
    server, client, origin = w.pair(hello, *JSON, client_flags=JSON)
    with w.visitor(server) as visitor:
        for number in range(5):
            visitor.get(f'/path/{number}?secret=query', method='POST',
                        body=b'12345')
    for program in (server, client):
        soon(lambda: len(program.lines(REQUEST)) == 5, 3,
             f'5 lines of the {program.name}')
    ours, theirs = events(server, 'request'), events(client, 'request')
    for number in range(5):
        for event in (ours[number], theirs[number]):
            check(ID.match(event['id']), event['id'])
            equal(event['path'], f'/path/{number}', 'path')
            equal((event['method'], event['status']), ('POST', 200), 'what')
            equal((event['bytes_in'], event['bytes_out']),
                  (5, len(f'hello from /path/{number}?secret=query\n')),
                  'bytes')
        equal(ours[number]['id'], theirs[number]['id'], 'the id of both')
        equal(origin.requests[number].get('X-Request-Id'),
              ours[number]['id'], 'the id at the origin')
    equal(len({e['id'] for e in ours}), 5, 'different ids')


@test()
def text_lines_are_key_value(w):
    server, client, _ = w.pair(hello)
    server.get('/a b'.replace(' ', '%20'))
    server.get('/quo"te\\', host='demo.local')
    for program in (server, client):
        soon(lambda: len(program.lines(REQUEST)) == 2, 3, 'the lines')
        for line in program.log.splitlines():
            check(re.fullmatch(
                r'time=\S+ level=\w+ msg=("[^"]*"|\S+)'
                r'( [a-z0-9_]+=("(\\.|[^"\\])*"|[^\s"]*))*', line),
                f'not key=value: {line}')


@test()
def connects_and_disconnects_say_why(w):
    server, client, origin = w.pair(hello, '--resume-window', '0')
    equal(len(server.lines(CONNECTED)), 1, 'connects at the server')
    check('demo' in server.log or '*' in server.log, 'no endpoint is said')
    client.terminate()
    line = server.wait_log(DISCONNECTED)[0]
    check(re.search(r'(reason|why|error|err|cause|result)=\S', line), line)
    other = w.client(server, origin)
    other.kill()
    line = server.wait_log(DISCONNECTED, 2)[1]
    check(re.search(r'(reason|why|error|err|cause|result)=\S', line), line)
    last = w.client(server, origin)
    server.terminate()
    line = last.wait_log(DISCONNECTED)[0]
    check(re.search(r'(reason|why|error|err|cause|result)=\S', line), line)


@test()
def secrets_stay_out_of_the_log(w):
    """At the most talkative level: token, query, cookies, credentials."""
    server, client, origin = w.pair(
        hello, '--log-level', 'debug', client_flags=['--log-level', 'debug'])
    wrong = 'wrongtoken' + w.token[:10]
    argv = ['--url', f'ws://127.0.0.1:{server.tunnels[1]}', '--token-from',
            w.file('wrong', wrong), '--upstream', origin.url]
    refused = w.run('inlets-client', *argv, '--log-level', 'debug', code=1)
    with w.visitor(server) as visitor:
        visitor.get('/p?key=QUERYSECRET', fields=[
            ('Cookie', 'session=COOKIESECRET'),
            ('Authorization', 'Basic AUTHSECRET')])
        visitor.ask('BREW', '/x?key=QUERYSECRET')
        visitor.answer()
    origin.close()
    equal(server.get('/p?key=QUERYSECRET').status, 502, 'upstream down')
    for program in (server, client, refused):
        for secret in (w.token, wrong, 'SECRET'):
            check(secret not in program.log, f'{secret} is in the log of '
                  f'{program.name}')


@test()
def visitors_cannot_write_log_lines(w):
    """Newlines, quotes and terminal controls come out escaped."""
    server, client, _ = w.pair(hello, *JSON, client_flags=JSON)
    targets = ['/%0atime=1', '/"quoted"', '/\\', "/'x", '/\x80\xff',
               '/\xc2\x9b31m', '/' + 'l' * 8000]
    for target in targets:
        with w.visitor(server) as visitor:
            visitor.ask(target=target)
            check(visitor.answer().status in (200, 400), target)
    server.get(host='x"y.local')
    time.sleep(0.1)
    for program in (server, client):
        events(program)
        for line in program.log.splitlines():
            check(len(line) < 5000, len(line), 'bytes in a line')
            check(not re.search('[\x00-\x1f\x7f-\x9f]', line), repr(line))


@test()
def levels(w):
    server, client, _ = w.pair(hello, '--log-level', 'warn')
    equal(server.get().status, 200, 'a request')
    client.wait_log(REQUEST)
    equal(server.log, '', 'what is said at level warn')


@test()
def refusals_are_said(w):
    """A 503 and a 400 are lines too, with a reason."""
    server = w.server(*JSON)
    equal(server.get('/nobody', host='x.local').status, 503, 'no client')
    with w.visitor(server) as visitor:
        visitor.send(b'nonsense\r\n\r\n')
        equal(visitor.answer().status, 400, 'garbage')
    soon(lambda: any(e.get('status') == 503 for e in events(server)), 3,
         'the line of the 503')
    soon(lambda: any(e.get('status') == 400 for e in events(server)), 3,
         'the line of the 400')


def memory_of(program):
    """What it keeps: the stack is written over by whatever comes."""
    with open(f'/proc/{program.pid}/mem', 'rb', buffering=0) as memory:
        for line in program.proc('maps').decode().splitlines():
            span, mode = line.split()[:2]
            begin, end = (int(number, 16) for number in span.split('-'))
            if mode.startswith('rw') and '[stack' not in line:
                memory.seek(begin)
                yield memory.read(end - begin)


@test()
def no_key_and_no_token_is_told(w):
    """At any level, on any leg by TLS; nor are they in /proc, nor is their text
    in memory."""
    debug = ['--log-level', 'debug']
    server, client, origin, ca = secure_pair(w, hello, *debug)
    client.terminate()
    client = w.client(server, origin, url=url_of(server),
                      flags=['--ca-file', ca.file, *debug])
    for version in (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2):
        context = ca.context()
        context.minimum_version = context.maximum_version = version
        with visit(server, ca, context=context) as visitor:
            equal(visitor.get().status, 200, version)
    with never_answers(server.secure, b'no TLS at all'):
        server.wait_log('TLS handshake failed')
    with open(f'{ca.folder}/localhost.key', encoding='ascii') as file:
        pem = file.read().split('-----')[2].strip()
    scalar = base64.b64decode(pem)[7:39]    # RFC 5915 3
    texts = [*pem.split(), scalar.hex(), scalar.hex().upper(), w.token]
    for program in (server, client):
        check('level=debug' in program.log, program.name, 'says little')
        for text in texts:
            check(text not in program.log, program.name, 'says it')
            for name in ('cmdline', 'environ'):
                check(text.encode() not in program.proc(name), name)
    if os.geteuid() == 0 and not w.sanitized:   # whose allocator keeps it all
        whole = list(memory_of(server))
        check(any(b'localhost' in part for part in whole), 'nothing read')
        for text in texts:
            check(not any(text.encode() in part for part in whole),
                  'in the memory of the server:', text[:4])
