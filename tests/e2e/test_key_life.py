# SPDX-License-Identifier: Apache-2.0
"""A sealing key's life after its ceremony: inventory, retire, destroy; each recorded."""
import json
import os
import pty
import re
import shutil
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import BIN, StageTest  # noqa: E402
from test_ceremony_forged import sealed  # noqa: E402
from test_key_rotate import RotationStage  # noqa: E402
from token_support import make_nss  # noqa: E402


class LifeTest(StageTest):
    stage_class = RotationStage
    options = {"keys": {"first": 2048, "second": 2048}}

    @classmethod
    def prepare(cls):
        cls.conf = cls.stage.config()

    def path(self, name):
        return f"{self.stage.folder}/{name}.jsonl"

    def run_key(self, *arguments, code=0, config=None):
        done = self.stage.reseal("key", *arguments, config=config or self.conf)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done

    def inventory(self, *names, code=0):
        done = self.run_key("inventory", *(self.path(name) for name in names), "--json", code=code)
        return json.loads(done.stdout)["objects"]

    def judgements(self, *names, code=0):
        return sorted((entry["judgement"], entry["class"], entry["label"])
                      for entry in self.inventory(*names, code=code))

    def state(self, name):
        shown = self.stage.succeeds("ceremony", "show", self.path(name), "--json")
        return json.loads(shown.stdout)["state"]

    def verifies(self, name):
        done = self.stage.reseal("ceremony", "verify", self.path(name), "--json")
        self.assertEqual(done.returncode, 0, done.stdout)

    def hold_another(self, name):
        """A key that only one test uses; the configuration of the stage does not name it."""
        self.stage.hold_ceremony(name, 2048)
        self.stage.public_keys.pop(name)

    def tool(self, *arguments):
        """A program that is not ours, on the same token."""
        token = self.stage.token
        return subprocess.run(["pkcs11-tool", "--module", token.module, "--token-label", token.label,
                               "--login", "--pin", token.pin, *arguments], env=token.env, check=True,
                              capture_output=True, text=True)


class Life:
    def test_every_object_is_held_against_the_records(self):
        self.assertEqual(self.judgements("first", "second"), [
            ("known", "private key", "first"), ("known", "private key", "second"),
            ("known", "public key", "first"), ("known", "public key", "second")])
        self.assertEqual(self.judgements("first", code=1), [
            ("known", "private key", "first"), ("known", "public key", "first"),
            ("unknown", "private key", "second"), ("unknown", "public key", "second")])
        for entry in self.inventory("first", "second"):
            self.assertEqual((entry["state"], entry["reason"]), ("committed", None))
            self.assertEqual(len(entry["fingerprint"]), 64)

    def test_a_key_is_retired_only_when_nothing_needs_it(self):
        self.hold_another("spare")
        transcript = self.path("spare")
        record = self.stage.escrow(b"still needed", "second")
        refused = self.run_key("retire", self.path("second"), "--yes", code=3)
        self.assertIn("1 records", refused.stderr)
        self.assertEqual(self.state("second"), "committed")
        self.stage.api.call("DELETE", f"{self.stage.api.RECORDS}/{record}")
        # Nobody to ask: not known, and so refused.
        alone = f"{self.stage.folder}/alone.conf"
        with open(self.conf) as file:
            text = file.read()
        with open(alone, "w") as file:
            file.write(re.sub(r"rotation_token = .*\n", "", text))
        refused = self.run_key("retire", transcript, "--yes", code=3, config=alone)
        self.assertIn("is not known", refused.stderr)
        # Nobody to confirm: refused.
        refused = self.run_key("retire", transcript, code=2)
        self.assertIn("terminal", refused.stderr)
        self.assertEqual(self.state("spare"), "committed")
        self.assertIn("was not retired", self.run_key("destroy", transcript, "--yes", code=3).stderr)
        done = json.loads(self.run_key("retire", transcript, "--yes", "--json").stdout)
        self.assertEqual((done["state"], done["label"]), ("retired", "spare"))
        self.assertTrue(os.path.exists(done["mark"]))
        self.assertEqual(self.state("spare"), "retired")
        self.verifies("spare")
        self.assertIn("only a committed one",
                      self.run_key("retire", transcript, "--yes", code=3).stderr)
        objects = [entry for entry in self.inventory("first", "second", "spare")
                   if entry["label"] == "spare"]
        self.assertEqual({(entry["judgement"], entry["state"]) for entry in objects},
                         {("known", "retired")})
        # Destroyed, and recorded.
        done = json.loads(self.run_key("destroy", transcript, "--yes", "--json").stdout)
        self.assertEqual(done["state"], "destroyed")
        self.assertEqual(self.state("spare"), "destroyed")
        self.verifies("spare")
        labels = {entry["label"] for entry in self.inventory("first", "second", "spare")}
        self.assertEqual(labels, {"first", "second"})
        self.assertIn("is not on the token",
                      self.run_key("destroy", transcript, "--yes", code=1).stderr)

    def test_a_retirement_says_what_it_did_not_do(self):
        self.hold_another("moved")
        descriptor = f"{self.stage.folder}/moved.pem.descriptor"
        os.rename(descriptor, f"{descriptor}.away")
        done = self.run_key("retire", self.path("moved"), "--yes", "--json")
        told = json.loads(done.stdout)
        self.assertEqual((told["state"], told["descriptor"], told["mark"]),
                         ("retired", descriptor, None))
        self.assertIn("NOT put", done.stderr)
        self.assertIn("SERVE THE KEY ON", done.stderr)
        self.assertEqual(self.state("moved"), "retired")
        self.run_key("destroy", self.path("moved"), "--yes")

    def test_a_record_that_does_not_verify_or_was_a_rehearsal_is_not_retired(self):
        self.hold_another("doubtful")
        path, public_key = self.path("doubtful"), f"{self.stage.folder}/doubtful.pem"
        with open(path) as file:
            text = file.read()
        with open(public_key, "a") as file:
            file.write("\n")
        refused = self.run_key("retire", path, "--yes", "--force", code=3)
        self.assertIn("does not verify", refused.stderr)
        with open(path, "w") as file:
            lines = [json.loads(line) for line in text.splitlines()]
            lines[0]["rehearsal"] = True
            file.write(sealed(lines))
        refused = self.run_key("retire", path, "--yes", "--force", code=3)
        self.assertIn("rehearsal", refused.stderr)
        with open(path, "w") as file:
            file.write(text)
        self.assertFalse(os.path.exists(f"{public_key}.descriptor.retired"))
        self.run_key("destroy", path, "--yes", "--force")

    def test_a_retired_key_is_served_no_more_and_the_others_are(self):
        self.stage.hold_ceremony("old", 2048)
        connector = self.stage.connector("serving")
        conf = f"{self.stage.folder}/serving.conf"
        device = self.stage.ca.issue("laptop")
        identity = self.stage.escrow(b"of the old key", "old")
        other = self.stage.escrow(b"of another", "first")
        api = self.stage.api
        self.opens(device, api.outcome(api.deliver(identity, device)), b"of the old key")
        self.assertIn("1 records", self.run_key("retire", self.path("old"), "--yes", code=3).stderr)
        self.run_key("retire", self.path("old"), "--yes", "--force", config=conf)
        connector.stop()
        connector.start()
        self.stage.wait_ready(connector)
        try:
            status = json.loads(self.stage.succeeds("status", "--json", config=conf).stdout)
            served = {key["name"] for token in status["tokens"] for key in token["keys"]}
            self.assertEqual(served, {"first", "second"})
            self.opens(device, api.outcome(api.deliver(other, device)), b"of another")
        finally:
            connector.stop()
            self.stage.public_keys.pop("old")
            for record in (identity, other):
                api.call("DELETE", f"{api.RECORDS}/{record}")
        self.run_key("destroy", self.path("old"), "--yes", "--force")


class SoftHsm(Life, LifeTest):
    kind = "softhsm"

    def test_what_was_altered_or_is_missing_is_told(self):
        self.hold_another("changing")
        names = ("first", "second", "changing")
        transcript = self.path("changing")
        with open(transcript) as file:
            lines = [json.loads(line) for line in file]
        identity = next(line["id"] for line in lines if line["step"] == "generate")
        self.tool("--delete-object", "--type", "pubkey", "--id", identity)
        self.assertIn(("missing", "public key", "changing"), self.judgements(*names, code=1))
        self.tool("--delete-object", "--type", "privkey", "--id", identity)
        self.assertIn(("missing", "private key", "changing"), self.judgements(*names, code=1))
        # Another key in its place.
        self.tool("--keypairgen", "--key-type", "RSA:2048", "--id", identity, "--label", "changing")
        found = [entry for entry in self.inventory(*names, code=1) if entry["label"] == "changing"]
        self.assertEqual({entry["judgement"] for entry in found}, {"altered"})
        self.assertTrue(any("another key" in entry["reason"] for entry in found), found)
        done = self.run_key("inventory", *(self.path(name) for name in names), code=1)
        self.assertIn("another key", done.stderr)
        self.assertIn("another public half",
                      self.run_key("destroy", transcript, "--yes", "--force", code=3).stderr)
        self.assertIn(("altered", "private key", "changing"), self.judgements(*names, code=1))
        self.tool("--delete-object", "--type", "privkey", "--id", identity)
        self.tool("--delete-object", "--type", "pubkey", "--id", identity)

    def test_a_key_that_is_there_although_it_was_destroyed_is_told(self):
        self.hold_another("ended")
        with open(self.path("ended")) as file:
            identity = next(line["id"] for line in map(json.loads, file) if line["step"] == "generate")
        self.run_key("destroy", self.path("ended"), "--yes", "--force")
        self.tool("--keypairgen", "--key-type", "RSA:2048", "--id", identity, "--label", "ended")
        found = [entry for entry in self.inventory("first", "second", "ended", code=1)
                 if entry["label"] == "ended"]
        self.assertTrue(found and all("destroyed" in entry["reason"] for entry in found), found)
        self.tool("--delete-object", "--type", "privkey", "--id", identity)
        self.tool("--delete-object", "--type", "pubkey", "--id", identity)

    def test_a_destruction_that_was_cut_off_is_finished(self):
        self.hold_another("cut")
        transcript = self.path("cut")
        self.run_key("retire", transcript, "--yes")
        self.run_key("destroy", transcript, "--yes")
        # As if the process had been killed between the act and its line.
        with open(transcript, "rb") as file:
            lines = file.read().splitlines(keepends=True)
        with open(transcript, "wb") as file:
            file.write(b"".join(lines[:-1]))
        self.assertEqual(self.state("cut"), "retired")
        self.run_key("destroy", transcript)  # nothing is asked: nothing is left to destroy
        self.assertEqual(self.state("cut"), "destroyed")
        self.verifies("cut")

    def typed(self, *arguments, answer):
        pid, terminal = pty.fork()
        if pid == 0:
            os.environ.update(self.stage.env)
            os.execv(f"{BIN}/reseal", ["reseal", "key", *arguments, "--config", self.conf])
        said = b""
        while b"Type the label of the key" not in said:
            said += os.read(terminal, 4096)
        os.write(terminal, answer + b"\n")
        while True:
            try:
                more = os.read(terminal, 4096)
            except OSError:
                break
            if not more:
                break
            said += more
        os.close(terminal)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said

    def test_only_the_typed_label_confirms(self):
        self.hold_another("typed")
        transcript = self.path("typed")
        code, said = self.typed("retire", transcript, answer=b"Yes")
        self.assertEqual((code, self.state("typed")), (3, "committed"), said)
        code, said = self.typed("retire", transcript, answer=b"typed")
        self.assertEqual((code, self.state("typed")), (0, "retired"), said)
        code, said = self.typed("destroy", transcript, answer=b"typo")
        self.assertEqual((code, self.state("typed")), (3, "retired"), said)
        code, said = self.typed("destroy", transcript, answer=b"typed")
        self.assertEqual((code, self.state("typed")), (0, "destroyed"), said)

    def test_a_record_that_was_tampered_with_is_refused(self):
        self.hold_another("tampered")
        copy = f"{self.stage.folder}/copy.jsonl"
        shutil.copy(self.path("tampered"), copy)
        with open(copy, "rb+") as file:
            text = file.read()
            file.seek(text.index(b'"label"') + 10)
            file.write(b"X")
        for verb in ("retire", "destroy"):
            self.run_key(verb, copy, "--yes", "--force", code=1)
        self.run_key("inventory", copy, code=1)
        self.run_key("destroy", self.path("tampered"), "--yes", "--force")


class Nss(Life, LifeTest):
    kind = "nss"

    def test_another_database_is_not_taken_for_the_token_of_the_record(self):
        """All of them tell the same serial number, maker and model."""
        other = make_nss(f"{self.stage.folder}/other-nss")
        args = f"{other.init_args} dbTokenDescription='another database'"
        done = self.run_key("destroy", self.path("first"), "--yes", "--force", "--module",
                            other.module, "--init-args", args, "--label", "another database",
                            "--pin", f"file:{other.pin_file}", code=3)
        self.assertIn('this one is "another database"', done.stderr)


if __name__ == "__main__":
    unittest.main()
