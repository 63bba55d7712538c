# SPDX-License-Identifier: Apache-2.0
"""Several tokens, and helpers that give way to fresh ones, with the real programs and tokens.

Two SoftHSM tokens hold one sealing key, under different labels; one of them is reached through the
fault module and taken away under load. RESEAL_LONG=1 takes it away more often, and recycles more.
"""
import json
import os
import secrets
import subprocess
import sys
import threading
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from daemon import wait_until  # noqa: E402
from fault_support import Fault  # noqa: E402
from harness import BIN, StageTest, together  # noqa: E402
from token_support import SOFTHSM  # noqa: E402

LONG = os.environ.get("RESEAL_LONG") == "1"
ROUNDS = 12 if LONG else 2
SHARED, OTHER_LABEL = "shared", "shared-too"


class Tokens(StageTest):
    """[token] and [token spare] hold one key; [token own] is a third token with a key of its own."""
    options = {"keys": {"own": 2048}}

    @classmethod
    def prepare(cls):
        stage = cls.stage
        cls.make_key()
        for label, key in (("first", SHARED), ("spare", OTHER_LABEL)):
            cls.make_token(label, key)
        cls.fault = Fault(stage)
        section = {"pin": f"file:{stage.token.pin_file}", "workers": 2, "uncommitted": "serve"}
        cls.tokens = {
            "token": {**section, "module": SOFTHSM, "label": "first", "key": SHARED},
            "token spare": {**section, "module": cls.fault.token["module"], "label": "spare",
                            "key": OTHER_LABEL},
            "token own": {**section, "module": SOFTHSM, "label": stage.token.label, "key": "own"}}
        stage.public_keys[SHARED] = f"{stage.folder}/{SHARED}.pem"
        cls.device = stage.ca.issue("laptop")
        cls.records = {}
        for key in (SHARED, "own"):
            password = b"good " + secrets.token_hex(8).encode()
            stage.secrets.append(password.decode())
            cls.records[key] = (stage.escrow(password, key), password)

    @classmethod
    def make_key(cls):
        folder = cls.stage.folder
        pem = f"{folder}/{SHARED}.key"
        for command in (["genpkey", "-algorithm", "RSA", "-out", pem],
                        ["pkey", "-in", pem, "-pubout", "-out", f"{folder}/{SHARED}.pem"],
                        ["pkey", "-in", pem, "-outform", "DER", "-out", f"{folder}/{SHARED}.der"],
                        ["pkey", "-in", pem, "-pubout", "-outform", "DER", "-out",
                         f"{folder}/{SHARED}.pub.der"]):
            subprocess.run(["openssl", *command], check=True, capture_output=True)

    @classmethod
    def make_token(cls, label, key):
        stage = cls.stage
        env = dict(stage.env, TEST_PIN=stage.token.pin)
        subprocess.run(["softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin",
                        secrets.token_hex(8), "--pin", stage.token.pin], env=env, check=True,
                       stdout=subprocess.DEVNULL)
        for kind, file in (("privkey", f"{SHARED}.der"), ("pubkey", f"{SHARED}.pub.der")):
            subprocess.run(["pkcs11-tool", "--module", SOFTHSM, "--token-label", label, "--login",
                            "--pin", "env:TEST_PIN", "--write-object", f"{stage.folder}/{file}",
                            "--type", kind, "--label", key, "--id", "01", "--usage-decrypt"],
                           env=env, check=True, capture_output=True)

    def start(self, **connector):
        self.fault.set()
        daemon = self.stage.connector(tokens=self.tokens, connector=connector, ready=False)
        self.addCleanup(self.end, daemon)
        wait_until(lambda: self.state() == "serving", "the connector does not serve")
        return daemon

    def end(self, daemon):
        self.fault.set()
        if daemon.alive():
            daemon.stop()

    def status(self):
        done = subprocess.run([f"{BIN}/reseal", "status", "--socket",
                               f"{self.stage.folder}/connector.sock", "--json"], env=self.stage.env,
                              capture_output=True, text=True)
        return json.loads(done.stdout) if done.returncode == 0 else {"state": "none", "tokens": []}

    def state(self):
        return self.status()["state"]

    def token(self, name):
        return next(token for token in self.status()["tokens"] if token["name"] == name)

    def deliver(self, count, key=SHARED):
        """So many deliveries, each opened by its device; none answered with an error."""
        record_id, password = self.records[key]
        api = self.stage.api
        deliveries = together(lambda _: api.deliver(record_id, self.device), range(count))
        for outcome in together(api.outcome, deliveries):
            self.opens(self.device, outcome, password)

    def assert_nothing_failed(self):
        counts = self.status()["counts"]
        self.assertEqual((counts["failed"], counts["refused"]), (0, 0), counts)

    def test_one_of_two_tokens_is_taken_away_under_load_and_no_delivery_fails(self):
        self.start()
        self.deliver(20)
        self.assertGreater(self.token("spare")["jobs"], 0)
        self.assertGreater(self.token("default")["jobs"], 0)
        for _ in range(ROUNDS):
            load = [threading.Thread(target=self.deliver, args=(40,)) for _ in range(2)]
            for thread in load:
                thread.start()
            self.fault.set("gone")
            for thread in load:
                thread.join()
            # Taken away while it had nothing to do, it is found away by what comes next.
            while self.token("spare")["state"] != "away":
                self.deliver(4)
            self.assertEqual(self.state(), "degraded")
            before = self.token("spare")["jobs"]
            self.fault.set()
            while self.token("spare")["state"] != "serving" or self.token("spare")["jobs"] <= before:
                self.deliver(4)
        self.assert_nothing_failed()

    def test_each_key_is_served_by_the_token_that_has_it(self):
        self.start()
        before = self.token("own")["jobs"]
        self.deliver(6, "own")
        self.assertEqual(self.token("own")["jobs"], before + 6)
        self.deliver(6)
        self.assertEqual(self.token("own")["jobs"], before + 6)
        self.assert_nothing_failed()

    def test_a_person_sees_every_token(self):
        self.start()
        config = f"{self.stage.folder}/connector.conf"
        shown = self.stage.succeeds("status", config=config).stdout
        doctor = self.stage.reseal("doctor", config=config).stdout
        for name in ("default", "spare", "own"):
            self.assertIn(name, shown)
            self.assertIn(name, doctor)
        listed = self.stage.succeeds("key", "list", "--token", "spare", config=config).stdout
        self.assertIn(OTHER_LABEL, listed)
        unnamed = self.stage.reseal("key", "list", config=config)
        self.assertEqual(unnamed.returncode, 2)
        self.assertIn("--token NAME", unnamed.stderr)

    def test_a_label_that_means_two_keys_ends_the_start(self):
        tokens = {name: dict(section) for name, section in self.tokens.items()}
        self.make_token("third", "own")  # the shared key, under the label of another one
        tokens["token third"] = {**tokens["token own"], "label": "third"}
        daemon = self.stage.connector("two-keys", tokens=tokens, ready=False)
        self.assertEqual(daemon.wait_exit(), 3)

    def test_a_helper_gives_way_under_load_and_no_job_is_lost_or_late(self):
        daemon = self.start(helper_jobs=20)
        first = self.token("default")["helper"]["pid"]
        for _ in range(ROUNDS * 2):
            self.deliver(60)
        counts = self.status()["counts"]
        self.assertEqual(counts["retried"], 0)
        self.assert_nothing_failed()
        self.assertGreaterEqual(self.token("default")["recycling"]["done"], 2)
        self.assertNotEqual(self.token("default")["helper"]["pid"], first)
        self.assertEqual(self.token("default")["helper"]["restarts"], 0)
        self.assertTrue(daemon.alive())


if __name__ == "__main__":
    unittest.main()
