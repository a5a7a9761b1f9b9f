"""What testssl.sh and sslscan say of the TLS port: nothing that counts."""

import json
import os
import re
import subprocess

from lib.certs import Authority
from lib.house import check, equal, none, test
from lib.origin import hello
from test_tls import secure_server

# Of the test's certificate and of this machine, not of the program.
ACCEPTED = {
    'cert_revocation': 'an authority of our own has no list of revocations',
    'DNS_CAArecord': 'localhost has no records',
    'engine_problem': 'of the OpenSSL that testssl.sh runs',
    'scanTime': 'of testssl.sh itself',
}
# Protocols, what the server shows; Heartbleed, CCS, Ticketbleed, ROBOT,
# renegotiation, CRIME, fallback. The other checks try ciphers that sslscan has
# seen refused, one by one, for minutes.
CHECKS = ('-p', '-S', '-H', '-I', '-T', '-BB', '-R', '-C', '-Z')
FINE = ('OK', 'INFO')
SUITES = {
    'TLSv1.3': {'TLS_AES_128_GCM_SHA256', 'TLS_AES_256_GCM_SHA384',
                'TLS_CHACHA20_POLY1305_SHA256'},
    'TLSv1.2': {'ECDHE-ECDSA-CHACHA20-POLY1305',
                'ECDHE-ECDSA-AES128-GCM-SHA256',
                'ECDHE-ECDSA-AES256-GCM-SHA384'},
}


def scanned(w):
    """(server, authority); its certificate is good for three months."""
    ca = Authority(w.folder)
    server = secure_server(w, *ca.sign('localhost', days='90').flags)
    w.client(server, w.origin(hello))
    return server, ca


def said_by(*argv, timeout):
    ran = subprocess.run(argv, capture_output=True, text=True, check=False,
                         timeout=timeout, stdin=subprocess.DEVNULL)
    return ran.stdout + ran.stderr


@test()
def sslscan_finds_nothing(w):
    server, _ = scanned(w)
    said = said_by('sslscan', '--no-colour', '--sni-name=localhost',
                   f'127.0.0.1:{server.secure[1]}', timeout=50)
    enabled = dict(re.findall(r'^(SSLv\d|TLSv[\d.]+) +(\w+)$', said, re.M))
    equal({v for v, is_on in enabled.items() if is_on == 'enabled'},
          {'TLSv1.2', 'TLSv1.3'}, said)
    equal(len(enabled), 6, said)
    suites = {}
    for version, suite in re.findall(
            r'^(?:Preferred|Accepted) +(\S+) +\d+ bits +(\S+)', said, re.M):
        suites.setdefault(version, set()).add(suite)
    equal(suites, SUITES, said)
    check('Session renegotiation not supported' in said, said)
    equal(len(re.findall('not vulnerable to heartbleed', said)), 2, said)


def testssl(w, server, ca, number):
    """What it looked at, and what counts of what it found."""
    file = os.path.join(w.folder, f'testssl-{number}.json')
    said = said_by('testssl', '--quiet', '--color', '0', '--warnings', 'off',
                   '--ip', 'one', '--add-ca', ca.file, '--jsonfile', file,
                   *CHECKS, f'https://localhost:{server.secure[1]}/',
                   timeout=220)
    check(os.path.exists(file), said)
    with open(file, encoding='utf-8') as found:
        found = json.load(found)
    ids = {entry['id'] for entry in found}
    for wanted in ('TLS1_2', 'TLS1_3', 'cert_trust', 'heartbleed',
                   'ROBOT', 'secure_client_renego'):
        check(wanted in ids, wanted, 'was not looked at:', said)
    return len(found), [
        f'{e["severity"]} {e["id"]}: {e["finding"]}' for e in found
        if e['severity'] not in FINE and e['id'] not in ACCEPTED]


@test(suite='patient', timeout=480)
def testssl_finds_nothing(w):
    """A WARN is a check that did not run, as on a machine that is too busy:
    then it is asked once more."""
    server, ca = scanned(w)
    count, problems = testssl(w, server, ca, 1)
    if problems and all(p.startswith('WARN ') for p in problems):
        print(f'once more: {problems}')
        count, problems = testssl(w, server, ca, 2)
    none(problems)
    print(f'{count} findings, none that counts')
