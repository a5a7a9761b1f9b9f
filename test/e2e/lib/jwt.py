"""An issuer of tokens (JWT) by the openssl program: none of what is tested."""

import base64
import hashlib
import hmac
import json
import subprocess
import time


def b64(data):
    if isinstance(data, (dict, list)):
        data = json.dumps(data)
    if isinstance(data, str):
        data = data.encode()
    return base64.urlsafe_b64encode(data).rstrip(b'=').decode()


def openssl(*argv, data=b''):
    ran = subprocess.run(['openssl', *argv], input=data, capture_output=True,
                         timeout=30, check=False)
    if ran.returncode != 0:
        raise AssertionError(f'openssl {argv}: {ran.stderr.decode()}')
    return ran.stdout


def der_integers(der):
    """The two of a signature by ECDSA."""
    assert der[0] == 0x30
    numbers, at = [], 2
    while at < len(der):
        length = der[at + 1]
        numbers.append(int.from_bytes(der[at + 2:at + 2 + length], 'big'))
        at += 2 + length
    return numbers


class Key:
    """kind: RS256, ES256."""

    def __init__(self, folder, kid, kind='ES256', bits=2048, curve='P-256'):
        self.kid, self.kind, self.curve = kid, kind, curve
        self.path = f'{folder}/{kid}.pem'
        if kind == 'RS256':
            openssl('genrsa', '-out', self.path, str(bits))
        else:
            openssl('genpkey', '-algorithm', 'EC', '-pkeyopt',
                    f'ec_paramgen_curve:{curve}', '-out', self.path)

    def jwk(self, **more):
        if self.kind == 'RS256':
            text = openssl('rsa', '-in', self.path, '-noout', '-modulus')
            n = int(text.strip().partition(b'=')[2], 16)
            return {'kty': 'RSA', 'kid': self.kid, 'e': 'AQAB', 'n': b64(
                n.to_bytes((n.bit_length() + 7) // 8, 'big')), **more}
        der = openssl('pkey', '-in', self.path, '-pubout', '-outform', 'DER')
        half = {'P-256': 32, 'P-384': 48}[self.curve]
        return {'kty': 'EC', 'kid': self.kid, 'crv': self.curve,
                'x': b64(der[-2 * half:-half]), 'y': b64(der[-half:]), **more}

    def public_pem(self):
        return openssl('pkey', '-in', self.path, '-pubout')

    def sign(self, text):
        signature = openssl('dgst', '-sha256', '-sign', self.path,
                            data=text.encode())
        if self.kind == 'ES256':
            signature = b''.join(number.to_bytes(32, 'big')
                                 for number in der_integers(signature))
        return b64(signature)

    def token(self, claims, **header):
        header = {'alg': self.kind, 'typ': 'JWT', 'kid': self.kid, **header}
        header = {k: v for k, v in header.items() if v is not None}
        text = f'{b64(header)}.{b64(claims)}'
        return f'{text}.{self.sign(text)}'


def hs256(claims, secret, **header):
    text = f'{b64({"alg": "HS256", "typ": "JWT", **header})}.{b64(claims)}'
    return f'{text}.{b64(hmac.digest(secret, text.encode(), hashlib.sha256))}'


def claims_of(issuer, audience, sub, seconds=300, **more):
    now = int(time.time())
    said = {'iss': issuer, 'aud': audience, 'sub': sub, 'iat': now,
            'nbf': now, 'exp': now + seconds, **more}
    return {k: v for k, v in said.items() if v is not None}
