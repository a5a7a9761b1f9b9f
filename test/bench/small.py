"""A small request to a Subject, on a blocking socket with a time limit."""

import socket
import ssl

PATIENCE = 5


def connect(subject, timeout=PATIENCE):
    with subject.place.near:
        sock = socket.create_connection((subject.address, subject.port),
                                        timeout)
    if not subject.is_tls:
        return sock
    context = ssl.create_default_context()
    context.check_hostname = False      # it is about the time it takes
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(sock, server_hostname='localhost')


def ask(sock, path='/small', host='localhost'):
    sock.sendall(f'GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n'.encode())


def read_small(sock):
    """True when a whole small answer came."""
    got = b''
    while not got.endswith(b'hello world\n'):
        piece = sock.recv(4096)
        if not piece:
            return False
        got += piece
        if b'\r\n' in got and not got.startswith(b'HTTP/1.1 200'):
            return False        # a refusal may leave the connection open
    return got.startswith(b'HTTP/1.1 200')


def answers(subject, timeout=PATIENCE, host='localhost'):
    """One small request on a connection of its own."""
    try:
        with connect(subject, timeout) as sock:
            ask(sock, '/small', host)
            return read_small(sock)
    except OSError:
        return False
