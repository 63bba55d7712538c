# SPDX-License-Identifier: Apache-2.0
"""What is done around a ceremony: plan and checklist, rehearsal, witnesses, commit, the gate."""
import base64
import glob
import json
import os
import shutil
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from ceremony_support import STEPS, CeremonyTest, reseal_on_terminal, steps, the  # noqa: E402
from harness import Stage  # noqa: E402
from token_support import SOFTHSM, find_nss, write_secret  # noqa: E402

SOURCE = os.environ["RESEAL_SOURCE"]
KEY = "bits = 2048\ncustody = host\npadding = oaepSha512\n"
WITNESSES = ("[witness ann]\nname = Ann A.\nkey = ann.pub\n[witness bob]\nname = Bob B.\n"
             "[witness carl]\nname = Carl C.\n")


class RecordTest(CeremonyTest):
    def openssl(self, *args):
        subprocess.run(["openssl", *args], cwd=self.folder, check=True, capture_output=True)

    def private_key(self, name, *kind):
        self.openssl("genpkey", *kind, "-out", f"{name}.key")
        self.openssl("pkey", "-in", f"{name}.key", "-pubout", "-out", f"{name}.pub")
        return f"{self.folder}/{name}.key"

    def held(self, ceremony="", output=""):
        """A ceremony that was held on SoftHSM."""
        token = self.softhsm()
        plan = self.plan(token, key=KEY, ceremony=ceremony, output=output)
        self.succeeds("ceremony", "run", plan, "--yes", env=token.env)
        self.record = f"{self.folder}/plan.jsonl"
        return token

    def sign(self, witness, key, *more, status=0, env=None):
        return self.fails(status, "ceremony", "sign", self.record, "--witness", witness, "--key", key,
                          *more, env=env)

    def commit(self, *more, status=0):
        return self.fails(status, "ceremony", "commit", self.record, "--yes", *more)


class Planned(RecordTest):
    def test_a_plan_is_told_in_words_and_on_paper_and_nothing_changes(self):
        token = self.softhsm()
        plan = self.plan(token, key=KEY, ceremony="signatures = 1\n[witness ann]\nname = Ann | <A>\n")
        paper = {form: f"{self.folder}/list.{form}" for form in ("md", "html")}
        done = self.succeeds("ceremony", "plan", plan, "--checklist", paper["md"], "--print",
                             paper["html"], env=token.env)
        for number in range(1, 13):
            self.assertIn(f"\n{number:2}. ", done.stdout)
        self.assertIn("1 of 1 witnesses sign", done.stdout)
        with open(paper["md"]) as file:
            text = file.read()
        rows = [line for line in text.splitlines() if line.startswith("| ") and "Step " in line]
        self.assertEqual(len(rows), 12)
        self.assertTrue(all(row.endswith("|  |  |") for row in rows), rows)  # initials and time
        self.assertIn("Ann \\| \\<A>", text)
        self.assertIn("## Exceptions", text)
        with open(paper["html"]) as file:
            text = file.read()
        self.assertIn("Ann | &lt;A&gt;", text)
        self.assertIn("<th>initials</th><th>time</th>", text)
        self.assertIn("<h2>Exceptions</h2>", text)
        self.assertEqual(self.keys(token), [])
        self.assertFalse(any(os.path.exists(path) for path in self.outputs()))
        self.fails(1, "ceremony", "plan", plan, "--checklist", paper["md"], env=token.env)

    def test_a_plan_that_does_not_fit_the_token_is_refused_and_offline_it_is_not_looked_at(self):
        token = self.softhsm()
        plan = self.plan(token, key=KEY, more_token="serial = 0000\n")
        self.fails(4, "ceremony", "plan", plan, env=token.env)
        answer = json.loads(self.succeeds("ceremony", "plan", plan, "--offline", "--json").stdout)
        self.assertEqual(answer["outcome"], "checked")

    def test_a_dry_run_does_the_job_and_leaves_nothing(self):
        token = self.nss()
        plan = self.plan(token, key="bits = 2048\ncustody = token\n")
        done = self.succeeds("ceremony", "run", plan, "--dry-run", env=token.env)
        self.assertEqual(done.stderr.count("compared: custody token"), 3)
        self.assertEqual(done.stderr.count("the other direction is refused"), 3)
        self.assertEqual(self.keys(token), [])
        self.assertFalse(any(os.path.exists(path) for path in self.outputs()))
        token = self.softhsm()
        plan = self.plan(token, key="bits = 2048\ncustody = token\n")
        self.fails(1, "ceremony", "run", plan, "--dry-run", env=token.env)
        self.assertEqual(self.keys(token), [])

    def test_yes_only_where_the_plan_allows_it(self):
        token = self.softhsm()
        plan = self.plan(token, key=KEY)
        with open(plan) as file:
            text = file.read()
        self.write("plan.ini", text.replace("allow_yes = yes", "allow_yes = no"))
        done = self.fails(3, "ceremony", "run", plan, "--yes", env=token.env)
        self.assertIn("does not allow --yes", done.stderr)
        self.assertFalse(any(os.path.exists(path) for path in self.outputs()))


class Rehearsed(RecordTest):
    def test_each_sample_plan_is_rehearsed_and_leaves_nothing_behind(self):
        plans = sorted(glob.glob(f"{SOURCE}/hsm/plans/*.ini"))
        self.assertGreaterEqual(len(plans), 3)
        before = set(glob.glob("/tmp/reseal-rehearsal-*"))
        for plan in plans:
            with self.subTest(os.path.basename(plan)):
                shutil.copy(plan, self.folder)
                copy = f"{self.folder}/{os.path.basename(plan)}"
                self.succeeds("ceremony", "plan", copy, "--offline")
                done = self.succeeds("ceremony", "run", copy, "--rehearse", "--yes", "--json")
                answer = json.loads(done.stdout)
                self.assertTrue(answer["rehearsal"])
                self.assertEqual(answer["outcome"], "accepted")
                self.assertIn("12/12", done.stderr)
                self.assertEqual(os.listdir(self.folder), [os.path.basename(plan)])
                os.unlink(copy)
        self.assertEqual(set(glob.glob("/tmp/reseal-rehearsal-*")), before)

    def test_the_sample_for_nss_makes_its_key_on_nss(self):
        token = self.nss()
        with open(f"{SOURCE}/hsm/plans/nss.ini") as file:
            text = file.read()
        text = text.replace("/usr/lib/x86_64-linux-gnu/libsoftokn3.so", find_nss())
        text = text.replace("/var/lib/reseal/nss", f"{self.folder}/nss/db")
        plan = self.write("nss.ini", text)
        self.succeeds("ceremony", "run", plan, "--yes", "--pin", f"file:{token.pin_file}",
                      env=token.env)
        lines, _ = self.transcript("sealing-nss")
        self.assertEqual(steps(lines), STEPS)


class Initialised(RecordTest):
    def test_an_empty_slot_becomes_the_token_of_the_plan_and_the_ceremony_is_held_on_it(self):
        token = self.softhsm()
        token.label = "fresh"
        plan = self.plan(token, key=KEY)
        write_secret(f"{self.folder}/so-pin", "so-pin-of-the-test")
        self.secrets.append("so-pin-of-the-test")
        so_pin = ("--so-pin", f"file:{self.folder}/so-pin")
        done = self.succeeds("ceremony", "init", plan, *so_pin, "--yes", "--json", env=token.env)
        told = json.loads(done.stdout)
        self.assertEqual(told["record"], f"{self.folder}/plan.jsonl.init")
        self.assertEqual(told["label"], "fresh")
        init = json.loads(self.succeeds("ceremony", "show", f"{self.folder}/plan.jsonl.init",
                                        "--json").stdout)["lines"]
        self.assertEqual(steps(init), [("init-token", "announced"), ("init-token", "done")])
        self.assertEqual(init[1]["after"]["serial"], told["serial"])
        self.assertFalse(init[0]["initializedBefore"])
        self.assertEqual(self.findings("plan.jsonl.init", end="")["state"], "initialised")
        with open(f"{self.folder}/plan.jsonl.init") as file:
            self.write("begun.jsonl", file.readline())
        self.assertEqual(self.findings("begun", status=3)["state"], "unfinished")
        self.succeeds("ceremony", "run", plan, "--yes", env=token.env)
        self.assertEqual(len(self.keys(token)), 1)
        # A token in use: --yes is not enough, and only its serial number is.
        os.unlink(f"{self.folder}/plan.jsonl.init")
        again = ("ceremony", "init", plan, *so_pin, "--serial", told["serial"])
        done = self.fails(3, *again, "--yes", env=token.env)
        self.assertRegex(done.stderr, rf'the token "fresh" in slot \d+, serial {told["serial"]}, of manuf')
        terminal = reseal_on_terminal(token.env, *again)
        terminal.answer("Type its serial number", "Yes\n")
        self.assertEqual(terminal.end(), 3, terminal.seen)
        self.assertEqual(len(self.keys(token)), 1)
        terminal = reseal_on_terminal(token.env, *again)
        terminal.answer("Type its serial number", told["serial"] + "\n")
        self.assertEqual(terminal.end(), 0, terminal.seen)
        self.keeps_secrets(terminal.seen)
        self.assertEqual(self.keys(token), [])


class Mistyped(RecordTest):
    def test_after_a_wrong_pin_only_a_person_tries_another(self):
        token = self.softhsm()
        plan = self.plan(token, key=KEY)
        write_secret(f"{self.folder}/wrong", "0000-wrong")
        self.secrets.append("0000-wrong")
        wrong = f"file:{self.folder}/wrong"
        self.fails(4, "ceremony", "run", plan, "--yes", "--pin", wrong, env=token.env)
        refused = self.fails(4, "ceremony", "run", plan, "--yes", env=token.env)
        self.assertIn("reseal token login", refused.stderr)
        login = ("token", "login", *token.options(pin=False))
        self.fails(2, *login, env=token.env)  # no terminal
        self.fails(2, *login, "--pin", f"file:{token.pin_file}", env=token.env)
        terminal = reseal_on_terminal(token.env, *login)
        terminal.answer("Type Yes", "y\n")
        self.assertEqual(terminal.end(), 3, terminal.seen)
        self.fails(4, "ceremony", "run", plan, "--yes", env=token.env)
        for pin, status in (("0000-wrong", 4), (token.pin, 0)):
            terminal = reseal_on_terminal(token.env, *login)
            terminal.read_until("a wrong PIN was tried since the last login")
            terminal.answer("Type Yes", "Yes\n")
            terminal.answer("User PIN of the token: ", f"{pin}\n")
            self.assertEqual(terminal.end(), status, terminal.seen)
            self.assertEqual("run the command again" in terminal.seen, status != 0, terminal.seen)
            self.keeps_secrets(terminal.seen)
        self.assertIn("no failed try is counted", terminal.seen)
        self.succeeds("ceremony", "run", plan, "--yes", env=token.env)
        self.findings()


class Witnessed(RecordTest):
    def test_every_kind_of_key_signs_and_signatures_gate_the_commit(self):
        ann = self.private_key("ann", "-algorithm", "ed25519")
        token = self.held("signatures = 3\n" + WITNESSES)
        bob = self.private_key("bob", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048")
        self.sign("ann", ann)
        self.sign("bob", bob)
        done = self.commit(status=3)
        self.assertIn("3 signatures of witnesses are wanted, and 2 count", done.stderr)
        card = self.softhsm("card", "carl's card")
        subprocess.run(["pkcs11-tool", "--module", SOFTHSM, "--token-label", card.label, "--login",
                        "--pin", card.pin, "--keypairgen", "--key-type", "EC:prime256v1", "--label",
                        "signing", "--id", "09"], env=card.env, check=True, capture_output=True)
        uri = f"pkcs11:token=carl's%20card;object=signing?module-path={SOFTHSM}"
        self.sign("carl", uri, "--pin", f"file:{card.pin_file}", env=card.env)
        algorithms = []
        for name in ("ann", "bob", "carl"):
            with open(f"{self.record}.{name}.sig") as file:
                algorithms.append(json.load(file)["algorithm"])
        self.assertEqual(algorithms, ["ed25519", "rsa-pss-sha256", "ecdsa-sha256"])
        self.fails(3, "ceremony", "commit", self.record, "--yes", "--require-witnesses", "4")
        self.commit()
        lines, _ = self.transcript()
        self.assertEqual(steps(lines), STEPS + [("commit", "announced"), ("commit", "done")])
        self.assertEqual(the(lines, "commit")["counted"], 3)
        answer = self.findings()
        self.assertEqual((answer["state"], answer["signaturesCounted"]), ("committed", 3))
        self.fails(1, "ceremony", "commit", self.record, "--yes")
        self.assertEqual(len(self.keys(token)), 1)

    def test_a_signature_of_rsa_on_a_token_verifies_by_openssl_alone(self):
        self.held("signatures = 1\n[witness ann]\nname = Ann A.\n")
        card = self.softhsm("card", "card")
        subprocess.run(["pkcs11-tool", "--module", SOFTHSM, "--token-label", card.label, "--login",
                        "--pin", card.pin, "--keypairgen", "--key-type", "rsa:2048", "--label",
                        "signing", "--id", "09"], env=card.env, check=True, capture_output=True)
        self.sign("ann", f"pkcs11:token=card;id=%09?module-path={SOFTHSM}", "--pin",
                  f"file:{card.pin_file}", env=card.env)
        with open(f"{self.record}.ann.sig") as file:
            signature = json.load(file)
        self.write("statement", signature["statement"])
        self.write("key.b64", signature["publicKey"] + "\n")
        self.write("sig.b64", signature["signature"] + "\n")
        for name in ("key", "sig"):
            self.openssl("base64", "-d", "-A", "-in", f"{name}.b64", "-out", f"{name}.bin")
        self.openssl("pkey", "-pubin", "-inform", "DER", "-in", "key.bin", "-out", "key.pub")
        self.openssl("dgst", "-sha256", "-sigopt", "rsa_padding_mode:pss", "-sigopt",
                     "rsa_pss_saltlen:digest", "-verify", "key.pub", "-signature", "sig.bin",
                     "statement")
        _, head = self.transcript()
        self.assertIn(f"\nsha256: {head}\n", signature["statement"])

    def test_a_signature_of_ed25519_on_a_token_verifies_by_openssl_alone(self):
        self.held("signatures = 1\n[witness ann]\nname = Ann A.\n")
        card = self.softhsm("card", "card")

        def make(*more):
            subprocess.run(["pkcs11-tool", "--module", SOFTHSM, "--token-label", card.label, "--login",
                            "--pin", card.pin, *more], env=card.env, check=True, capture_output=True)
        for number in ("09", "0a"):
            make("--keypairgen", "--key-type", "EC:edwards25519", "--label", "signing", "--id", number)
        # SoftHSM leaks the name of the curve; it is the suppressed one only where the stack is whole.
        env = dict(card.env, ASAN_OPTIONS=card.env.get("ASAN_OPTIONS", "") + ":fast_unwind_on_malloc=0")
        with_pin = ("--pin", f"file:{card.pin_file}")
        uri = f"pkcs11:token=card;%s?module-path={SOFTHSM}"
        done = self.sign("ann", uri % "object=signing", *with_pin, status=3, env=env)
        self.assertIn("more than one key", done.stderr)
        self.sign("ann", uri % "id=%0b", *with_pin, status=4, env=env)
        self.sign("ann", uri % "id=%09", *with_pin, env=env)
        with open(f"{self.record}.ann.sig") as file:
            signature = json.load(file)
        self.assertEqual(signature["algorithm"], "ed25519")
        self.write("statement", signature["statement"])
        for name in ("publicKey", "signature"):
            with open(f"{self.folder}/{name}", "wb") as file:
                file.write(base64.b64decode(signature[name]))
        self.openssl("pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-inkey", "publicKey", "-rawin",
                     "-in", "statement", "-sigfile", "signature")
        # Without its public half there is nothing to check a signature by.
        make("--delete-object", "--type", "pubkey", "--id", "0a")
        done = self.sign("ann", uri % "id=%0a", *with_pin, status=4, env=env)
        self.assertIn("no public half", done.stderr)
        self.commit()

    def test_signatures_that_do_not_count_are_told_and_do_not_open_the_gate(self):
        self.private_key("ann", "-algorithm", "ed25519")
        self.held("signatures = 1\n" + WITNESSES)
        stranger = self.private_key("stranger", "-algorithm", "ed25519")
        done = self.sign("mallory", stranger)
        self.assertIn("will not count", done.stderr)
        self.commit(status=3)
        self.assertIn("is no witness of the plan", json.dumps(self.findings()))
        os.unlink(f"{self.record}.mallory.sig")
        self.sign("ann", stranger)  # in Ann's name, by another key than the plan has
        self.assertIn("by another key than the plan names", json.dumps(self.findings(status=1)))
        self.commit(status=3)
        os.unlink(f"{self.record}.ann.sig")
        bob = self.private_key("bob", "-algorithm", "ed25519")
        self.sign("bob", bob)
        self.sign("carl", bob)  # one key, two names
        self.assertEqual(self.findings()["signaturesCounted"], 1)
        self.fails(3, "ceremony", "commit", self.record, "--yes", "--require-witnesses", "2")
        self.commit()

    def test_the_password_of_a_key_file_and_what_is_refused(self):
        self.held("signatures = 1\n[witness ann]\nname = Ann A.\n")
        write_secret(f"{self.folder}/password", "key-password-1234")
        self.secrets.append("key-password-1234")
        self.openssl("genpkey", "-algorithm", "ed25519", "-aes256", "-pass", "file:password", "-out",
                     "ann.key")
        key = f"{self.folder}/ann.key"
        write_secret(f"{self.folder}/wrong", "something-else")
        self.sign("ann", key, "--password", f"file:{self.folder}/wrong", status=1)
        self.openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024", "-out",
                     "short.key")
        self.sign("ann", f"{self.folder}/short.key", status=1)
        self.assertFalse(os.path.exists(f"{self.record}.ann.sig"))
        done = self.sign("ann", key, "--password", f"file:{self.folder}/password", "--json")
        told = json.loads(done.stdout)
        self.assertEqual((told["witness"], told["signature"]), ("ann", f"{self.record}.ann.sig"))
        self.assertEqual((told["lines"], told["head"]), (len(self.transcript()[0]), self.transcript()[1]))
        self.sign("ann", key, "--password", f"file:{self.folder}/password", status=1)  # there is one
        with open(self.record, "r+") as file:
            text = file.read()
            file.seek(0)
            file.write(text.replace('"place":"test"', '"place":"home"', 1))
        done = self.sign("bob", key, "--password", f"file:{self.folder}/password", status=3)
        self.assertIn("nothing was signed", done.stderr)


class Committed(RecordTest):
    def test_a_commit_that_was_cut_off_is_done_by_the_next(self):
        self.held()
        self.commit()
        with open(self.record, "rb") as file:
            whole = file.read()
        announced = whole[:whole[:-1].rindex(b"\n") + 1]
        descriptor = f"{self.folder}/plan.pem.descriptor"
        with open(descriptor) as file:
            text = file.read()
        for left in (text, None):
            with open(self.record, "wb") as out:
                out.write(announced)
            if left is None:
                os.unlink(descriptor)
            self.commit()
            with open(descriptor) as file:
                self.assertEqual(file.read(), text)
            self.assertEqual(self.findings()["state"], "committed")
        with open(self.record, "wb") as out:
            out.write(announced)
        with open(descriptor, "w") as out:
            out.write(text.replace("signatures = 0", "signatures = 9"))
        self.commit(status=1)

    def test_words_are_added_at_any_time_and_shown(self):
        token = self.held()
        self.succeeds("ceremony", "note", self.record, "--text", "The lights went out for a minute.")
        self.commit()
        done = self.succeeds("ceremony", "note", self.record, "--text", "And came back.", "--json")
        lines, head = self.transcript()
        self.assertEqual(json.loads(done.stdout), {"head": head})
        self.assertEqual(lines[-1]["words"], "And came back.")
        # The record is looked at first: nobody types in vain.
        done = self.reseal("ceremony", "note", f"{self.folder}/none")
        self.assertEqual(done.returncode, 1)
        self.assertIn("cannot open", done.stderr)
        subprocess_input = self.fails(2, "ceremony", "note", self.record, "--txt", "x")
        self.assertIn("--text", subprocess_input.stderr)
        shown = self.succeeds("ceremony", "show", self.record).stdout
        self.assertIn("The lights went out for a minute.", shown)
        self.assertIn('Ceremony "rehearsal": committed', shown)
        self.assertIn("CKA_SENSITIVE", shown)
        self.assertIn("    [token]\n", shown)  # the plan's text
        self.keeps_secrets(shown)
        self.findings()
        self.assertEqual(len(self.keys(token)), 1)

    def test_only_a_typed_yes_commits_where_the_plan_wants_a_person(self):
        token = self.softhsm()
        plan = self.plan(token, key=KEY)
        self.succeeds("ceremony", "run", plan, "--yes", env=token.env)
        record = f"{self.folder}/plan.jsonl"
        terminal = reseal_on_terminal(token.env, "ceremony", "commit", record)
        terminal.answer("Type Yes", "yes\n")
        self.assertEqual(terminal.end(), 3, terminal.seen)
        self.assertFalse(os.path.exists(f"{self.folder}/plan.pem.descriptor"))
        terminal = reseal_on_terminal(token.env, "ceremony", "commit", record)
        terminal.answer("Type Yes", "Yes\n")
        self.assertEqual(terminal.end(), 0, terminal.seen)
        self.findings()

    def test_what_must_not_be_committed_is_not(self):
        token = self.softhsm()
        plan = self.plan(token, key=KEY, more_token="[backup]\nrule = transport\ntransport_key = b\n")
        self.succeeds("ceremony", "run", plan, "--yes", env=token.env)
        self.record = f"{self.folder}/plan.jsonl"
        done = self.commit(status=3)
        self.assertIn("no replica", done.stderr)
        with open(f"{self.folder}/plan.pem", "a") as out:
            out.write("\n")
        done = self.commit(status=3)
        self.assertIn("does not verify", done.stderr)
        self.fails(1, "ceremony", "commit", f"{self.folder}/absent")

    def test_a_connector_refuses_a_key_until_it_is_committed(self):
        stage = Stage("softhsm", keys={"sealing": 2048})
        self.addCleanup(stage.close)
        descriptor = f"{stage.folder}/sealing.pem.descriptor"
        with self.subTest("without a descriptor"):
            daemon = stage.connector("early", ready=False, token={"descriptor": None})
            failed = daemon.wait_event(lambda event: "not committed" in json.dumps(event))
            self.assertIn("sealing", json.dumps(failed))
        with self.subTest("with the descriptor of another key"):
            with open(descriptor) as file:
                text = file.read()
            line = [row for row in text.splitlines() if row.startswith("public_key_sha256")][0]
            other = f"{stage.folder}/other.descriptor"
            with open(other, "w") as out:
                out.write(text.replace(line, "public_key_sha256 = " + "0" * 64))
            daemon = stage.connector("other", ready=False, token={"descriptor": other})
            daemon.wait_event(lambda event: "not committed" in json.dumps(event))
        with self.subTest("with its own"):
            stage.connector("late")


if __name__ == "__main__":
    unittest.main()
