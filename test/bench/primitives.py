"""What the arithmetic of TLS costs in two libraries: Mbed TLS, as the programs
have it (primitives.c), and OpenSSL, as nginx has it. So many in a second;
ciphers: records of 16 KiB."""

import os
import re
import subprocess

from subjects import Unable, find, missing

RECORD = 16384


def said_by(*argv):
    ran = subprocess.run(argv, text=True, capture_output=True, check=False,
                         stdin=subprocess.DEVNULL, timeout=60)
    if ran.returncode:
        raise Unable(f'{os.path.basename(argv[0])}: {ran.stderr.strip()}')
    return ran.stdout


def of_ours(build):
    out = said_by(os.path.join(build, 'test', 'bench_primitives'))
    return {name: float(rate)
            for name, rate in (line.split() for line in out.splitlines())}


def rate(line, out):
    found = re.search(rf'^\+{line}([\d.]+)', out, re.M)
    if not found:
        raise Unable(f'openssl speed: no {line} in {out}')
    return float(found[1])


def of_openssl(_build):
    openssl = find('openssl') or missing('openssl')
    got = {}
    for name in ('chacha20-poly1305', 'aes-128-gcm'):
        out = said_by(openssl, 'speed', '-mr', '-seconds', '1', '-bytes',
                      str(RECORD), '-evp', name)
        got[name] = rate(r'F:\d+:[^:]+:', out) / RECORD
    out = said_by(openssl, 'speed', '-mr', '-seconds', '1', 'ecdsap256',
                  'ecdhp256', 'ecdhx25519')
    got['ecdsa-p256'] = rate(r'F4:\d+:256:', out)
    got['ecdh-p256'] = rate(r'F5:\d+:256:', out)
    got['ecdh-x25519'] = rate(r'F5:\d+:253:', out)
    return got
