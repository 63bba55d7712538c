# SPDX-License-Identifier: Apache-2.0
"""Ceremonies that are cut off, and tokens that lie: no key stays that its record does not tell of."""
import os
import re
import signal
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from ceremony_support import BEGUN, CeremonyTest, answer, reseal_on_terminal, steps, the  # noqa: E402
from fault_support import MODULE  # noqa: E402
from token_support import BIN, Token, find_nss  # noqa: E402

LONG = "RESEAL_LONG" in os.environ
KEY = "bits = 2048\ncustody = host\npadding = oaepSha512\n"
DIED = 77  # FAULT_EXIT
# CKA_PRIVATE_EXPONENT, given to whoever asks.
GIVES_AWAY = ("C_GetAttributeValue * of 0x123 after CKR_OK",
              "C_GetAttributeValue * of 0x123 value 0102")


class CutTest(CeremonyTest):
    def faulty(self, token):
        """The token behind the fault module: self.script() says what it does."""
        self.real, self.path = token.module, f"{self.folder}/fault"
        token.module, token.env = MODULE, dict(token.env, RESEAL_FAULT=self.path)
        self.script()
        return token

    def script(self, *rules):
        with open(f"{self.path}.new", "w") as out:
            out.write("\n".join([f"module {self.real}", *rules, ""]))
        os.rename(f"{self.path}.new", self.path)

    def run_plan(self, token, plan, *more, status=0):
        return self.fails(status, "ceremony", "run", plan, "--yes", *more, env=token.env)

    def one_recorded_key(self, token):
        """What the token has is what the record ends with, and the record verifies."""
        lines, _ = self.transcript()
        self.assertEqual(lines[-1]["step"], "close", steps(lines))
        self.assertEqual(lines[-1]["outcome"], "done")
        key, = self.keys(token)
        self.assertEqual(key["id"], lines[-1]["id"])
        self.assertEqual(key["fingerprint"], lines[-1]["spkiSha256"])
        self.findings()
        return lines


class Killed(CutTest):
    def kill_at(self, token, plan, title):
        process = subprocess.Popen([f"{BIN}/reseal", "ceremony", "run", plan, "--yes"],
                                   env=token.env, stdin=subprocess.DEVNULL, text=True,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for line in process.stderr:
            if line.startswith(title):
                process.kill()
                break
        process.communicate(timeout=300)
        return process.returncode

    def test_kill_9_at_each_step_and_the_next_run_explains_and_ends_it(self):
        numbers = range(1, 13) if LONG else (4, 6, 7, 9, 10, 12)
        for number in numbers:
            with self.subTest(number):
                token = self.softhsm(f"softhsm-{number}")
                plan = self.plan(token, key=KEY)
                status = self.kill_at(token, plan, f"{number:2}/12  ")
                cut = os.path.exists(f"{self.folder}/plan.jsonl")
                over = cut and steps(self.transcript()[0])[-1:] == [("close", "done")]
                if status == 0 or over:  # it was faster
                    self.one_recorded_key(token)
                else:
                    self.assertEqual(status, -signal.SIGKILL)
                    done = self.run_plan(token, plan)
                    if cut:
                        self.assertRegex(done.stderr, "was cut off at .*\n.*\n.*it (RESUMES|UNDOES)")
                    lines = self.one_recorded_key(token)
                    self.assertEqual(("resume", "done") in steps(lines), cut)
                for path in [*self.outputs(), token.pin_file]:
                    os.unlink(path)

    def die(self, *rules, said, again=(), resumed=0, token=None):
        """The program dies in the middle of a call; the next one finds that and goes on."""
        token = self.faulty(token or self.softhsm())
        plan = self.plan(token, key=KEY)
        self.script(*rules)
        self.run_plan(token, plan, status=DIED)
        for rule in again:
            self.script(rule)
            self.run_plan(token, plan, status=DIED)
        self.script()
        done = self.run_plan(token, plan)
        self.assertRegex(done.stderr, said)
        lines = self.one_recorded_key(token)
        self.assertEqual(steps(lines).count(("resume", "done")), resumed or 1)
        return lines

    def test_a_ceremony_that_another_process_has_ended_meanwhile_is_left_alone(self):
        token = self.softhsm()
        plan, pin = self.plan(token, key=KEY), f"{self.folder}/pipe"
        os.mkfifo(pin, 0o600)

        def clear():
            self.succeeds("key", "destroy", f"{self.folder}/plan.jsonl", "--yes", "--force",
                          *token.options(), env=token.env)
            for path in self.outputs():
                os.unlink(path)
        self.run_plan(token, plan)
        with open(f"{self.folder}/plan.jsonl", "rb") as file:
            begun = file.readline()
        clear()
        for more in ([], ["--abandon"]):
            with self.subTest(more):
                with open(f"{self.folder}/plan.jsonl", "wb") as file:
                    file.write(begun)
                process = subprocess.Popen([f"{BIN}/reseal", "ceremony", "run", plan, "--yes", "--pin",
                                            f"file:{pin}", *more], env=token.env, text=True,
                                           stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
                with open(pin, "w") as out:  # opened when it has looked at the record
                    self.run_plan(token, plan)
                    out.write(token.pin)
                said = process.communicate(timeout=300)[1]
                self.one_recorded_key(token)
                self.assertIn("was held already", said)
                self.assertEqual(process.returncode, 1, said)
                clear()

    def test_before_the_first_line(self):
        token = self.softhsm()
        plan = self.plan(token, key=KEY)
        self.write("plan.jsonl", "")
        done = self.run_plan(token, plan)
        self.assertIn("cut off before it had begun", done.stderr)
        self.one_recorded_key(token)

    def test_before_the_key_was_made(self):
        lines = self.die("C_GenerateKeyPair 1 die", said="it RESUMES: the key is made now")
        found = the(lines, "resume")
        self.assertEqual((found["lastStep"], found["lastOutcome"]), ("generate", "announced"))
        self.assertEqual((found["privateKeys"], found["publicKeys"]), (0, 0))

    def test_when_the_key_was_made_and_nobody_had_heard_of_it(self):
        lines = self.die("C_GenerateKeyPair 1 die late", said="it UNDOES: the key was not read back")
        found = the(lines, "resume")
        self.assertEqual((found["privateKeys"], found["publicKeys"]), (1, 1))
        destroyed, = [line for line in lines if (line["step"], line["outcome"]) == ("destroy", "done")]
        self.assertEqual(destroyed["id"], found["id"])
        self.assertNotEqual(lines[-1]["id"], found["id"])

    def test_the_same_on_nss_and_on_opencryptoki(self):
        for token in (self.nss(), self.opencryptoki()):
            with self.subTest(token.label):
                # openCryptoki refuses some templates first: so not in the first call, but after
                # the one that made a key.
                lines = self.die("C_GetAttributeValue 1 of CKA_MODULUS die", token=token,
                                 said="it UNDOES: the key was not read back")
                found = the(lines, "resume")
                self.assertEqual((found["privateKeys"], found["publicKeys"]), (1, 1))
                token.close()
                for path in self.outputs():
                    os.unlink(path)

    def test_while_what_was_left_is_destroyed(self):
        lines = self.die("C_GenerateKeyPair 1 die late", again=["C_DestroyObject 1 die late",
                                                                "C_DestroyObject 1 die"],
                         said="0 private, 1 public|1 private, 0 public")  # by the token's order
        self.assertEqual(steps(lines).count(("destroy", "done")), 1)

    def test_when_the_key_was_read_back_it_is_taken_on(self):
        token = self.faulty(self.softhsm())
        plan = self.plan(token, key=KEY)
        self.script("C_Decrypt from 4 die")
        self.run_plan(token, plan, status=DIED)
        self.script()
        done = self.run_plan(token, plan)
        self.assertIn("it RESUMES: the key was read back as planned", done.stderr)
        lines = self.one_recorded_key(token)
        self.assertEqual(steps(lines).count(("generate", "announced")), 1)

    def test_a_key_that_vanished_meanwhile_is_made_anew_and_a_foreign_one_is_refused(self):
        token = self.faulty(self.softhsm())
        plan = self.plan(token, key=KEY)
        self.script("C_Decrypt from 4 die")
        self.run_plan(token, plan, status=DIED)
        lines, _ = self.transcript()
        ident = the(lines, "generate")["id"]
        for kind in ("privkey", "pubkey"):
            subprocess.run(["pkcs11-tool", "--module", self.real, "--token-label", token.label,
                            "--login", "--pin", token.pin, "--delete-object", "--type", kind, "--id",
                            ident], env=token.env, check=True, capture_output=True)
        subprocess.run(["pkcs11-tool", "--module", self.real, "--token-label", token.label, "--login",
                        "--pin", token.pin, "--keypairgen", "--key-type", "rsa:2048", "--label",
                        "sealing", "--id", ident, "--usage-decrypt"], env=token.env, check=True,
                       capture_output=True)
        self.script()
        done = self.run_plan(token, plan, status=3)
        self.assertIn("is not the one that this ceremony has made", done.stderr)

    def test_another_plan_or_another_token_does_not_go_on(self):
        token = self.faulty(self.softhsm())
        plan = self.plan(token, key=KEY)
        self.script("C_GenerateKeyPair 1 die late")
        self.run_plan(token, plan, status=DIED)
        self.script()
        before = self.transcript()
        self.plan(token, key=KEY + "; changed\n")
        done = self.run_plan(token, plan, status=3)
        self.assertIn("had another plan", done.stderr)
        self.plan(token, key=KEY)
        other = self.softhsm("other")
        done = self.fails(3, "ceremony", "run", plan, "--yes",
                          env=dict(token.env, SOFTHSM2_CONF=other.env["SOFTHSM2_CONF"]))
        self.assertIn("another token: its serial", done.stderr)
        self.assertEqual(self.transcript(), before)

    def test_an_unfinished_ceremony_can_be_abandoned(self):
        token = self.faulty(self.softhsm())
        plan = self.plan(token, key=KEY)
        self.fails(1, "ceremony", "run", plan, "--yes", "--abandon", env=token.env)
        self.script("C_Decrypt from 4 die")
        self.run_plan(token, plan, status=DIED)
        self.script()
        self.assertEqual(self.findings(status=3)["state"], "unfinished")
        done = self.fails(3, "ceremony", "verify", f"{self.folder}/plan.jsonl")
        self.assertTrue(done.stdout.startswith("UNFINISHED:"), done.stdout)
        self.run_plan(token, plan, "--abandon")
        self.assertEqual(self.keys(token), [])
        lines, _ = self.transcript()
        self.assertEqual(lines[-1]["step"], "close")
        self.assertIn("abandoned", lines[-1]["error"]["text"])
        done = self.run_plan(token, plan, status=1)
        self.assertIn("was held already (it is failed)", done.stderr)
        self.assertEqual(self.findings()["state"], "failed")

    def test_a_failure_that_was_cut_off_is_ended(self):
        token = self.faulty(self.softhsm())
        plan = self.plan(token, key=KEY)
        self.script(*GIVES_AWAY, "C_DestroyObject 1 die")
        self.run_plan(token, plan, status=DIED)
        lines, _ = self.transcript()
        self.assertEqual(steps(lines)[-2:], [("unreadable", "failed"), ("destroy", "announced")])
        self.script()
        done = self.run_plan(token, plan, status=3)
        self.assertIn("it UNDOES: the ceremony had failed", done.stderr)
        self.assertEqual(self.keys(token), [])
        lines, _ = self.transcript()
        self.assertEqual(steps(lines)[-2:], [("destroy", "done"), ("close", "failed")])

    def kill_before_the_end(self, token, plan):
        """While everybody compares the fingerprint, with all outputs written."""
        terminal = reseal_on_terminal(token.env, "ceremony", "run", plan)
        terminal.answer("Type Yes", "Yes\n")
        for step in (" 7/12", " 9/12", "11/12"):
            terminal.read_until(step)
            terminal.answer("Press Enter", "\n" if step != "11/12" else "")
        terminal.process.kill()
        self.assertEqual(terminal.end(), -signal.SIGKILL)
        self.assertEqual([os.path.exists(path) for path in self.outputs()], [True] * 3)

    def test_outputs_that_were_written_before_are_kept_when_it_goes_on(self):
        token = self.softhsm()
        plan = self.plan(token, key=KEY)
        self.kill_before_the_end(token, plan)
        before = [os.stat(path).st_mtime_ns for path in self.outputs()[:2]]
        done = self.run_plan(token, plan)
        self.assertIn("was written before", done.stderr)
        self.assertEqual([os.stat(path).st_mtime_ns for path in self.outputs()[:2]], before)
        self.one_recorded_key(token)

    def test_outputs_go_with_the_key_when_it_is_abandoned(self):
        token = self.softhsm()
        plan = self.plan(token, key=KEY)
        self.kill_before_the_end(token, plan)
        self.run_plan(token, plan, "--abandon")
        self.assertEqual([os.path.exists(path) for path in self.outputs()], [False, False, True])
        self.assertEqual(self.keys(token), [])

    def test_an_output_that_somebody_changed_meanwhile_is_not_touched(self):
        token = self.softhsm()
        plan = self.plan(token, key=KEY)
        self.kill_before_the_end(token, plan)
        with open(f"{self.folder}/plan.pem", "w") as out:
            out.write("mine")
        done = self.run_plan(token, plan, status=1)
        self.assertIn("plan.pem exists already", done.stderr)
        self.assertEqual(self.keys(token), [])
        with open(f"{self.folder}/plan.pem") as file:
            self.assertEqual(file.read(), "mine")

    def test_a_person_decides_on_what_was_left_and_may_leave_words(self):
        token = self.faulty(self.softhsm())
        plan = self.plan(token, key=KEY)
        self.script("C_GenerateKeyPair 1 die late")
        self.run_plan(token, plan, status=DIED)
        self.script()
        terminal = reseal_on_terminal(token.env, "ceremony", "run", plan)
        terminal.answer("Type Yes", "no\n")
        self.assertEqual(terminal.end(), 3)
        self.assertEqual(len(self.keys(token)), 1)
        terminal = reseal_on_terminal(token.env, "ceremony", "run", plan)
        terminal.answer("Type Yes", "! power failed, key destroyed in front of all\n")
        terminal.answer("Type Yes", "Yes\n")
        terminal.answer("Type Yes", "Yes\n")
        for _ in range(3):
            terminal.answer("Press Enter", "\n")
        self.assertEqual(terminal.end(), 0, terminal.seen)
        lines = self.one_recorded_key(token)
        note = the(lines, "note", "noted")
        self.assertEqual((note["during"], note["words"]),
                         ("resume", "power failed, key destroyed in front of all"))


class Pad(CutTest):
    def test_a_token_with_a_pad_of_its_own_is_not_asked_a_pin_for(self):
        """The fault module gives NSS a pad; NSS without a password takes the login that a pad makes."""
        folder = f"{self.folder}/nss"
        os.makedirs(f"{folder}/db")
        subprocess.run(["certutil", "-N", "-d", f"sql:{folder}/db", "--empty-password"], check=True,
                       capture_output=True)
        args = f"configDir='sql:{folder}/db' certPrefix='' keyPrefix='' secmod='' flags="
        token = self.faulty(Token(find_nss(), "NSS Certificate DB", "no pin at all", "none",
                                  dict(os.environ), args))
        self.script("C_GetTokenInfo * flags CKF_PROTECTED_AUTHENTICATION_PATH")
        plan = self.plan(token, key="bits = 2048\ncustody = token\npadding = oaepSha512\n")
        done = self.run_plan(token, plan, "--pin", "prompt")
        self.assertIn("type the PIN on the pad of the token", done.stderr)
        self.assertEqual(self.transcript()[0][-1]["step"], "close")


class Lies(CutTest):
    def test_a_token_that_lies_in_read_back_is_caught_attribute_by_attribute(self):
        token = self.faulty(self.softhsm())
        plan = self.plan(token, key=KEY)
        rows = [("CKA_SENSITIVE", "00"), ("CKA_EXTRACTABLE", "01"), ("CKA_DECRYPT", "00"),
                ("CKA_LOCAL", "00"), ("CKA_MODULUS", "c0ffee")]
        if LONG:
            rows += [("CKA_ALWAYS_SENSITIVE", "00"), ("CKA_NEVER_EXTRACTABLE", "00"),
                     ("CKA_UNWRAP", "01"), ("CKA_SIGN", "01"), ("CKA_TOKEN", "00"),
                     ("CKA_PRIVATE", "00"), ("CKA_ID", "0102"), ("CKA_PUBLIC_EXPONENT", "03"),
                     ("CKA_KEY_GEN_MECHANISM", "0100000000000000")]
        for attribute, value in rows:
            with self.subTest(attribute):
                rule = f"C_GetAttributeValue * of {attribute} value {value}"
                # What cannot be a public key is found before anything is compared.
                status = 1 if attribute in ("CKA_MODULUS", "CKA_PUBLIC_EXPONENT") else 3
                self.script(rule)
                done = self.reseal("ceremony", "run", plan, "--yes", env=token.env)
                self.script()
                self.assertNotEqual(done.returncode, 0, done.stderr)
                self.assertEqual(self.keys(token), [])
                lines, _ = self.transcript()
                self.assertEqual(steps(lines)[-2:], [("destroy", "done"), ("close", "failed")])
                if status == 3:
                    failed = the(lines, "read-back", "failed")
                    wrong = [check["name"] for check in failed["attributes"] if not check["ok"]]
                    self.assertTrue([name for name in wrong if attribute in name], wrong)
                    self.assertRegex(done.stderr, re.escape(attribute) + ".*WRONG")
                self.assertEqual(self.findings()["state"], "failed")
                os.unlink(f"{self.folder}/plan.jsonl")

    def test_a_token_that_gives_the_private_exponent_away_is_caught(self):
        token = self.faulty(self.softhsm())
        plan = self.plan(token, key=KEY)
        self.script(*GIVES_AWAY)
        done = self.run_plan(token, plan, status=3)
        lines, _ = self.transcript()
        self.assertIn("gives out CKA_PRIVATE_EXPONENT", done.stderr)
        self.assertEqual(the(lines, "unreadable", "failed")["error"]["kind"], "policy")
        self.assertEqual(steps(lines)[-2:], [("destroy", "done"), ("close", "failed")])
        self.script()
        self.assertEqual(self.keys(token), [])

    def test_a_token_that_does_not_destroy_is_told_and_the_next_run_ends_it(self):
        token = self.faulty(self.softhsm())
        plan = self.plan(token, key=KEY)
        self.script(*GIVES_AWAY, "C_DestroyObject * return CKR_DEVICE_ERROR")
        done = self.reseal("ceremony", "run", plan, "--yes", env=token.env)
        self.assertIn("STILL BE ON THE TOKEN", done.stderr)
        lines, _ = self.transcript()
        self.assertEqual(steps(lines)[-1], ("destroy", "failed"))
        self.script()
        self.assertEqual(len(self.keys(token)), 1)
        self.run_plan(token, plan, status=3)
        self.assertEqual(self.keys(token), [])
        lines, _ = self.transcript()
        self.assertEqual(steps(lines)[-2:], [("destroy", "done"), ("close", "failed")])

    def test_before_the_key_a_failure_leaves_the_ceremony_open(self):
        token = self.faulty(self.softhsm())
        plan = self.plan(token, key=KEY)
        self.script("C_GenerateRandom * return CKR_DEVICE_ERROR")
        done = self.run_plan(token, plan, status=4)
        self.assertIn("run the same plan again", done.stderr)
        lines, _ = self.transcript()
        self.assertEqual(steps(lines), BEGUN + [("generate", "failed")])
        self.assertEqual(answer(lines[-1]), ("C_GenerateRandom", "CKR_DEVICE_ERROR"))
        self.script()
        self.run_plan(token, plan)
        self.one_recorded_key(token)


if __name__ == "__main__":
    unittest.main()
