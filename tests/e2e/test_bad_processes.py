# SPDX-License-Identifier: Apache-2.0
"""The two processes of a connector, each with something else at the other end of its socket: reseald
with a helper that lies, reseal-hsm with a connector that does."""
import os
import random
import secrets
import socket
import struct
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import BIN, DeviceCa, StageTest, b64, seal, together  # noqa: E402
from helper_peer import (BODY_MAX, CUSTODIES, FAILED, HELLO, RESEAL, RESEALED, HelperPeer,  # noqa: E402
                         block, frame, reseal_body)


class TokenHelper:
    """reseal-hsm alone, with this test at the other end of its socket."""

    @classmethod
    def prepare(cls):
        cls.device = cls.stage.ca.issue("laptop")
        cls.password = b"good " + secrets.token_hex(8).encode()
        cls.stage.secrets.append(cls.password.decode())
        cls.sealed = seal(cls.stage.public_keys["sealing"], cls.password, "oaepSha512")

    def setUp(self):
        self.start()

    def start(self):
        self.helper = HelperPeer(self.stage)

    def tearDown(self):
        self.assertEqual(self.helper.end(), 0, self.helper.daemon.tail())
        self.assertEqual(self.helper.daemon.complaints(), [])

    def serves(self):
        kind, data = self.helper.ask(reseal_body("sealing", 5, self.sealed, self.device.der), 77)
        self.assertEqual(kind, RESEALED, data)
        self.assertEqual(CUSTODIES[data[0]], self.stage.custody)
        self.assertEqual(self.device.open(b64(data[5:])), self.password)

    def test_a_good_request_is_served(self):
        self.serves()

    def test_requests_that_cannot_be_done_are_answered(self):
        ca, der = self.stage.ca, self.device.der
        other = DeviceCa(f"{self.stage.folder}/others")
        late = ca.issue("late", start="20200101000000Z", end="20210101000000Z").der
        good = {"key": "sealing", "padding": 5, "sealed": self.sealed, "certificate": der}
        cases = {"an unknown key": {"key": "nothing"}, "an empty key": {"key": ""},
                 "no ciphertext": {"sealed": b""}, "a short ciphertext": {"sealed": b"\1" * 10},
                 "a long ciphertext": {"sealed": b"\1" * 512},
                 "no certificate": {"certificate": b""}, "garbage": {"certificate": b"garbage"},
                 "a cut certificate": {"certificate": der[:-1]},
                 "a tail": {"certificate": der + b"x"}, "expired": {"certificate": late},
                 "another CA": {"certificate": other.issue("stranger").der},
                 "RSA-1024": {"certificate": ca.issue("weak", "rsa:1024").der}}
        for name, change in cases.items():
            with self.subTest(name):
                kind, data = self.helper.ask(reseal_body(**{**good, **change}))
                self.assertEqual(kind, FAILED)
                self.assertNotIn(self.password, data)
                self.serves()

    def test_frames_that_break_the_protocol_end_the_channel_and_nothing_else(self):
        chance = random.Random(11)
        good = reseal_body("sealing", 5, self.sealed, self.device.der)
        cases = {"a huge length": struct.pack(">IIH", 0xffffffff, 1, RESEAL),
                 "one over the bound": struct.pack(">IIH", BODY_MAX + 1, 1, RESEAL),
                 "10 MB": frame(1, RESEAL, bytes(10_000_000)),
                 "an unknown type": frame(1, 99, b"x"), "a type of its own": frame(1, HELLO, b"x"),
                 "an answer": frame(1, RESEALED, b"\1" + block(b"x")),
                 "a cut body": frame(1, RESEAL, good[:-1]), "a tail": frame(1, RESEAL, good + b"x"),
                 "no body": frame(1, RESEAL), "a wrong padding": frame(1, RESEAL, good.replace(
                     block("sealing") + b"\5", block("sealing") + b"\2")),
                 "a long key": frame(1, RESEAL, reseal_body("k" * 5000, 5, b"x", b"x")),
                 "no UTF-8": frame(1, RESEAL, reseal_body(b"\xff\xfe", 5, b"x", b"x")),
                 "a length beyond": frame(1, RESEAL, struct.pack(">I", 0xfffffff0) + good[4:]),
                 "noise": os.urandom(300_000)}
        for number in range(20):
            at = chance.randrange(len(good))
            cases[f"a flipped byte {at} ({number})"] = frame(
                1, RESEAL, good[:at] + bytes([good[at] ^ (1 << chance.randrange(8))]) + good[at + 1:])
        for name, data in cases.items():
            with self.subTest(name):
                if self.ended_or_answered(data):
                    self.assertNotIn(self.helper.end(), (99, -6, -11), self.helper.daemon.tail())
                    self.start()
                else:
                    self.serves()

    def ended_or_answered(self, data):
        """Sends; True where the helper then closed its side, False where it answered."""
        try:
            self.helper.send(data)
            self.helper.socket.shutdown(socket.SHUT_WR) if len(data) < 10 else None
            number, kind, body = self.helper.receive()
        except (EOFError, OSError):
            return True
        self.assertIn(kind, (FAILED, RESEALED))
        return False

    def test_the_end_of_the_connector_is_the_end_of_the_helper(self):
        for half in (b"", b"\0\0", frame(1, RESEAL, b"x" * 100)[:50]):
            self.helper.send(half)
            self.assertEqual(self.helper.end(), 0, self.helper.daemon.tail())
            self.start()


class TokenHelperOnSofthsm(TokenHelper, StageTest):
    kind = "softhsm"


class TokenHelperOnNss(TokenHelper, StageTest):
    kind = "nss"


# A helper that does what `plan` beside it says for as many starts as it has lines, and then is the
# real one. Some behaviours stand between reseald and the real helper and spoil what passes.
FAKE_HELPER = '''#!/usr/bin/python3 -B
import os, select, socket, struct, subprocess, sys, time
here = os.path.dirname(os.path.abspath(__file__))
with open(here + "/plan") as file:
    plan = file.read().split("\\n")
what = plan[0]
with open(here + "/plan", "w") as file:
    file.write("\\n".join(plan[1:]))
if not what:
    os.execv({real!r}, ["reseal-hsm"] + sys.argv[1:])
outer = socket.socket(fileno=3)
def frame(number, kind, body=b""):
    return struct.pack(">IIH", len(body), number, kind) + body
def say(data):
    outer.sendall(data)
def linger():
    try:
        while outer.recv(65536):
            pass
    except OSError:
        pass
    sys.exit(0)
first = {{
    "exit": lambda: sys.exit(0),
    "exit 9": lambda: sys.exit(9),
    "killed": lambda: os.kill(os.getpid(), 9),
    "close": lambda: (outer.close(), time.sleep(60)),
    "noise": lambda: say(os.urandom(65536)),
    "text": lambda: say(b"hello, this is no helper at all\\n" * 100),
    "huge": lambda: say(struct.pack(">IIH", 0xffffffff, 0, 1)),
    "half": lambda: (say(frame(0, 1, b"x" * 100)[:50]), outer.shutdown(socket.SHUT_WR)),
    "early answer": lambda: say(frame(1, 3, b"\\1\\0\\0\\0\\1x")),
    "empty hello": lambda: say(frame(0, 1)),
    "other version": lambda: say(frame(0, 1, b"\\xff" * 40)),
    "garbage hello": lambda: say(frame(0, 1, b"\\1\\1" + os.urandom(400))),
    "not ready, without a reason": lambda: say(frame(0, 1, b"\\1\\0" + bytes(60))),
}}
if what in first:
    first[what]()
    linger()
ours, theirs = socket.socketpair()
def link():
    os.dup2(theirs.fileno(), 3)
    os.set_inheritable(3, True)
real = subprocess.Popen([{real!r}] + sys.argv[1:], preexec_fn=link, close_fds=False)
theirs.close()
def exactly(side, count):
    data = b""
    while len(data) < count:
        more = side.recv(count - len(data))
        if not more:
            sys.exit(0)
        data += more
    return data
def take(side):
    length, number, kind = struct.unpack(">IIH", exactly(side, 10))
    return number, kind, exactly(side, length)
spoil = {{
    "wrong number": lambda number, body: frame(number + 1000, 3, body),
    "answered twice": lambda number, body: frame(number, 3, body) * 2,
    "answer to HELLO": lambda number, body: frame(0, 3, body),
    "empty answer": lambda number, body: frame(number, 3),
    "cut answer": lambda number, body: frame(number, 3, body[:-1]),
    "answer with a tail": lambda number, body: frame(number, 3, body + b"x"),
    "unknown type": lambda number, body: frame(number, 99, body),
    "a request": lambda number, body: frame(number, 2, body),
    "status unasked": lambda number, body: frame(number, 6, bytes(32)),
    "second hello": lambda number, body: frame(0, 1, greeting),
    "huge answer": lambda number, body: struct.pack(">IIH", 0x7fffffff, number, 3),
    "ten megabytes": lambda number, body: frame(number, 3, bytes(10000000)),
    "failed without a kind": lambda number, body: frame(number, 4, b"\\0" + bytes(8)),
    "failed of no kind": lambda number, body: frame(number, 4, b"\\xee" + bytes(8)),
    "failed in no UTF-8": lambda number, body: frame(number, 4, b"\\5\\0\\0\\0\\2\\xff\\xfe" + bytes(4)),
    "custody of no kind": lambda number, body: frame(number, 3, b"\\7" + body[1:]),
    "custody unusable": lambda number, body: frame(number, 3, b"\\0" + body[1:]),
    "weaker custody": lambda number, body: frame(number, 3, b"\\1" + body[1:]),
    "no CMS": lambda number, body: frame(number, 3, body[:5] + bytes(len(body) - 5)),
    "silence": lambda number, body: b"",
}}
kind = 0
while kind != 1:
    number, kind, greeting = take(ours)
    say(frame(number, kind, greeting))
try:
    while True:
        for side in select.select([ours, outer], [], [])[0]:
            number, kind, body = take(side)
            if side is outer:
                ours.sendall(frame(number, kind, body))
            else:
                say(spoil[what](number, body) if kind == 3 else frame(number, kind, body))
except OSError:
    pass
finally:
    real.kill()
'''


class FakeHelper(StageTest):
    """Whatever reseald's helper says, reseald lives, replaces it, and loses nothing."""
    kind = "nss"
    FIRST = ["exit", "exit 9", "killed", "close", "noise", "text", "huge", "half", "early answer",
             "empty hello", "other version", "garbage hello", "not ready, without a reason"]
    LATER = ["wrong number", "answered twice", "answer to HELLO", "empty answer", "cut answer",
             "answer with a tail", "unknown type", "a request", "status unasked", "second hello",
             "huge answer", "ten megabytes", "failed without a kind", "failed of no kind",
             "failed in no UTF-8", "custody of no kind", "custody unusable", "weaker custody",
             "silence"]

    @classmethod
    def prepare(cls):
        cls.device = cls.stage.ca.issue("laptop")
        cls.good = cls.stage.escrow(b"password")
        cls.place = f"{cls.stage.folder}/fake"
        os.mkdir(cls.place)
        cls.fake = f"{cls.place}/helper"
        with open(cls.fake, "w") as out:
            out.write(FAKE_HELPER.format(real=f"{BIN}/reseal-hsm"))
        os.chmod(cls.fake, 0o700)

    def run_behaviour(self, what):
        api = self.stage.api
        with open(f"{self.place}/plan", "w") as out:
            out.write(what + "\n")
        deliveries = [api.deliver(self.good, self.device) for _ in range(3)]
        connector = self.stage.connector("brave", ready=False, connector={
            "helper": self.fake, "helper_deadline": 1, "attempts": 20})
        pid = connector.pid
        try:
            for outcome in together(api.outcome, deliveries):
                self.opens(self.device, outcome, b"password")
                self.assertEqual(outcome["resultsReceived"], 1, outcome)
            self.assertEqual((connector.pid, connector.alive()), (pid, True))
            self.assertTrue(any(event.get("event") == 1002 for event in connector.since()),
                            "the loss of the helper is not in the log")
        finally:
            connector.stop()

    def test_a_helper_that_is_none(self):
        for what in self.FIRST:
            with self.subTest(what):
                self.run_behaviour(what)

    def test_a_helper_that_spoils_its_answers(self):
        for what in self.LATER:
            with self.subTest(what):
                self.run_behaviour(what)

if __name__ == "__main__":
    unittest.main()
