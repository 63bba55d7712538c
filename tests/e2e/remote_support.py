# SPDX-License-Identifier: Apache-2.0
"""A token in a process of its own, reached over a socket (tests/fault/remote/remote.h): what a
network HSM is to its client. It can be held in the middle of a call, killed, and started again."""
import atexit
import os
import select
import socket
import subprocess

from harness import BIN, Stage
from peer import PATIENCE
from token_support import Token

TESTS = os.path.join(os.path.dirname(BIN), "tests")
MODULE = f"{TESTS}/libreseal-remote.so"

_running = set()


@atexit.register
def _end_what_is_left():
    for process in list(_running):
        process.kill()
        process.wait()


class TokenServer:
    """The process behind the module, serving `token`."""

    def __init__(self, token, folder):
        self.inner, self.folder = token, folder
        self.socket, self.control_path = f"{folder}/token.sock", f"{folder}/control.sock"
        self.process = None

    def start(self, hold=None):
        """With `hold`, no client is served before calls of that function are held
        by the Control that is given back."""
        command = [f"{TESTS}/token_server", "--socket", self.socket, "--control", self.control_path,
                   "--module", self.inner.module]
        if self.inner.init_args:
            command += ["--init-args", self.inner.init_args]
        if hold:
            command.append("--wait")
        self.process = subprocess.Popen(command, env=self.inner.env, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE)
        _running.add(self.process)
        if not hold:
            return self._expect("ready")
        self._expect("control")
        control = self.control()
        control.hold(hold)
        self._expect("ready")
        return control

    def _expect(self, word):
        if self.process.stdout.readline().decode() != f"{word}\n":
            raise AssertionError(f"token_server ended with {self.process.wait()}")
        return self

    @property
    def pid(self):
        return self.process.pid

    def alive(self):
        return self.process.poll() is None

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        _running.discard(self.process)

    def token(self):
        """The same token, through the module."""
        return Token(MODULE, self.inner.label, self.inner.pin, self.inner.pin_file, self.inner.env,
                     f"socket={self.socket}")

    def control(self):
        return Control(self.control_path)


class Control:
    """Holds calls of one kind; see tests/fault/remote/server.h. Leaving it lets everything go."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.buffer, self.seen = b"", []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def _line(self, seconds=PATIENCE):
        """The words of the next line; none, if none comes."""
        while b"\n" not in self.buffer:
            if not select.select([self.socket], [], [], seconds)[0]:
                return []
            data = self.socket.recv(4096)
            if not data:
                raise AssertionError("the token server closed its control socket")
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line.decode().split()

    def _say(self, words):
        self.socket.sendall(words.encode() + b"\n")
        while True:
            line = self._line()
            if line[:1] != ["held"]:
                assert line == ["ok"], (words, line)
                return
            self.seen.append(line[1:])

    def hold(self, function, returned=False):
        """Each call of the function is performed, then its answer (or the caller) waits."""
        self._say(f"hold {function}{' returned' if returned else ''}")

    def next(self):
        self._say("next")

    def go(self):
        self._say("go")

    def wait_held(self, seconds=PATIENCE):
        """Until a call is held: its function, and its mechanism as a number."""
        held = self.poll_held(seconds)
        assert held, "no call comes to be held"
        return held

    def poll_held(self, seconds):
        if not self.seen:
            line = self._line(seconds)
            if not line:
                return None
            assert line[0] == "held", line
            self.seen.append(line[1:])
        function, mechanism = self.seen.pop(0)
        return function, int(mechanism, 16)

    def step_until(self, done):
        """Lets one call after the other go on, until no more come and done() is true; their functions."""
        functions = []
        while True:
            held = self.poll_held(0.1)
            if held:
                functions.append(held[0])
                self.next()
            elif done():
                return functions

    def step(self, count):
        """Lets so many calls go on; the next one is held when it is over."""
        for _ in range(count):
            self.wait_held()
            self.next()
        return self.wait_held()[0]


class RemoteStage(Stage):
    """A stage whose token is in a process of its own."""

    def make_token(self, pin):
        self.server = TokenServer(super().make_token(pin), self.folder).start()
        return self.server.token()

    def close(self):
        super().close()
        server = getattr(self, "server", None)
        if server is not None and server.alive():
            server.kill()
