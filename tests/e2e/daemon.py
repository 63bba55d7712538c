# SPDX-License-Identifier: Apache-2.0
"""Processes: our daemons with their logs as they are written, and what becomes of their children."""
import atexit
import json
import signal
import subprocess
import threading
import time

from peer import PATIENCE
from token_support import BIN


def wait_until(condition, what, seconds=PATIENCE, pause=0.02):
    """For what cannot be waited for by an event, such as the end of somebody else's child."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"did not happen within {seconds} s: {what}")
        time.sleep(pause)


def process_exists(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def name_of(pid):
    try:
        with open(f"/proc/{pid}/comm") as file:
            return file.read().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def children(pid):
    """Its children; of reseald, the token helpers, and not the process that starts them."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            found = [int(child) for child in file.read().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [child for child in found if name_of(child) != "reseald-starter"]


_running = set()


@atexit.register
def _end_what_is_left():
    for process in list(_running):
        if process.poll() is None:
            process.kill()
            process.wait()


class Daemon:
    """One of our daemons: its process, and its log as it is written."""

    def __init__(self, program, config, env, log_path, **options):
        self.program, self.config, self.env, self.log_path = program, config, env, log_path
        self.options = options
        self.lines, self.events = [], []  # of all starts, in order
        self.changed = threading.Condition()
        self.process, self.begun = None, 0

    def start(self):
        self.begun = len(self.events)
        self.process = subprocess.Popen(
            [f"{BIN}/{self.program}", "--config", self.config], env=self.env,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True, **self.options)
        _running.add(self.process)
        self.reader = threading.Thread(target=self._read, args=(self.process.stdout,), daemon=True)
        self.reader.start()
        return self

    def _read(self, pipe):
        with open(self.log_path, "ab", buffering=0) as log, pipe:
            for line in pipe:
                log.write(line)
                try:
                    event = json.loads(line)
                except ValueError:
                    event = None
                with self.changed:
                    self.lines.append(line.decode(errors="replace"))
                    if isinstance(event, dict):
                        self.events.append(event)
                    self.changed.notify_all()
        with self.changed:
            self.changed.notify_all()

    @property
    def pid(self):
        return self.process.pid

    def alive(self):
        return self.process.poll() is None

    def wait_event(self, wanted, since=None, seconds=PATIENCE):
        """The first event, since the last start or the given mark, for which `wanted` is true."""
        at = self.begun if since is None else since
        end = time.monotonic() + seconds
        with self.changed:
            while True:
                while at < len(self.events):
                    if wanted(self.events[at]):
                        return self.events[at]
                    at += 1
                if time.monotonic() > end or not self.alive() and not self.reader.is_alive():
                    raise AssertionError(f"{self.program} did not say it "
                                         f"(running: {self.alive()}):\n{self.tail()}")
                self.changed.wait(0.2)

    def mark(self):
        with self.changed:
            return len(self.events)

    def since(self, mark=None):
        with self.changed:
            return self.events[self.begun if mark is None else mark:]

    def tail(self, count=25):
        with self.changed:
            return "".join(self.lines[-count:])

    def wait_exit(self, seconds=PATIENCE):
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.program} does not end:\n{self.tail()}") from None
        self.reader.join(PATIENCE)
        _running.discard(self.process)
        return status

    def stop(self, seconds=PATIENCE):
        if self.alive():
            self.process.send_signal(signal.SIGTERM)
        status = self.wait_exit(seconds)
        if status != 0:
            raise AssertionError(f"{self.program} ended with {status}:\n{self.tail()}")

    def kill(self):
        self.process.kill()
        self.process.wait()
        _running.discard(self.process)

    def complaints(self):
        """Lines of a sanitizer."""
        with self.changed:
            return [line for line in self.lines
                    if "Sanitizer" in line or "runtime error:" in line]
