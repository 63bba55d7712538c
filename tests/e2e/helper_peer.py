# SPDX-License-Identifier: Apache-2.0
"""The connector's end of a token helper's socket, as tests take it."""
import os
import socket
import struct

from peer import PATIENCE

HELLO, RESEAL, RESEALED, FAILED, STATUS, STATUS_IS, LOGGING_IN, LOGIN, LOGIN_IS = range(1, 10)
BODY_MAX = 160 * 1024
CUSTODIES = {1: "host", 2: "token"}


def frame(number, kind, body=b""):
    return struct.pack(">IIH", len(body), number, kind) + body


def block(data):
    data = data.encode() if isinstance(data, str) else data
    return struct.pack(">I", len(data)) + data


def reseal_body(key, padding, sealed, certificate, prefix=b"", suffix=b"", transport=0, in_cdata=0):
    return (block(key) + bytes([padding, transport]) + block(sealed) + block(prefix) +
            block(suffix) + bytes([in_cdata]) + block(certificate))


class HelperPeer:
    """reseal-hsm alone, on the token of a stage, with this at the other end of its socket."""

    def __init__(self, stage, name="alone", **sections):
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(PATIENCE)

        def link():
            os.dup2(theirs.fileno(), 3, inheritable=True)

        self.daemon = stage.daemon("reseal-hsm", stage.config(name, **sections), "hsm.log",
                                   preexec_fn=link, pass_fds=(3, theirs.fileno())).start()
        theirs.close()
        for expected in (LOGGING_IN, HELLO):
            number, kind, _ = self.receive()
            if (number, kind) != (0, expected):
                raise AssertionError(f"frame {number} of kind {kind} instead of {expected}")

    def end(self):
        """Closes the socket, as a connector does that wants the helper to end; its exit status."""
        self.socket.close()
        return self.daemon.wait_exit()

    def receive(self):
        length, number, kind = struct.unpack(">IIH", self.exactly(10))
        if length > BODY_MAX:
            raise AssertionError(f"a frame of {length} bytes")
        return number, kind, self.exactly(length)

    def exactly(self, count):
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            if not more:
                raise EOFError("the helper closed its socket")
            data += more
        return data

    def send(self, data):
        self.socket.sendall(data)

    def ask(self, body, number=5):
        """One request and its answer: (kind, body)."""
        self.send(frame(number, RESEAL, body))
        answer, kind, data = self.receive()
        if answer != number:
            raise AssertionError(f"an answer to {answer} instead of {number}")
        return kind, data

    def reseal(self, body):
        """One request that must be done: (custody, CMS DER)."""
        kind, data = self.ask(body)
        if kind != RESEALED:
            raise AssertionError(f"not resealed: {data[1:].decode(errors='replace')}")
        return CUSTODIES[data[0]], data[5:]
