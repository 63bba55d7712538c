# SPDX-License-Identifier: Apache-2.0
"""A PIN and a password with unique marks are searched for in everything that leaves the programs and
in the memory of those that must never have them, while they work and afterwards.

Each search is first shown to find what is really there.
"""
import glob
import os
import secrets
import stat
import sys
import threading
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import (BIN, StageTest, children, make_pfx, record, seal, together,  # noqa: E402
                     write_secret)
from memory_search import file_hits, memory_hits  # noqa: E402

# Stands between reseald and the real helper and writes down every byte of both directions.
WIRETAP = """#!/usr/bin/python3 -B
import os, select, socket, subprocess, sys
outer = socket.socket(fileno=3)
ours, theirs = socket.socketpair()
def link():
    os.dup2(theirs.fileno(), 3)
    os.set_inheritable(3, True)
real = subprocess.Popen([{real!r}] + sys.argv[1:], preexec_fn=link, close_fds=False)
theirs.close()
tap = open({tap!r}, "ab", 0)
sides = {{outer: ours, ours: outer}}
while True:
    for side in select.select(list(sides), [], [])[0]:
        data = side.recv(65536)
        tap.write(data)
        if not data:
            ours.close()
            sys.exit(real.wait())
        sides[side].sendall(data)
"""


class CanaryStage:
    """A stage at work with a PIN and passwords that are found nowhere else."""
    PIN = "canary-pin-" + secrets.token_hex(12)
    PASSWORD = "canary-password-" + secrets.token_hex(16)
    WRONG = "canary-wrong-" + secrets.token_hex(16)

    more = {}  # options of the stage

    @classmethod
    def setUpClass(cls):
        cls.options = {"pin": cls.PIN, "level": "debug", **cls.more}
        super().setUpClass()

    @classmethod
    def prepare(cls):
        stage = cls.stage
        cls.marks = [cls.PIN, cls.PASSWORD, cls.WRONG]
        cls.device = stage.ca.issue("laptop")
        cls.tap = f"{stage.folder}/wire"
        wiretap = f"{stage.folder}/wiretap"
        with open(wiretap, "w") as out:
            out.write(WIRETAP.format(real=f"{BIN}/reseal-hsm", tap=cls.tap))
        os.chmod(wiretap, stat.S_IRWXU)
        # A job may be held while its helper's memory is searched.
        cls.connector = stage.connector(connector={"helper": wiretap, "helper_deadline": 600})
        cls.helper = children(children(cls.connector.pid)[0])[0]
        cls.sealed = seal(stage.public_keys["sealing"], cls.PASSWORD.encode(), "oaepSha512")
        cls.good = stage.api.add_record(record(cls.sealed, "sealing"))
        sealed = seal(stage.public_keys["sealing"], cls.PASSWORD.encode(), "oaepSha256")
        cls.bad = [stage.api.add_record(record(sealed, "sealing", "oaepSha512")),
                   stage.api.add_record(record(sealed, "no such key", "oaepSha256"))]

    def work(self, count=60):
        """Good and failing deliveries together."""
        api = self.stage.api
        good = [api.deliver(self.good, self.device) for _ in range(count)]
        bad = [api.deliver(self.bad[0], self.device) for _ in range(count // 10)]
        for outcome in together(api.outcome, good):
            self.assertEqual(outcome["state"], "resealed", outcome)
        for outcome in together(api.outcome, bad):
            self.assertEqual(outcome["error"]["code"], 4003, outcome)
        self.assertEqual(self.device.open(outcome_payload(api, good[0])), self.PASSWORD.encode())


class Written(CanaryStage):
    def test_nothing_that_is_written_has_password_or_pin(self):
        self.work(20)
        folder, stage = self.stage.folder, self.stage
        self.run_commands()
        self.connector.stop()
        try:
            written = [path for path in glob.glob(f"{folder}/**", recursive=True)
                       if os.path.isfile(path) and path not in self.expected]
            for part in ("hub.sqlite", "connector.log", "hub.log", "sealing.jsonl", "wire"):
                self.assertTrue(any(part in path for path in written), part)
            with open(self.tap, "rb") as tap:
                self.assertIn(self.sealed, tap.read(), "the wire was written down")
            self.assertEqual(file_hits(written, self.marks), [])
            self.assertEqual(file_hits([stage.token.pin_file], [self.PIN]) != [], True)
        finally:
            self.connector.start()
            stage.wait_ready(self.connector)
            type(self).helper = children(children(self.connector.pid)[0])[0]

    def run_commands(self):
        """Commands that succeed and fail; what they say is kept beside the logs."""
        folder, stage = self.stage.folder, self.stage
        pfx, _ = make_pfx(folder, "alice", self.PASSWORD)
        write_secret(f"{folder}/wrong", self.WRONG)
        type(self).expected = {stage.token.pin_file, f"{folder}/alice.password", f"{folder}/wrong"}
        new = ["pfx", "import", "--pfx", pfx, "--user", "alice@example.org", "--public-key",
               stage.public_keys["sealing"], "--key-name", "sealing", "--password"]
        config = self.connector.config
        said = [stage.reseal(*new, f"file:{folder}/wrong", config=config),
                stage.reseal(*new, self.PASSWORD, config=config),  # by mistake as an argument
                stage.succeeds(*new, f"file:{folder}/alice.password", config=config),
                stage.succeeds("pfx", "list", "--json", config=config),
                stage.succeeds("status", "--json", config=config),
                stage.reseal("doctor", config=config),
                stage.reseal("config", "show", config=config)]
        self.assertEqual([done.returncode != 0 for done in said[:3]], [True, True, False])
        with open(f"{folder}/said", "w") as out:
            out.writelines(done.stdout + done.stderr for done in said)


class Canary(Written):
    def test_the_search_finds_what_is_there(self):
        hits = memory_hits(self.connector.pid, [self.stage.access_key])
        self.assertTrue(hits[self.stage.access_key], "the access key's id is in reseald's memory")
        folder = self.stage.folder  # of its configuration
        self.assertTrue(memory_hits(self.helper, [folder])[folder], "reseal-hsm can be searched")
        hits = memory_hits(os.getpid(), [self.PASSWORD])
        self.assertTrue(hits[self.PASSWORD], "the password is in this test's memory")

    def test_neither_daemon_ever_has_password_or_pin_in_memory(self):
        over = threading.Event()
        found, rounds = [], [0]

        def watch():
            while not over.is_set() or rounds[0] == 0:
                for daemon in (self.connector, self.stage.hub):
                    for mark, hits in memory_hits(daemon.pid, self.marks).items():
                        found.extend(f"{daemon.program}: {mark[:14]} as {form[:12]!r} in "
                                     f"{region.name or 'memory'}" for region, form in hits)
                rounds[0] += 1

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            while rounds[0] < 3 and watcher.is_alive():
                self.work(30)
        finally:
            over.set()
            watcher.join()
        self.assertGreaterEqual(rounds[0], 3)
        self.assertEqual(found, [])

    def test_the_daemons_write_no_cores(self):
        for pid in (self.connector.pid, self.stage.hub.pid, self.helper):
            with open(f"/proc/{pid}/limits") as file:
                line = next(line for line in file if line.startswith("Max core file size"))
            self.assertEqual(line.split()[4:6], ["0", "0"], line)

    def test_the_helper_keeps_no_password_when_its_work_is_done(self):
        self.work(40)
        hits = memory_hits(self.helper, [self.PASSWORD, self.PIN])
        self.assertEqual([(region.name, form) for region, form in hits[self.PASSWORD]], [])
        # The PIN is kept for another login, but only where it is neither swapped nor dumped.
        self.assertTrue(hits[self.PIN], "the PIN is kept")
        self.assertEqual([hit for hit in hits[self.PIN] if not hit[0].for_secrets()], [])


def outcome_payload(api, delivery):
    return api.outcome(delivery)["payload"]


class CanaryOnSofthsm(Canary, StageTest):
    kind = "softhsm"


class CanaryOnNss(Canary, StageTest):
    kind = "nss"


if __name__ == "__main__":
    unittest.main()
