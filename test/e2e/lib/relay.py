"""A TCP relay between client and server that a test can make fail."""

import socket
import threading
import time

from .wire import Wire, dial


class Relay:
    """Forwards to target. freeze() stops it without a FIN, thaw() goes on,
    cut() resets all, close() ends all; rate limits bytes per second."""

    def __init__(self, target, rate=None):
        self.target, self.rate = target, rate
        self.gate = threading.Event()
        self.gate.set()
        self.refusing = False
        self.opened = 0
        self.pairs, self.doomed = [], set()
        self.stopping = False
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.port = self.listener.getsockname()[1]
        self.threads = []
        self.spawn(self.accept)

    def spawn(self, target, *args):
        thread = threading.Thread(target=target, args=args, daemon=True)
        self.threads.append(thread)
        thread.start()

    def accept(self):
        while not self.stopping:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            self.opened += 1
            if self.refusing:
                Wire(near).reset()
                continue
            try:
                far = dial(self.target)
            except OSError:
                Wire(near).reset()
                continue
            pair = Wire(near, None), Wire(far, None)
            self.pairs.append(pair)
            self.spawn(self.pump, *pair)
            self.spawn(self.pump, *reversed(pair))

    def pump(self, source, sink):
        try:
            while data := source.sock.recv(65536):
                if self.rate:
                    time.sleep(len(data) / self.rate)
                self.gate.wait()
                sink.send(data)
            self.gate.wait()
            if source in self.doomed:
                source.reset()
            else:
                sink.end()
        except OSError:
            pass

    def freeze(self):
        self.gate.clear()

    def thaw(self):
        self.gate.set()

    def cut(self):
        """Resets every connection there is."""
        self.wake(socket.SHUT_RD, doom=True)

    def hang_up(self):
        """Ends every connection there is, politely."""
        self.wake(socket.SHUT_RDWR, doom=False)

    def wake(self, how, doom):
        pairs, self.pairs = self.pairs, []
        for wire in [wire for pair in pairs for wire in pair]:
            if doom:    # the pump that reads it will reset it
                self.doomed.add(wire)
            try:
                wire.sock.shutdown(how)
            except OSError:
                pass

    def close(self):
        self.stopping = True
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        self.thaw()
        self.hang_up()
        for thread in self.threads:
            thread.join(2)
