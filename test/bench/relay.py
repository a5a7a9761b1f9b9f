#!/usr/bin/env python3
"""Requests and bytes through inlets, beside two nginx hops, in one run.

    test/bench/relay.py --build build/release [--seconds 5] [--rounds 3]

Each round measures both in turn; what counts is the ratio of the medians.
CPU is that of the two programs in the middle (server and client, or the two
nginx), from /proc. Needs nginx, wrk and curl. No test asserts a figure of it.
"""
import argparse
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time

TICK = os.sysconf('SC_CLK_TCK')


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def wait_for(port):
    for _ in range(200):
        try:
            socket.create_connection(('127.0.0.1', port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    sys.exit(f'relay.py: nothing listens on 127.0.0.1:{port}')


def nginx_conf(folder, name, port, server):
    path = os.path.join(folder, name + '.conf')
    with open(path, 'w', encoding='ascii') as f:
        f.write(f'''worker_processes 1; daemon off; master_process off;
pid {folder}/{name}.pid; error_log {folder}/{name}.log;
events {{ worker_connections 4096; }}
http {{ access_log off; keepalive_requests 100000000;
proxy_buffering off; proxy_request_buffering off; client_max_body_size 0;
client_body_temp_path {folder}/{name}.b; proxy_temp_path {folder}/{name}.p;
fastcgi_temp_path {folder}/{name}.f; uwsgi_temp_path {folder}/{name}.u;
scgi_temp_path {folder}/{name}.s;
{server.replace('PORT', str(port))} }}
''')
    return path


def proxy(to):
    return f'''upstream up {{ server 127.0.0.1:{to}; keepalive 512; }}
server {{ listen 127.0.0.1:PORT; location / {{ proxy_pass http://up;
proxy_http_version 1.1; proxy_set_header Connection ""; }} }}'''


def cpu(processes):
    total = 0
    for p in processes:
        with open(f'/proc/{p.pid}/stat', encoding='ascii') as f:
            total += sum(map(int, f.read().rsplit(')', 1)[1].split()[11:13]))
    return total / TICK


def requests(port, seconds, middle):
    before = cpu(middle)
    out = subprocess.run(
        ['wrk', '-t1', '-c64', f'-d{seconds}s',
         f'http://127.0.0.1:{port}/small'],
        capture_output=True, text=True, check=True).stdout
    count = int(re.search(r'(\d+) requests in', out).group(1))
    rate = float(re.search(r'Requests/sec:\s+([\d.]+)', out).group(1))
    return {'requests/s': rate,
            'CPU s per 1,000 requests': (cpu(middle) - before) * 1000 / count}


def download(port, middle, mib):
    before, start = cpu(middle), time.monotonic()
    subprocess.run(['curl', '-sf', '-o', '/dev/null',
                    f'http://127.0.0.1:{port}/big'], check=True)
    took = time.monotonic() - start
    return {'download MB/s': mib * 1.048576 / took,
            'CPU s per GiB down': (cpu(middle) - before) * 1024 / mib}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--build', required=True)
    parser.add_argument('--seconds', type=int, default=5)
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--mib', type=int, default=512)
    options = parser.parse_args()
    started = []

    def start(*command):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        started.append(process)
        return process

    with tempfile.TemporaryDirectory() as folder:
        try:
            origin, inner, outer, exit_node = (free_port() for _ in range(4))
            with open(os.path.join(folder, 'big'), 'wb') as f:
                f.truncate(options.mib << 20)
            conf = nginx_conf(folder, 'origin', origin, f'''server {{
listen 127.0.0.1:PORT; root {folder};
location /small {{ return 200 "hello world\\n"; }} }}''')
            start('nginx', '-c', conf)
            nginx = [start('nginx', '-c', nginx_conf(folder, name, port,
                                                     proxy(to)))
                     for name, port, to in (('inner', inner, origin),
                                            ('outer', outer, inner))]
            programs = os.path.join(options.build, 'cmd')
            server = start(f'{programs}/inlets-server', '--bind-addr',
                           '127.0.0.1', '--port', str(exit_node),
                           '--log-level', 'error')
            wait_for(exit_node)
            client = start(f'{programs}/inlets-client', '--url',
                           f'127.0.0.1:{exit_node}', '--log-level', 'error',
                           '--upstream', f'http://127.0.0.1:{origin}')
            wait_for(outer)
            time.sleep(0.5)
            report(options, {'inlets': (exit_node, [server, client]),
                             'nginx twice': (outer, nginx)})
        finally:
            for process in started:
                process.terminate()
            for process in started:
                process.wait(10)


def report(options, ways):
    figures = {}
    for _ in range(options.rounds):
        for name, (port, middle) in ways.items():
            got = requests(port, options.seconds, middle)
            got.update(download(port, middle, options.mib))
            for key, value in got.items():
                figures.setdefault(key, {}).setdefault(name, []).append(value)
    names = list(ways)
    print(f'{"median of " + str(options.rounds):26}'
          + ''.join(f'{name:>14}' for name in names) + f'{"ratio":>8}')
    for key, by_name in figures.items():
        medians = [statistics.median(by_name[name]) for name in names]
        print(f'{key:26}' + ''.join(f'{m:14.3f}' for m in medians)
              + f'{medians[0] / medians[1]:8.2f}')


if __name__ == '__main__':
    main()
