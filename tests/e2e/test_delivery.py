# SPDX-License-Identifier: Apache-2.0
"""The main job with the programs as a person uses them, and how a connector starts and ends."""
import base64
import json
import os
import random
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from fault_support import Fault  # noqa: E402
from harness import (LONG, Stage, StageTest, b64, children, make_pfx, process_exists,  # noqa: E402
                     record, seal, together, tool, wait_until, write_secret)

UNUSUAL = "Gr\u00fc\u00dfe, \u4e16\u754c \U0001f511 <&>]]>\"'"


class MainJob:
    """From a PFX to a device that opens it, by the command line alone."""

    @classmethod
    def prepare(cls):
        cls.connector = cls.stage.connector()
        cls.config = cls.connector.config
        folder = cls.stage.folder
        for name, key in (("laptop", "rsa:2048"), ("desk", "rsa:3072")):
            cls.stage.succeeds("device", "new", "--ca", f"{folder}/demo-ca", "--out",
                               f"{folder}/{name}", "--key", key)
        # The demo CA comes after the connector's configuration: this one trusts both.
        with open(f"{folder}/demo-ca/ca.pem") as demo, open(cls.stage.ca.path, "a") as trusted:
            trusted.write(demo.read())
        cls.connector.stop()
        cls.connector.start()

    def run_job(self, name, password, device="laptop", key="rsa:2048", export=(), padding=None):
        stage, folder = self.stage, self.stage.folder
        stage.secrets.append(password)
        pfx, thumbprint = make_pfx(folder, name, password, key, *export)
        made = f"{folder}/{name}.record"
        stage.succeeds("pfx", "new", "--pfx", pfx, "--user", f"{name}@example.org", "--password",
                       f"file:{folder}/{name}.password", "--public-key",
                       stage.public_keys["sealing"], "--key-name", "sealing", "--out", made,
                       *(("--padding", padding) if padding else ()))
        self.assertEqual(os.stat(made).st_mode & 0o777, 0o600)
        done = stage.succeeds("pfx", "import", made, config=self.config)
        record_id = done.stdout.strip()
        self.assertTrue(record_id.endswith("-" + thumbprint), record_id)
        self.deliver_and_open(record_id, name, password, pfx, device)
        return record_id

    def deliver_and_open(self, record_id, name, password, pfx, device):
        stage, folder = self.stage, self.stage.folder
        done = stage.succeeds("deliver", record_id, "--device", f"{folder}/{device}", "--json",
                              "--out", f"{folder}/{name}.delivery", "--timeout", "60",
                              config=self.config)
        self.assertEqual(json.loads(done.stdout)["custody"], stage.custody)
        out = f"{folder}/{name}.opened"
        stage.succeeds("device", "open", "--device", f"{folder}/{device}", "--delivery",
                       f"{folder}/{name}.delivery", "--out-password", out)
        with open(out, "rb") as file:
            self.assertEqual(file.read(), password.encode())
        self.assertEqual(os.stat(out).st_mode & 0o777, 0o600)
        with open(f"{folder}/{name}.delivery") as file:
            delivery = json.load(file)
        with open(pfx, "rb") as file:
            self.assertEqual(base64.b64decode(delivery["encryptedPfxBlob"]), file.read())
        opened = tool("openssl", "cms", "-decrypt", "-inform", "DER", "-recip",
                      f"{folder}/{device}/device.pem", "-inkey", f"{folder}/{device}/device.key",
                      data=base64.b64decode(delivery["payload"]))
        self.assertEqual(opened, password.encode())

    def test_a_pfx_with_an_rsa_key(self):
        self.run_job("alice", "correct horse battery staple")

    def test_a_pfx_with_an_ec_key_and_a_password_beyond_ascii(self):
        self.run_job("bob", UNUSUAL, device="desk", key="ec:P-256", padding="oaepSha256")

    def test_a_legacy_3des_pfx(self):
        self.run_job("carol", "legacy but alive", padding="oaepSha384", export=(
            "-keypbe", "PBE-SHA1-3DES", "-certpbe", "PBE-SHA1-3DES", "-macalg", "sha1"))

    def test_a_legacy_rc2_pfx(self):
        self.run_job("dave", "older still, 40 bits", export=("-legacy",))

    def listed(self, *options):
        done = self.stage.succeeds("pfx", "list", "--json", *options, config=self.config)
        return json.loads(done.stdout)["records"]

    def test_records_are_listed_shown_and_removed(self):
        record_id = self.run_job("o'hara", "an apostrophe in the name")
        mine, = self.listed("--user", "O'Hara@example.org")
        self.assertEqual(mine["id"], record_id)
        self.assertEqual(mine["userPrincipalName"], "o'hara@example.org")
        self.assertEqual(mine["encryptedPfxPassword"], "")
        shown = json.loads(self.stage.succeeds("pfx", "get", record_id, "--json",
                                               config=self.config).stdout)
        self.assertEqual(shown["encryptedPfxBlob"], "AA==")
        self.assertEqual(shown["paddingScheme"], "oaepSha512")
        again = self.stage.reseal("pfx", "import", f"{self.stage.folder}/o'hara.record",
                                  config=self.config)
        self.assertEqual(again.returncode, 1)
        self.assertIn("already", again.stderr)
        self.stage.succeeds("pfx", "remove", record_id, config=self.config)
        self.assertEqual(self.listed("--user", "o'hara@example.org"), [])
        gone = self.stage.reseal("pfx", "get", record_id, config=self.config)
        self.assertEqual(gone.returncode, 1, gone.stderr)
        gone = self.stage.reseal("deliver", record_id, "--device", f"{self.stage.folder}/laptop",
                                 config=self.config)
        self.assertEqual(gone.returncode, 1, gone.stderr)

    def test_the_status_shows_a_connector_that_serves(self):
        done = self.stage.succeeds("status", "--wait", "30", "--json", config=self.config)
        status = json.loads(done.stdout)
        self.assertEqual(status["state"], "serving")
        self.assertEqual(status["pid"], self.connector.pid)
        self.assertEqual(status["sandbox"], "landlock and seccomp")
        self.assertIs(status["tokens"][0]["pinExposed"], False)
        with open(f"/proc/{self.connector.pid}/status") as file:
            self.assertRegex(file.read(), r"NoNewPrivs:\t1\nSeccomp:\t2\n")
        self.assertIn(status["helper"]["pid"], children(self.connector.pid))
        key, = status["keys"]
        self.assertEqual({padding["custody"] for padding in key["paddings"]}, {self.stage.custody})

    def test_a_device_of_another_ca_is_told_why_it_is_refused(self):
        folder = self.stage.folder
        self.stage.succeeds("device", "new", "--ca", f"{folder}/other-ca", "--out",
                            f"{folder}/stranger")
        record_id = self.run_job("erin", "not for strangers")
        done = self.stage.reseal("deliver", record_id, "--device", f"{folder}/stranger",
                                 config=self.config)
        self.assertEqual(done.returncode, 3, done.stdout + done.stderr)
        self.assertIn("4002", done.stderr)


class MainJobOnSofthsm(MainJob, StageTest):
    kind = "softhsm"


class MainJobOnNss(MainJob, StageTest):
    kind = "nss"


class MainJobOnOpencryptoki(MainJob, StageTest):
    kind = "opencryptoki"


class Lifetime(StageTest):
    """How connectors begin, share and end."""
    kind = "softhsm"

    @classmethod
    def prepare(cls):
        cls.device = cls.stage.ca.issue("laptop")
        cls.record = cls.stage.escrow(b"password")

    def tearDown(self):
        for daemon in self.stage.daemons:  # whatever a failed test has left
            if daemon.program == "reseald" and daemon.alive():
                daemon.kill()

    def finished(self, deliveries):
        outcomes = together(self.stage.api.outcome, deliveries)
        for outcome in outcomes:
            self.assertEqual(outcome["state"], "resealed", outcome)
            self.assertEqual(outcome["resultsEffective"], 1)
        return outcomes

    def test_sigterm_finishes_what_is_in_hand_and_gives_back_the_rest(self):
        url = self.stage.sqs.url("reseal-requests")
        deliveries = together(lambda _: self.stage.api.deliver(self.record, self.device), range(300))
        connector = self.stage.connector("first")
        connector.wait_event(lambda event: event.get("event") == 2000)
        connector.stop()
        waiting, leased = self.stage.sqs.counts(url)
        self.assertEqual(leased, 0, "a message was kept by a connector that ended orderly")
        self.assertGreater(waiting, 0, "all was done before the signal: the test shows nothing")
        done = [delivery for delivery in deliveries
                if self.stage.api.delivery(delivery)["state"] == "resealed"]
        self.assertEqual(len(done) + waiting, len(deliveries), "a request is lost or done twice")
        second = self.stage.connector("second")
        for outcome in self.finished(deliveries):
            self.assertEqual(outcome["resultsReceived"], 1, outcome)
            self.opens(self.device, outcome, b"password") if outcome["id"] in done[:3] else None
        second.stop()

    def test_the_helper_ends_with_its_connector(self):
        connector = self.stage.connector("parent")
        helper, = children(connector.pid)
        connector.kill()
        wait_until(lambda: not process_exists(helper), "the helper ends when its connector is gone")

    @staticmethod
    def of_configuration(path):
        """Processes that were started with that configuration: reseald, its starter, helpers."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    if path.encode() in file.read().split(b"\0"):
                        found.append(int(pid))
            except OSError:
                pass  # it has ended meanwhile
        return found

    def test_a_connector_that_is_killed_while_it_starts_leaves_nothing_running(self):
        config = self.stage.config("cut-off")
        chance = random.Random(7)
        met = set()
        for _ in range(200 if LONG else 25):
            connector = self.stage.daemon("reseald", config, "cut-off.log")
            connector.start()
            time.sleep(chance.uniform(0, 0.3))
            met.add(len(self.of_configuration(config)))
            connector.kill()
            wait_until(lambda: not self.of_configuration(config), "all of it ends with the connector")
        self.assertIn(3, met, "no helper was ever there: the test shows nothing")

    def test_two_connectors_share_one_queue(self):
        both = [self.stage.connector("left"), self.stage.connector("right")]
        served = set()
        for _ in range(100):
            deliveries = together(lambda _: self.stage.api.deliver(self.record, self.device),
                                  range(8))
            outcomes = self.finished(deliveries)
            served |= {outcome["connector"] for outcome in outcomes}
            self.assertEqual({outcome["resultsReceived"] for outcome in outcomes}, {1})
            if served == {"left", "right"}:
                break
        self.assertEqual(served, {"left", "right"})
        for connector in both:
            connector.stop()

    def test_connectors_that_start_together_all_find_their_token(self):
        for _ in range(3):
            started = [self.stage.connector(f"at-once-{number}", ready=False) for number in range(4)]
            for connector in started:
                self.stage.wait_ready(connector)
            for connector in started:
                connector.stop()

    def test_a_token_that_cannot_keep_the_password_inside_is_refused_with_the_reason(self):
        connector = self.stage.connector("strict", ready=False, connector={"require": "token"})
        self.assertEqual(connector.wait_exit(), 3, connector.tail())
        said = connector.tail()
        for part in ('"sealing"', "custody host", "CKR_", "require = host"):
            self.assertIn(part, said)  # which key, what it can do, why, and what to do about it

    def test_without_device_ca_a_connector_does_not_start(self):
        connector = self.stage.connector("trusting", ready=False, connector={"device_ca": None})
        self.assertEqual(connector.wait_exit(), 2, connector.tail())
        self.assertIn("device_ca", connector.tail())


class Shared(StageTest):
    """One hub that listens where the system likes, and a command line that cannot reach it."""

    def test_a_bearer_token_is_needed_for_everything_but_health(self):
        api = self.stage.api
        for method, path in (("GET", "/v1/status"), ("GET", api.RECORDS), ("POST", api.RECORDS),
                             ("GET", "/v1/deliveries/x"), ("POST", "/v1/deliveries"),
                             ("DELETE", f"{api.RECORDS}/x")):
            for wrong in (None, "Bearer", "Bearer x", f"Basic {api.token}",
                          f"Bearer {api.token}x", f"Bearer {api.token[:-1]}"):
                answer = api.call(method, path, b"{}" if method == "POST" else None,
                                  Authorization=wrong)
                self.assertEqual(answer.status, 401, (method, path, wrong))
        self.assertEqual(api.call("GET", "/healthz", Authorization=None).status, 200)
        self.assertEqual(api.call("GET", "/v1/status").status, 200)

    def test_a_hub_that_is_away_is_exit_status_5(self):
        config = self.stage.config("lost", )
        with open(config) as file:
            text = file.read().replace(f":{self.stage.port}", ":1")
        with open(config, "w") as file:
            file.write(text)
        done = self.stage.reseal("pfx", "list", config=config)
        self.assertEqual(done.returncode, 5, done.stderr)

    def test_secrets_of_records_can_only_be_written(self):
        sealed = seal(self.stage.public_keys["sealing"], b"password", "oaepSha512")
        fields = record(sealed, "sealing")
        record_id = self.stage.api.add_record(fields)
        for path in (f"{Api_RECORDS}/{record_id}", Api_RECORDS, f"{Api_RECORDS}('{record_id}')"):
            answer = self.stage.api.call("GET", path)
            self.assertEqual(answer.status, 200, answer)
            self.assertNotIn(fields["encryptedPfxBlob"].encode(), answer.body)
            self.assertNotIn(b64(sealed).encode(), answer.body)


Api_RECORDS = "/beta/deviceManagement/userPfxCertificates"


class WrongPin(unittest.TestCase):
    """A wrong PIN burns one try and never a second one, whoever starts the connector again."""

    def setUp(self):
        self.stage = Stage("softhsm")
        self.addCleanup(self.stage.close)
        self.fault = Fault(self.stage)

    def count(self, call):
        return len(self.fault.calls(call))

    def test_one_try_is_burned_and_no_more(self):
        wrong = f"{self.stage.folder}/wrong-pin"
        write_secret(wrong, "0" * 16 + "\n")
        connector = self.stage.connector("wrong", ready=False,
                                         token={**self.fault.token, "pin": f"file:{wrong}"})
        self.assertEqual(connector.wait_exit(), 4, connector.tail())
        self.assertIn("PIN", connector.tail())
        self.assertEqual((self.count("C_Initialize"), self.count("C_Login")), (1, 1))
        # A service manager starts it again: the token says that its count is low.
        connector.start()
        self.assertEqual(connector.wait_exit(), 4, connector.tail())
        self.assertEqual((self.count("C_Initialize"), self.count("C_Login")), (2, 1))
        # Also with the right PIN, until a person has looked.
        right = self.stage.connector("right", ready=False, token=self.fault.token)
        self.assertEqual(right.wait_exit(), 4, right.tail())
        self.assertEqual(self.count("C_Login"), 1)
        self.assertEqual(self.stage.complaints(), [])

    def test_a_login_is_not_cut_off_with_the_connector(self):
        self.fault.set("C_Login * delay 800ms late")
        connector = self.stage.connector("short", ready=False, token=self.fault.token)
        wait_until(lambda: self.count("C_Initialize") == 1, "a helper has begun")
        helper, = children(connector.pid)
        time.sleep(0.3)  # it is in C_Login, which takes longer than that
        self.assertEqual(self.count("C_Login"), 0)
        connector.kill()
        wait_until(lambda: not process_exists(helper), "the helper ends as well")
        self.assertEqual(self.fault.calls("C_Login"), [(helper, "CKR_OK")])

    def test_a_right_pin_is_tried_once(self):
        connector = self.stage.connector("right", token=self.fault.token)
        self.assertEqual(self.count("C_Login"), 1)
        connector.stop()
        self.assertEqual(self.stage.complaints(), [])


if __name__ == "__main__":
    unittest.main()
