"""A real browser, Debian's Chromium, and a page of a real origin behind the
tunnel: what it loads, posts, streams and says over a websocket arrives, as
the page itself sees it."""

import json
import os
import shutil
import struct
import subprocess
import time

from lib import websocket
from lib.certs import Authority
from lib.house import check, equal, free_port, test
from lib.procs import Program

IMAGES = 20
PIXEL = bytes.fromhex(
    '47494638396101000100800000ff0000ffffff2c00000000010001000002024401003b')

PAGE = '''<!doctype html><meta charset="utf-8"><title>demo</title>
<link rel="icon" href="data:,"><body><script type="module">
const said = {};
const bytes = (n) => {
    const all = new Uint8Array(n);
    for (let at = 0; at < n; at += 65536)
        crypto.getRandomValues(all.subarray(at, Math.min(n, at + 65536)));
    return all;
};
const same = (a, b) => a.length === b.length && a.every((x, i) => x === b[i]);
const image = (number) => new Promise((done) => {
    const img = new Image();
    img.onload = () => done(img.width === 1);
    img.onerror = () => done(false);
    img.src = `/image/${number}.gif`;
    document.body.append(img);
});
const events = () => new Promise((done) => {
    const got = [], source = new EventSource('/events');
    source.addEventListener('tick', (event) => {
        got.push([event.lastEventId, event.data]);
        if (got.length === 5) { source.close(); done(got); }
    });
    source.onerror = () => { source.close(); done([...got, 'error']); };
});
const socket = () => new Promise((done) => {
    const ws = new WebSocket(
        `${location.protocol.replace('http', 'ws')}//${location.host}/socket`);
    const text = 'schön '.repeat(20000), big = bytes(1 << 20), got = [];
    ws.binaryType = 'arraybuffer';
    ws.onopen = () => { ws.send(text); ws.send(big); };
    ws.onmessage = ({data}) => {
        got.push(typeof data === 'string' ? data === text
                                          : same(new Uint8Array(data), big));
        if (got.length === 2) ws.close(4001, 'enough');
    };
    ws.onclose = ({code, reason, wasClean}) =>
        done([...got, code, reason, wasClean]);
});
try {
    said.images = await Promise.all(
        [...Array(IMAGES).keys()].map((number) => image(number)));
    const body = bytes(1 << 20);
    const answer = await fetch('/echo', {method: 'POST', body});
    said.post = [answer.status,
                 same(new Uint8Array(await answer.arrayBuffer()), body)];
    said.events = await events();
    said.socket = await socket();
} catch (error) {
    said.error = String(error);
}
await fetch('/verdict', {method: 'POST', body: JSON.stringify(said)});
</script>'''.replace('IMAGES', str(IMAGES))


class Site:
    """The origin's script, and what the page has said."""

    def __init__(self):
        self.verdict = None
        self.closes = []
        self.connections = set()    # those that images came over

    def __call__(self, x):
        kind = x.target.split('/')[1]
        getattr(self, f'get_{kind}', self.missing)(x)

    def missing(self, x):
        x.reply(404)

    def get_(self, x):
        x.reply(200, PAGE, [('Content-Type', 'text/html')])

    def get_image(self, x):
        self.connections.add(x.connection)
        x.reply(200, PIXEL, [('Content-Type', 'image/gif')])

    def get_echo(self, x):
        x.reply(200, x.read())

    def get_events(self, x):
        x.start_chunked([('Content-Type', 'text/event-stream'),
                         ('Cache-Control', 'no-store')])
        for number in range(5):
            x.chunk(f'id: {number}\nevent: tick\ndata: {number * 7}\n\n'
                    .encode())
            time.sleep(0.05)
        x.last_chunk()

    def get_socket(self, x):
        x.upgrade()
        while True:
            opcode, payload = websocket.read_message(x, mask=False)
            x.send(websocket.frame(opcode, payload, mask=False))
            if opcode == websocket.CLOSE:
                self.closes.append(payload)
                break
        x.close()

    def get_verdict(self, x):
        self.verdict = json.loads(x.read())
        x.reply(204)


def trust(folder, ca):
    """As its user does in its settings: in the database of NSS."""
    store = os.path.join(folder, '.pki', 'nssdb')
    os.makedirs(store)
    for argv in (['-N', '--empty-password'],
                 ['-A', '-t', 'C,,', '-n', 'ours', '-i', ca.file]):
        subprocess.run(['certutil', '-d', f'sql:{store}', *argv], check=True,
                       stdout=subprocess.DEVNULL, timeout=30)


def chromium(w, url, ca=None):
    """Started; it shows the page until the test ends. ca: imported first."""
    program = shutil.which('chromium')
    check(program, 'there is no chromium: install the package chromium')
    folder = os.path.join(w.folder, 'browser-ca' if ca else 'browser')
    os.makedirs(folder)
    if ca:
        trust(folder, ca)
    return w.start(Program, 'browser', [
        program, '--headless=new', '--no-sandbox', '--disable-gpu',
        '--disable-dev-shm-usage', '--no-first-run', '--disable-sync',
        '--disable-extensions', '--disable-background-networking',
        '--disable-component-update', '--disable-crash-reporter',
        '--disable-breakpad', '--no-proxy-server', '--enable-logging=stderr',
        f'--user-data-dir={folder}',
        '--host-resolver-rules=MAP demo.test 127.0.0.1,MAP * ~NOTFOUND',
        url], env={'HOME': folder})


def wait_verdict(site, browser, timeout):
    deadline = time.monotonic() + timeout
    while site.verdict is None and time.monotonic() < deadline:
        if not browser.running:
            break
        time.sleep(0.05)
    check(site.verdict is not None,
          f'no verdict in {timeout} s; the browser says:\n'
          + browser.log[-4000:])


def judge(site, browser):
    wait_verdict(site, browser, 60)
    shown = f'{site.verdict}; the browser says:\n{browser.log[-2000:]}'
    check('error' not in site.verdict, shown)
    equal(site.verdict['images'], [True] * IMAGES, f'images: {shown}')
    check(len(site.connections) < IMAGES, 'no connection was used again')
    equal(site.verdict['post'], [200, True], 'a POST of 1 MiB, echoed')
    equal(site.verdict['events'], [[str(n), str(n * 7)] for n in range(5)],
          'the event stream')
    equal(site.verdict['socket'], [True, True, 4001, 'enough', True],
          'the websocket')
    equal(site.closes, [struct.pack('!H', 4001) + b'enough'],
          'what the origin saw of its end')


@test(timeout=120)
def a_page_with_all_that_browsers_do(w):
    site = Site()
    server, _, _ = w.pair(site)
    judge(site, chromium(w, f'http://demo.test:{server.visitors[1]}/'))


@test(timeout=120)
def the_same_by_https(w):
    """With its own authority imported, and not without."""
    site, ca = Site(), Authority(w.folder)
    port = free_port()
    w.pair(site, '--tls-port', str(port), *ca.sign('demo.test').flags)
    url = f'https://demo.test:{port}/'
    stranger = chromium(w, url)
    stranger.wait_log('net_error -202', timeout=60)     # authority invalid
    stranger.terminate()
    equal(site.verdict, None, 'a page from nobody that is trusted')
    judge(site, chromium(w, url, ca))
