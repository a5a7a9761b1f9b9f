"""An authority of a test's own, what it signs, and the two ends of TLS that
Python has: a second opinion beside the programs'."""

import hashlib
import os
import socket
import ssl
import subprocess


def openssl(*argv, folder):
    ran = subprocess.run(['openssl', *argv], cwd=folder, capture_output=True,
                         check=False, timeout=30)
    if ran.returncode:
        raise AssertionError(f'openssl {argv}: {ran.stderr.decode()}')
    return ran.stdout


class Pair:
    """Files of a certificate and its key."""

    def __init__(self, folder, name):
        self.cert = os.path.join(folder, f'{name}.crt')
        self.key = os.path.join(folder, f'{name}.key')

    @property
    def flags(self):
        return ['--tls-cert', self.cert, '--tls-key', self.key]

    @property
    def client_flags(self):
        return ['--client-cert', self.cert, '--client-key', self.key]

    @property
    def fingerprint(self):
        with open(self.cert, encoding='ascii') as file:
            der = ssl.PEM_cert_to_DER_cert(file.read())
        return 'sha256:' + hashlib.sha256(der).hexdigest()

    def context(self):
        """Of a server."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert, self.key)
        return context


class Authority:
    def __init__(self, folder, name='ca'):
        self.folder = os.path.join(folder, name)
        os.mkdir(self.folder)
        self.file = os.path.join(self.folder, 'ca.crt')
        self.run('ecparam', '-name', 'prime256v1', '-genkey', '-noout',
                 '-out', 'ca.key')
        self.run('req', '-x509', '-new', '-key', 'ca.key', '-days', '30',
                 '-subj', f'/CN={name}', '-out', 'ca.crt',
                 '-addext', 'basicConstraints=critical,CA:TRUE')

    def run(self, *argv):
        return openssl(*argv, folder=self.folder)

    def sign(self, *names, as_file=None, days='30', into=None, usage=None):
        """A Pair for names or addresses. days: '-1' has expired; usage: like
        'clientAuth', all it is for."""
        file = as_file or names[0].replace('*', '_')
        folder = into or self.folder
        pair = Pair(folder, file)
        san = ','.join(('IP:' if n[0].isdigit() else 'DNS:') + n
                       for n in names)
        with open(os.path.join(self.folder, 'ext'), 'w',
                  encoding='ascii') as ext:
            ext.write(f'subjectAltName={san}\n')
            if usage:
                ext.write(f'extendedKeyUsage={usage}\n')
        self.run('ecparam', '-name', 'prime256v1', '-genkey', '-noout',
                 '-out', pair.key)
        self.run('req', '-new', '-key', pair.key, '-subj', f'/CN={names[0]}',
                 '-out', 'csr')
        self.run('x509', '-req', '-in', 'csr', '-CA', 'ca.crt', '-CAkey',
                 'ca.key', '-CAcreateserial', '-days', days, '-extfile',
                 'ext', '-out', pair.cert)
        # The programs may be somebody else by the time they read it again.
        os.chmod(pair.key, 0o644)
        return pair

    def context(self):
        """Of a client that trusts nobody else."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.file)
        return context

    def tls(self, name, context=None, session=None):
        """For Visitor: it means that name (None: it names nobody)."""
        context = context or self.context()
        if name is None:
            context.check_hostname = False

        return wrapping(context, name, session)


def wrapping(context, name, session=None):
    """What makes a socket of TLS of a socket."""
    def wrap(sock):
        try:
            return context.wrap_socket(sock, server_hostname=name,
                                       session=session)
        except BaseException:
            sock.close()
            raise
    return wrap


def alert_of(error):
    """The name of the alert in an error of ssl."""
    return getattr(error, 'reason', None) or str(error)


def never_answers(address, data=b''):
    """A connection that says that, and then nothing."""
    sock = socket.create_connection(address, timeout=10)
    sock.sendall(data)
    return sock
