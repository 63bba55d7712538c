# SPDX-License-Identifier: Apache-2.0
"""`reseal key rotate`: records go from one sealing key to another, and none is lost on the way.

RESEAL_ROTATE_RECORDS and RESEAL_ROTATE_KILLS set the size of the test with kills; the long form has
10000 and 50.
"""
import http.client
import json
import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import threading
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import (BIN, LONG, PATIENCE, Stage, StageTest, b64, http_call, record,  # noqa: E402
                     seal, stable_port, together, write_secret)

AWAY = (OSError, http.client.HTTPException)  # what a hub that was just killed looks like
RECORDS = int(os.environ.get("RESEAL_ROTATE_RECORDS", 10000 if LONG else 300))
KILLS = int(os.environ.get("RESEAL_ROTATE_KILLS", 50 if LONG else 5))


class RotationStage(Stage):
    def start_hub(self, port, more):
        self.rotation_token = secrets.token_hex(16)
        write_secret(f"{self.folder}/rotation-token", self.rotation_token + "\n")
        super().start_hub(port, {"rotation_token": f"file:{self.folder}/rotation-token", **more})
        self.secrets.append(self.rotation_token)

    def config(self, name="connector", **sections):
        path = super().config(name, **sections)
        with open(path) as file:
            text = file.read()
        with open(path, "w") as file:
            file.write(text.replace(
                "[client]\n", f"[client]\nrotation_token = file:{self.folder}/rotation-token\n"))
        return path

    def left(self, key):
        """How many records are under that key, and what is written of them."""
        answer = http_call(self.port, "GET", f"/v1/seals?keyName={key}", headers={
            "Authorization": f"Bearer {self.rotation_token}"})
        assert answer.status == 200, answer
        return answer.json["records"]


class RotateTest(StageTest):
    stage_class = RotationStage
    options = {"keys": {"old": 2048, "new": 2048, "other": 3072}}

    @classmethod
    def prepare(cls):
        cls.device = cls.stage.ca.issue("laptop")
        cls.connector = cls.stage.connector()
        cls.conf = f"{cls.stage.folder}/connector.conf"

    def rotate(self, *arguments, code=0):
        done = self.stage.reseal("key", "rotate", *arguments, "--json", config=self.conf)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return json.loads(done.stdout) if done.stdout else done.stderr

    def delivered(self, record_id):
        api = self.stage.api
        outcome = api.outcome(api.deliver(record_id, self.device))
        self.assertEqual(outcome["state"], "resealed", outcome)
        return self.device.open(outcome["payload"])


class Rotation:
    def test_every_record_goes_to_the_new_key_and_opens(self):
        wanted = {}
        for number, padding in enumerate(("oaepSha256", "oaepSha384", "oaepSha512") * 3):
            password = secrets.token_bytes(number) + b"x"
            wanted[self.stage.escrow(password, "old", padding)] = (password, padding)
        report = self.rotate("old", "new")
        self.assertEqual((report["before"], report["rotated"], report["failed"], report["remaining"]),
                         (9, 9, 0, 0))
        self.assertIs(report["complete"], True)
        self.assertEqual(report["custody"][self.stage.custody], 9)
        for identity, (password, padding) in wanted.items():
            shown = self.stage.api.call("GET", f"{self.stage.api.RECORDS}/{identity}").json
            self.assertEqual((shown["keyName"], shown["paddingScheme"], shown["providerName"]),
                             ("new", padding, "reseal"))
            self.assertEqual(self.delivered(identity), password)
        # Again: nothing is left to do. And back, to a longer key, with another padding.
        self.assertEqual(self.rotate("old", "new")["before"], 0)
        report = self.rotate("new", "other", "--padding", "oaepSha256", "--provider", "vault")
        self.assertEqual((report["rotated"], report["remaining"]), (9, 0))
        for identity, (password, _) in wanted.items():
            shown = self.stage.api.call("GET", f"{self.stage.api.RECORDS}/{identity}").json
            self.assertEqual((shown["keyName"], shown["paddingScheme"], shown["providerName"]),
                             ("other", "oaepSha256", "vault"))
            self.assertEqual(self.delivered(identity), password)

    def test_what_cannot_be_opened_is_named_and_stays_where_it_is(self):
        stage = self.stage
        good = stage.escrow(b"good", "other")
        bad = stage.api.add_record(record(secrets.token_bytes(384), "other"))
        path = f"{stage.folder}/report-{secrets.token_hex(4)}.json"
        report = self.rotate("other", "new", "--report", path, code=1)
        self.assertEqual((report["rotated"] >= 1, report["failed"], report["remaining"]),
                         (True, 1, 1))
        self.assertEqual([failure["id"] for failure in report["failures"]], [bad])
        self.assertEqual(report["failures"][0]["kind"], "cryptography")
        self.assertIs(report["complete"], False)
        with open(path) as file:
            self.assertEqual(json.load(file), report)
        self.assertEqual(self.delivered(good), b"good")
        self.assertEqual(self.rotate("other", "new", "--check", code=1)["remaining"], 1)
        refused = self.rotate("other", "new", "--report", path, code=1)
        self.assertIn("is there already", refused)
        stage.api.call("DELETE", f"{stage.api.RECORDS}/{bad}")
        self.assertEqual(self.rotate("other", "new", "--check")["remaining"], 0)


class SoftHsm(Rotation, RotateTest):
    kind = "softhsm"

    @property
    def status_socket(self):
        return f"{self.stage.folder}/connector.sock"

    def read_status(self):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(self.status_socket)
            return json.load(client.makefile())

    def told_of_another_key(self):
        """What a connector tells that has another key under the new name."""
        keys = [key for token in self.told["tokens"] for key in token["keys"] if key["name"] == "new"]
        self.assertTrue(keys)
        for key in keys:
            key["fingerprint"] = "0" * 64
        return json.dumps(self.told).encode()

    def rotate_beside(self, status):
        """Rotates while that is what the connector of this machine tells."""
        if os.path.exists(self.status_socket):
            os.unlink(self.status_socket)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(self.status_socket)
            server.listen()

            def answer():
                with server.accept()[0] as client:
                    client.sendall(status)
            thread = threading.Thread(target=answer, daemon=True)
            thread.start()
            said = self.rotate("old", "new", code=3)
            thread.join(60)
        os.unlink(self.status_socket)
        return said

    def test_what_is_not_possible_is_refused_before_anything_is_done(self):
        identity = self.stage.escrow(b"stays", "old")
        for arguments, code, words in (
                (("old", "old"), 2, "both the old and the new"),
                (("old", "nowhere"), 2, "does not name the key"),
                (("old", "new", "--padding", "pkcs1"), 2, "--padding")):
            self.assertIn(words, self.rotate(*arguments, code=code))
        # A connector that does not serve the new key would strand the records.
        with open(self.conf) as file:
            text = file.read()
        narrow = f"{self.stage.folder}/narrow.conf"
        with open(narrow, "w") as file:
            file.write(text.replace("key = old, new, other", "key = old"))
        self.told = self.read_status()
        self.connector.stop()
        connector = self.stage.daemon("reseald", narrow, "narrow.log")
        connector.start()
        self.stage.wait_ready(connector)
        try:
            self.assertIn("does not serve the key", self.rotate("old", "new", code=3))
            connector.stop()
            connector = None
            self.assertIn("does not serve the key", self.rotate_beside(self.told_of_another_key()))
        finally:
            if connector is not None:
                connector.stop()
            self.connector.start()
            self.stage.wait_ready(self.connector)
        shown = self.stage.api.call("GET", f"{self.stage.api.RECORDS}/{identity}").json
        self.assertEqual(shown["keyName"], "old")
        self.assertEqual(self.delivered(identity), b"stays")

    def test_a_wrong_rotation_token_reads_nothing(self):
        with open(self.conf) as file:
            text = file.read()
        other = f"{self.stage.folder}/other.conf"
        with open(other, "w") as file:
            file.write(text.replace("/rotation-token", "/api-token"))
        done = self.stage.reseal("key", "rotate", "old", "new", config=other)
        self.assertEqual(done.returncode, 5, done.stderr)
        self.assertIn("rotation_token", done.stderr)


class Nss(Rotation, RotateTest):
    kind = "nss"


class Killed(RotateTest):
    """Killed again and again, with the hub killed now and then, while deliveries go on."""
    kind = "softhsm"
    options = {"keys": {"old": 2048, "new": 2048}, "port": stable_port()}

    def fill(self):
        passwords = [secrets.token_hex(8).encode() for _ in range(min(RECORDS, 200))]
        sealed = together(lambda word: seal(self.stage.public_keys["old"], word, "oaepSha512"),
                          passwords)

        def add(number):
            which = number % len(passwords)
            return self.stage.api.add_record(record(sealed[which], "old")), passwords[which]
        return dict(together(add, range(RECORDS)))

    def start_rotation(self):
        return subprocess.Popen([f"{BIN}/reseal", "key", "rotate", "old", "new", "--json", "--config",
                                 self.conf], env=self.stage.env, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def wait_for(self, process, most):
        """Until at most that many are under the old key, or the rotation has ended."""
        while process.poll() is None and self.stage.left("old") > most:
            pass

    def kill_once(self, number, chooser):
        left = self.stage.left("old")
        # So that the kills are spread over the whole of it.
        share = max(1, left // max(1, KILLS - number))
        process = self.start_rotation()
        self.wait_for(process, left - chooser.randint(1, share))
        if number % 5 == 4:
            self.stage.hub.kill()
            said = process.communicate(timeout=PATIENCE * 2)
            self.stage.hub.start()
            self.stage.hub_port()
            self.assertEqual(process.returncode, 5, said)
        else:
            process.send_signal(signal.SIGKILL)
            process.communicate(timeout=PATIENCE)
        return left - self.stage.left("old")

    def serve_meanwhile(self, wanted, stop, served, faults):
        chooser = random.Random(4711)
        identities = list(wanted)
        while not stop.is_set():
            identity = chooser.choice(identities)
            try:
                if self.delivered(identity) != wanted[identity]:
                    faults.append(identity)
                served.append(identity)
            except AWAY:  # the hub is being killed
                stop.wait(0.05)
            except AssertionError as fault:
                faults.append(str(fault))

    def test_no_record_is_lost_or_left_behind(self):
        seed = random.SystemRandom().randrange(1 << 32)
        chooser = random.Random(seed)
        wanted = self.fill()
        stop, served, faults = threading.Event(), [], []
        server = threading.Thread(target=self.serve_meanwhile,
                                  args=(wanted, stop, served, faults))
        server.start()
        try:
            moved = [self.kill_once(number, chooser) for number in range(KILLS)]
            rest = self.stage.left("old")
            report = self.rotate("old", "new")
        finally:
            stop.set()
            server.join()
        self.assertEqual(faults, [], f"seed {seed}")
        self.assertGreater(len(served), 0)
        self.assertEqual((report["before"], report["rotated"], report["remaining"]),
                         (rest, rest, 0), f"seed {seed}")
        self.assertEqual(sum(moved) + rest, RECORDS)
        self.assertEqual((self.stage.left("old"), self.stage.left("new")), (0, RECORDS))
        self.assertEqual(self.rotate("old", "new", "--check")["remaining"], 0)
        opened = together(self.delivered, wanted)
        self.assertEqual(opened, list(wanted.values()), f"seed {seed}")
        print(f"{RECORDS} records, {KILLS} kills, {rest} left for the last run, "
              f"{len(served)} deliveries meanwhile", file=sys.stderr)

    def test_several_at_once_share_the_work(self):
        wanted = self.fill() if RECORDS <= 300 else {}
        if not wanted:
            self.skipTest("in the short form")
        processes = [self.start_rotation() for _ in range(3)]
        said = [process.communicate(timeout=PATIENCE * 2) for process in processes]
        self.assertEqual([process.returncode for process in processes], [0, 0, 0], said)
        reports = [json.loads(out) for out, _ in said]
        self.assertEqual(sum(report["rotated"] for report in reports), len(wanted))
        self.assertEqual(self.stage.left("old"), 0)
        for identity in random.sample(list(wanted), 20):
            self.assertEqual(self.delivered(identity), wanted[identity])


if __name__ == "__main__":
    unittest.main()
