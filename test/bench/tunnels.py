"""Clients that connect, offer a host each, and hold still: sessions by the
thousand, which real clients would be too large for here."""

import contextlib
import pathlib
import sys
import time

from subjects import Unable

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'e2e'))

from lib.tunnel import TunnelClient                         # noqa: E402
from lib.wire import Garbage                                # noqa: E402


@contextlib.contextmanager
def idle(subject, count):
    """subject: an inlets one with the flag 'patient', for nobody answers a
    ping here."""
    with contextlib.ExitStack() as stack:
        for number in range(count):
            try:
                client = TunnelClient(subject, 'bench')
                stack.callback(client.close)
                client.serve(f's{number}.test')
            except (OSError, Garbage) as error:
                raise Unable(f'of {count} clients, number {number + 1} was '
                             f'not served: {error}') from None
        time.sleep(1)   # what they said is acknowledged
        yield
