"""Real parts at both ends: nginx as upstream, curl as visitor."""

import gzip
import hashlib
import os
import re

from lib.house import check, equal, free_port, soon, test
from lib.origin import echo, hello
from lib.procs import Program

FILES = '''
    location / { root %s; }
    location /zip/ { alias %s/; gzip on; gzip_min_length 0; gzip_proxied any;
        gzip_types text/plain application/octet-stream; }
    location /put { return 200 "$request_method $content_length\\n"; }
'''


def files(w):
    """nginx with a file of 3 MB and a text: (nginx, the file's bytes)."""
    folder = os.path.join(w.folder, 'files')
    os.mkdir(folder)
    os.chmod(w.folder, 0o755)
    data = os.urandom(3_000_000)
    for name, content in (('big.bin', data), ('text.txt', b'word ' * 9000)):
        with open(os.path.join(folder, name), 'wb') as file:
            file.write(content)
    return w.nginx(FILES % (folder, folder)), data


@test()
def nginx_files_ranges_and_gzip(w):
    nginx, data = files(w)
    server = w.server()
    w.client(server, f'http://127.0.0.1:{nginx.port}')
    with w.visitor(server) as visitor:
        answer = visitor.get('/big.bin')
        check(answer.body == data, 'the file changed')
        tag = answer.get('ETag')
        answer = visitor.get('/big.bin', [('Range', 'bytes=100000-199999')])
        equal((answer.status, answer.get('Content-Range')),
              (206, 'bytes 100000-199999/3000000'), 'range')
        check(answer.body == data[100000:200000], 'the range changed')
        answer = visitor.get('/big.bin', [('Range', 'bytes=0-9,20-29')])
        check(answer.get('Content-Type').startswith('multipart/byteranges'),
              answer.fields)
        equal(visitor.get('/big.bin', [('Range', 'bytes=9999999-')]).status,
              416, 'a range beyond the end')
        equal(visitor.get('/big.bin', [('If-None-Match', tag)]).status, 304,
              'not modified')
        head = visitor.get('/big.bin', method='HEAD')
        equal(head.get('Content-Length'), '3000000', 'HEAD')
        equal(visitor.get('/none').status, 404, 'no such file')
        answer = visitor.get('/zip/text.txt', [('Accept-Encoding', 'gzip')])
        equal(answer.get('Content-Encoding'), 'gzip', 'gzip')
        equal(gzip.decompress(answer.body), b'word ' * 9000, 'unpacked')
        answer = visitor.get('/zip/text.txt')
        equal(answer.get('Content-Encoding'), None, 'not asked for')


def curl(w, server, *argv, code=0, path='/'):
    host, port = server.visitors
    return w.run('curl', '-sS', '--max-time', '20', '--noproxy', '*', *argv,
                 f'http://{host}:{port}{path}', code=code, timeout=30)


@test()
def curl_gets_and_posts(w):
    server, _, origin = w.pair(echo)
    equal(curl(w, server, '-d', 'hash this').out, 'hash this', '-d')
    big = w.file('big', 'x' * 5_000_000)
    ran = curl(w, server, '-T', big)
    equal(len(ran.out), 5_000_000, '-T')
    ran = curl(w, server, '-H', 'Transfer-Encoding: chunked', '-T', big)
    equal(len(ran.out), 5_000_000, '-T, chunked')
    equal(origin.requests[-1].get('Transfer-Encoding'), 'chunked', 'framing')
    ran = curl(w, server, '-I')
    check(ran.out.startswith('HTTP/1.1 200'), ran.out)
    ran = curl(w, server, '--http1.0', '-d', 'old')
    equal(ran.out, 'old', 'HTTP/1.0')
    form = curl(w, server, '-F', f'file=@{w.token_file}',
                '-F', 'a=b').out
    w.token_may_show = True     # in the output of curl, not in a log
    check(w.token in form, 'a form')


@test()
def curl_fails_when_it_should(w):
    def answer(x):
        x.start(200, [('Content-Length', 1000)])
        x.send(b'half')
        x.close()
    server, _, _ = w.pair(answer)
    equal(curl(w, server, code=None).process.returncode, 18,
          'curl: transfer closed with outstanding bytes')
    equal(curl(w, server, '-f', '-H', 'Host: x.local', code=None)
          .process.returncode, 18, 'every host is served')


@test()
def curl_reuses_its_connection(w):
    server, _, _ = w.pair(hello)
    host, port = server.visitors
    urls = [f'http://{host}:{port}/{n}' for n in range(5)]
    ran = w.run('curl', '-sSv', '--noproxy', '*', *urls, code=0)
    equal(len(re.findall(r'Re-?using existing .*connection', ran.err)), 4,
          'reused connections')


@test()
def curl_range_and_resume(w):
    nginx, data = files(w)
    server = w.server()
    w.client(server, f'http://127.0.0.1:{nginx.port}')
    path = os.path.join(w.folder, 'resumed')
    with open(path, 'wb') as file:
        file.write(data[:1_000_000])
    curl(w, server, '-C', '-', '-o', path, path='/big.bin')
    with open(path, 'rb') as file:
        equal(hashlib.sha256(file.read()).hexdigest(),
              hashlib.sha256(data).hexdigest(), 'the resumed file')


@test()
def curl_compressed(w):
    nginx, _ = files(w)
    server = w.server()
    w.client(server, f'http://127.0.0.1:{nginx.port}')
    ran = curl(w, server, '--compressed', path='/zip/text.txt')
    equal(ran.out, 'word ' * 9000, 'unpacked by curl')


@test()
def demo_of_the_first_readme(w):
    """hash-service, curl -d, and metrics that count hashes."""
    port = free_port()
    service = w.start(Program, 'hash-service', [
        w.path('examples', 'hash-service'), '--port', port])
    server = w.server()
    w.client(server, f'http://127.0.0.1:{port}')
    soon(lambda: server.get('/metrics').status == 200, 5, 'metrics')
    wanted = hashlib.sha256(b'hash this').hexdigest()
    ran = curl(w, server, '-d', 'hash this', path='/hash')
    check(wanted in ran.out, ran.out)
    lines = [line for line in curl(w, server, path='/metrics').out
             .splitlines() if 'hash' in line and line[0] != '#']
    check(any(line.endswith(' 1') for line in lines), lines)
    check(service.running, 'the service left')
