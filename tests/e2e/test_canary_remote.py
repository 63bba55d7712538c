# SPDX-License-Identifier: Apache-2.0
"""With a token in a process of its own, as with an HSM, the password of custody `token` is never in
reseal-hsm's memory, while it is resealed either: each stage of a job is held in the token and
everything is searched.

The search is shown to work by what it finds at the same moment in the token's process.
"""
import os
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import test_canary  # noqa: E402
from harness import BIN, LONG, StageTest, seal  # noqa: E402
from memory_search import memory_hits  # noqa: E402
from remote_support import TESTS, RemoteStage  # noqa: E402

RSA_PKCS, OAEP, AES_CBC_PAD = 0x1, 0x9, 0x1085
DATA_AND_BASE, BASE_AND_DATA = 0x363, 0x362


class Held:
    """What is looked for while a call is held in the token, and afterwards."""

    def hits(self, pid):
        return memory_hits(pid, self.marks)

    def in_token(self, mark):
        return self.hits(self.stage.server.pid)[mark]

    def assert_nowhere(self, stage, helper=None):
        """No password anywhere, and the PIN in the helper's memory for secrets alone."""
        for pid, name in ((self.connector.pid, "reseald"), (self.stage.hub.pid, "reseal-hub")):
            for mark, found in self.hits(pid).items():
                self.assertEqual(found, [], f"{mark[:14]} in {name}, {stage}")
        self.assert_not_in_helper(stage, helper or self.helper)

    def assert_not_in_helper(self, stage, helper):
        found = self.hits(helper)
        self.assertEqual(found[self.PASSWORD], [], f"the password in reseal-hsm, {stage}")
        self.assertTrue(found[self.PIN], f"the PIN is kept, {stage}")
        self.assertEqual([hit for hit in found[self.PIN] if not hit[0].for_secrets()], [], stage)

    def held(self, control, function, mechanism):
        self.assertEqual(control.wait_held(), (function, mechanism))


class CanaryInToken(Held, test_canary.Canary if LONG else test_canary.Written, StageTest):
    """Custody token of a token in another process: the password is not even in reseal-hsm."""
    kind, stage_class = "nss", RemoteStage

    def test_the_password_is_in_the_token_alone_at_each_stage_of_a_job(self):
        self.assert_nowhere("before a job")
        self.assertEqual(self.in_token(self.PASSWORD), [], "before a job")
        with self.stage.server.control() as control:
            control.hold("C_WrapKey")
            delivery = self.stage.api.deliver(self.good, self.device)
            self.held(control, "C_WrapKey", RSA_PKCS)
            self.assert_nowhere("the content key is wrapped")
            control.hold("C_UnwrapKey")
            control.next()
            self.held(control, "C_UnwrapKey", OAEP)
            self.assertTrue(self.in_token(self.PASSWORD), "the token has it: the search finds it")
            self.assert_nowhere("the password is unwrapped")
            control.hold("C_WrapKey")
            control.next()
            self.held(control, "C_WrapKey", AES_CBC_PAD)
            self.assertTrue(self.in_token(self.PASSWORD))
            self.assert_nowhere("the password is wrapped")
            control.hold("C_DestroyObject")
            control.next()
            control.wait_held()
            self.assert_nowhere("the job is done in the token")
            control.go()
        outcome = self.stage.api.outcome(delivery)
        self.opens(self.device, outcome, self.PASSWORD.encode())
        self.assert_nowhere("the job is over")
        self.work(20)
        self.assert_nowhere("many jobs are over")

    def test_text_is_put_around_the_password_in_the_token_alone(self):
        job = self.start_job(b"<before>" * 50, b"<behind>" * 50)
        try:
            word, pid = job.stdout.readline().split()
            self.assertEqual(word, b"ready")
            pid = int(pid)
            self.assert_not_in_helper("before a job", pid)
            with self.stage.server.control() as control:
                control.hold("C_DeriveKey")
                job.stdin.write(b"go\n")
                job.stdin.flush()
                for mechanism in (DATA_AND_BASE, BASE_AND_DATA):
                    self.held(control, "C_DeriveKey", mechanism)
                    self.assertTrue(self.in_token(self.PASSWORD))
                    self.assert_not_in_helper(f"mechanism {mechanism:x}", pid)
                    control.next()
                control.go()
            self.assertEqual(job.stdout.readline(), b"resealed token\n")
            self.assert_not_in_helper("the job is over", pid)
            job.stdin.close()
            self.assertEqual(job.wait(60), 0)
        finally:
            job.kill()
            job.wait()
            job.stdout.close()
        opened = subprocess.run(
            ["openssl", "cms", "-decrypt", "-inform", "DER", "-in", f"{self.stage.folder}/job.cms",
             "-recip", self.device.certificate, "-inkey", self.device.key],
            capture_output=True, check=True).stdout
        self.assertEqual(opened, b"<before>" * 50 + self.PASSWORD.encode() + b"<behind>" * 50)

    def start_job(self, prefix, suffix):
        folder = self.stage.folder
        sealed = seal(self.stage.public_keys["sealing"], self.PASSWORD.encode(), "oaepSha512")
        for name, content in (("sealed", sealed), ("certificate", self.device.der),
                              ("prefix", prefix), ("suffix", suffix)):
            with open(f"{folder}/job.{name}", "wb") as out:
                out.write(content)
        files = [part for name in ("sealed", "certificate", "prefix", "suffix")
                 for part in (f"--{name}", f"{folder}/job.{name}")]
        return subprocess.Popen(
            [f"{TESTS}/helper_job", "--helper", f"{BIN}/reseal-hsm", "--config",
             self.connector.config, "--key", "sealing", "--padding", "oaepSha512", "--out",
             f"{folder}/job.cms", *files],
            env=self.stage.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL)


class CanaryInHost(Held, test_canary.Canary if LONG else test_canary.CanaryStage, StageTest):
    """Custody host of a token in another process: the password is in reseal-hsm's memory for
    secrets, and there alone, as long as it is in hand."""
    kind, stage_class = "nss", RemoteStage

    more = {"custody": "host"}

    def test_the_password_is_in_memory_for_secrets_alone_while_it_is_in_hand(self):
        self.assert_nowhere("before a job")
        with self.stage.server.control() as control:
            control.hold("C_Decrypt", returned=True)
            delivery = self.stage.api.deliver(self.good, self.device)
            self.held(control, "C_Decrypt", 2**64 - 1)
            found = self.hits(self.helper)[self.PASSWORD]
            self.assertTrue(found, "the helper has it: the search finds it")
            self.assertEqual([hit for hit in found if not hit[0].for_secrets()], [])
            for pid in (self.connector.pid, self.stage.hub.pid):
                self.assertEqual(self.hits(pid)[self.PASSWORD], [])
            control.go()
        outcome = self.stage.api.outcome(delivery)
        self.opens(self.device, outcome, self.PASSWORD.encode())
        self.assert_nowhere("the job is over")
        self.work(20)
        self.assert_nowhere("many jobs are over")


if __name__ == "__main__":
    unittest.main()
