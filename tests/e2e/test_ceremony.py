# SPDX-License-Identifier: Apache-2.0
"""Key ceremonies on real tokens: what is made, what is refused, and what the record says."""
import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from ceremony_support import (BEGUN, DESTROYED, MADE, PADDINGS, STEPS, CeremonyTest,  # noqa: E402
                              answer, file_sha256, reseal_on_terminal, steps, the)
from token_support import BIN, write_secret  # noqa: E402


class Held(CeremonyTest):
    def check_public_key(self, bits, fingerprint):
        der = subprocess.run(["openssl", "pkey", "-pubin", "-in", f"{self.folder}/plan.pem",
                              "-outform", "DER"], check=True, capture_output=True).stdout
        self.assertEqual(hashlib.sha256(der).hexdigest(), fingerprint)
        modulus = subprocess.run(["openssl", "rsa", "-pubin", "-in", f"{self.folder}/plan.pem",
                                  "-noout", "-modulus"], check=True, capture_output=True,
                                 text=True).stdout.strip().split("=")[1]
        self.assertEqual(len(modulus) * 4, bits)
        with open(f"{self.folder}/plan.cng", "rb") as file:
            blob = file.read()
        header = [int.from_bytes(blob[i:i + 4], "little") for i in range(4, 24, 4)]
        self.assertEqual(blob[:4], b"RSA1")
        self.assertEqual(header, [bits, 3, bits // 8, 0, 0])
        self.assertEqual(blob[24:27], b"\x01\x00\x01")
        self.assertEqual(blob[27:].hex().upper(), modulus)

    def check_accepted(self, token, summary, bits, custody):
        lines, head = self.transcript()
        self.assertEqual(steps(lines), STEPS)
        self.assertEqual(summary["outcome"], "accepted")
        self.assertEqual(summary["transcript"]["head"], head)
        first, proof = lines[0], the(lines, "proof")
        self.assertEqual(first["plan"]["sha256"], file_sha256(f"{self.folder}/plan.ini"))
        with open(f"{self.folder}/plan.ini") as file:
            self.assertEqual(first["plan"]["text"], file.read())
        self.assertEqual(first["module"]["sha256"], file_sha256(first["module"]["path"]))
        self.assertEqual(first["tool"]["sha256"], file_sha256(f"{BIN}/reseal"))
        self.assertEqual(first["token"]["label"], token.label)
        self.assertTrue(all(check["ok"] for check in the(lines, "read-back")["attributes"]))
        self.assertTrue(the(lines, "unreadable")["ckRv"].startswith("CKR_"), lines)
        announced, made = the(lines, "generate", "announced"), the(lines, "generate")
        self.assertEqual(announced["id"], made["id"])
        self.assertEqual(len(made["id"]), 40)
        self.assertEqual(answer(the(lines, "login")), ("C_Login", "CKR_OK"))
        self.assertEqual(answer(made), ("C_GenerateKeyPair(CKM_RSA_PKCS_KEY_PAIR_GEN)", "CKR_OK"))
        self.assertEqual([(p["padding"], p["custody"]) for p in proof["paddings"]],
                         [(padding, custody) for padding in PADDINGS])
        for padding in proof["paddings"]:
            other = padding["otherDirection"]
            self.assertTrue(other["refused"] and other["ckRv"].startswith("CKR_"), other)
            if custody == "token":
                self.assertEqual(padding["secretCkRv"], "CKR_ATTRIBUTE_SENSITIVE")
        self.assertEqual(the(lines, "public-key", "announced")["files"],
                         the(lines, "public-key")["files"])
        self.assertEqual({f["sha256"] for f in the(lines, "public-key")["files"]},
                         {file_sha256(path) for path in self.outputs()[:2]})
        words = the(lines, "fingerprint")["words"].split()
        self.assertEqual(len(words), 64)
        self.check_public_key(bits, summary["key"]["spkiSha256"])
        key, = self.keys(token)
        self.assertEqual((key["label"], key["id"]), ("sealing", made["id"]))
        self.assertEqual(key["fingerprint"], summary["key"]["spkiSha256"])
        self.assertTrue(key["private"] and key["public"])

    def run_accepted(self, token, bits, custody):
        plan = self.plan(token, key=f"bits = {bits}\ncustody = {custody}\n")
        done = self.succeeds("ceremony", "run", plan, "--yes", "--json", env=token.env)
        self.check_accepted(token, json.loads(done.stdout), bits, custody)
        for number in range(1, 13):
            self.assertIn(f"{number:2}/12  ", done.stderr)
        self.assertEqual(self.findings()["state"], "accepted")

    def refused_without_trace(self, token, status, plan, *named, name="plan"):
        before = self.keys(token)
        done = self.fails(status, "ceremony", "run", plan, "--yes", env=token.env)
        for text in named:
            self.assertIn(text, done.stderr)
        self.assertEqual(self.keys(token), before)
        for path in self.outputs(name):
            self.assertFalse(os.path.exists(path), path)


class Accepted(Held):
    def test_host_custody_on_softhsm_2048(self):
        self.run_accepted(self.softhsm(), 2048, "host")

    def test_host_custody_on_softhsm_3072(self):
        token = self.softhsm()
        self.run_accepted(token, 3072, "host")
        seen = subprocess.run(["pkcs11-tool", "--module", token.module, "--token-label",
                               token.label, "--login", "--pin", token.pin, "-O", "--type",
                               "privkey"], env=token.env, text=True, capture_output=True).stdout
        access = seen.split("Access:")[1].splitlines()[0]
        for word in ("sensitive", "always sensitive", "never extractable", "local"):
            self.assertIn(word, access)
        self.assertEqual(seen.split("Usage:")[1].splitlines()[0].strip(), "decrypt")

    def test_token_custody_on_nss_2048(self):
        self.run_accepted(self.nss(), 2048, "token")

    def test_token_custody_on_nss_4096(self):
        self.run_accepted(self.nss(), 4096, "token")

    def test_host_custody_on_opencryptoki_3072(self):
        self.run_accepted(self.opencryptoki(), 3072, "host")

    def test_host_custody_on_nss_where_only_that_is_planned(self):
        self.run_accepted(self.nss(), 3072, "host")

    def test_the_pin_from_a_descriptor_and_from_a_credential_of_systemd(self):
        token = self.softhsm()
        for source in ("fd", "credential"):
            plan = self.plan(token, name=source, label=source, key="bits = 2048\ncustody = host\n"
                             "padding = oaepSha512\n")
            with open(token.pin_file) as pin:
                where = f"fd:{pin.fileno()}" if source == "fd" else "credential:pin"
                env = dict(token.env, CREDENTIALS_DIRECTORY=os.path.dirname(token.pin_file))
                self.succeeds("ceremony", "run", plan, "--yes", "--pin", where, env=env,
                              pass_fds=[pin.fileno()])
            self.transcript(source)
            self.assertEqual(self.findings(source)["state"], "accepted")

    def test_a_uri_names_the_token_as_well(self):
        token = self.softhsm()
        uri = (f"pkcs11:token={token.label};manufacturer=SoftHSM%20project"
               f"?module-path={token.module}")
        plan = self.write("plan.ini", f"[ceremony]\nname = by URI\nallow_yes = yes\n[token]\nuri = {uri}\n"
                          f"pin = file:{token.pin_file}\n[key]\nlabel = sealing\nbits = 2048\n"
                          "custody = host\n[output]\npublic_key = plan.pem\n"
                          "transcript = plan.jsonl\n")
        self.succeeds("ceremony", "run", plan, "--yes", env=token.env)
        lines, _ = self.transcript()
        wanted = {check["name"]: check["wanted"] for check in lines[0]["compared"]}
        self.assertEqual(wanted["manufacturer"], "SoftHSM project")
        self.assertEqual(self.findings()["state"], "accepted")
        listed = self.succeeds("token", "list", "--uri", uri, "--json", env=token.env)
        self.assertIn(token.label, listed.stdout)

    def test_the_words_for_the_configuration_lead_to_a_working_probe(self):
        token = self.softhsm()
        plan = self.plan(token, key="bits = 2048\ncustody = host\npadding = oaepSha512\n")
        done = self.succeeds("ceremony", "run", plan, "--yes", env=token.env)
        config = self.write("reseal.conf", done.stdout)
        probe = self.succeeds("token", "probe", "--config", config, "--json", env=token.env)
        key, = json.loads(probe.stdout)["keys"]
        self.assertEqual(key["name"], "sealing")
        self.assertEqual({p["custody"] for p in key["paddings"]}, {"host"})
        shown = self.succeeds("token", "probe", "--config", config, env=token.env).stdout
        self.assertIn("oaepSha384", shown)

    def test_export_gives_what_the_ceremony_wrote(self):
        token = self.softhsm()
        plan = self.plan(token, key="bits = 2048\ncustody = host\n")
        self.succeeds("ceremony", "run", plan, "--yes", env=token.env)
        pem = self.succeeds("key", "export", "sealing", *token.options(pin=False), env=token.env)
        with open(f"{self.folder}/plan.pem") as file:
            self.assertEqual(pem.stdout, file.read())
        out = f"{self.folder}/exported.cng"
        export = ["key", "export", "sealing", "--format", "cng", "--out", out,
                  *token.options(pin=False)]
        self.succeeds(*export, env=token.env)
        self.assertEqual(file_sha256(out), file_sha256(f"{self.folder}/plan.cng"))
        self.assertIn("exists already", self.fails(1, *export, env=token.env).stderr)
        self.assertIn("other", self.fails(4, "key", "export", "other", *token.options(pin=False),
                                          env=token.env).stderr)


class Refused(Held):
    def test_a_label_that_exists_and_nothing_changes(self):
        token = self.softhsm()
        key = "bits = 2048\ncustody = host\n"
        self.succeeds("ceremony", "run", self.plan(token, key=key), "--yes", env=token.env)
        again = self.plan(token, name="again", key=key)
        self.refused_without_trace(token, 1, again, "sealing", "already", name="again")

    def test_a_label_that_only_a_private_object_has(self):
        token = self.softhsm()
        subprocess.run(["pkcs11-tool", "--module", token.module, "--token-label", token.label,
                        "--login", "--pin", token.pin, "--keygen", "--key-type", "AES:32",
                        "--private", "--label", "sealing"], env=token.env, check=True, capture_output=True)
        plan = self.plan(token, key="bits = 2048\ncustody = host\n")
        done = self.fails(1, "ceremony", "run", plan, "--yes", env=token.env)
        self.assertIn("already", done.stderr)
        self.assertEqual(self.keys(token), [])
        lines, _ = self.transcript()
        self.assertEqual(steps(lines), [("open", "done"), ("login", "failed")])
        self.assertEqual(lines[1]["error"]["kind"], "exists")

    def test_an_output_that_exists_before_the_token_is_touched(self):
        token = self.softhsm()
        token.module = f"{self.folder}/no-such-module.so"
        for path in self.outputs():
            with open(path, "w") as file:
                file.write("old")
            plan = self.plan(token, key="bits = 2048\ncustody = host\n")
            done = self.fails(1, "ceremony", "run", plan, "--yes", env=token.env)
            self.assertIn(os.path.basename(path), done.stderr)
            self.assertIn("exists", done.stderr)
            with open(path) as file:
                self.assertEqual(file.read(), "old")
            os.unlink(path)

    def test_an_unknown_key_of_the_plan_with_file_and_line(self):
        token = self.softhsm()
        plan = self.plan(token, key="costody = host\n")
        self.refused_without_trace(token, 2, plan, "plan.ini:12", "did you mean \"custody\"?")

    def test_another_token_than_planned(self):
        token = self.softhsm()
        for line, named in (("model = SoftHSM v9\n", "SoftHSM v9"),
                            ("manufacturer = Acme\n", "Acme"), ("firmware = 9.9\n", "9.9"),
                            ("serial = 00000000\n", "00000000")):
            plan = self.plan(token, key="bits = 2048\ncustody = host\n", more_token=line)
            done = self.reseal("ceremony", "run", plan, "--yes", env=token.env)
            self.assertIn(done.returncode, (3, 4), done.stderr)
            self.assertIn(named, done.stderr)
            self.assertFalse(any(os.path.exists(path) for path in self.outputs()))
        self.assertEqual(self.keys(token), [])

    def test_custody_token_on_a_token_that_cannot(self):
        token = self.softhsm()
        version = subprocess.run(["softhsm2-util", "--version"], text=True,
                                 capture_output=True).stdout.strip()
        if version != "2.6.1":
            self.skipTest(f"SoftHSM {version} may be able to do it")
        self.key_is_destroyed_for(token, "C_UnwrapKey(CKM_RSA_PKCS_OAEP)", "CKR_ARGUMENTS_BAD")

    def test_a_token_that_shows_unwrapped_secrets_gets_no_key_for_custody_token(self):
        self.key_is_destroyed_for(self.opencryptoki(), "C_GetAttributeValue(CKA_VALUE)", "CKR_OK")

    def key_is_destroyed_for(self, token, call, ck_rv):
        plan = self.plan(token, key="bits = 2048\ncustody = token\n")
        done = self.fails(1, "ceremony", "run", plan, "--yes", env=token.env)
        self.assertIn(f"{call} answered {ck_rv}", done.stderr)
        self.assertEqual(self.keys(token), [])
        lines, _ = self.transcript()
        self.assertEqual(steps(lines), MADE + [("proof", "failed")] + DESTROYED)
        proof = the(lines, "proof", "failed")
        self.assertEqual(proof["paddings"][0]["call"], call)
        self.assertEqual(proof["paddings"][0]["ckRv"], ck_rv)
        self.assertFalse(os.path.exists(f"{self.folder}/plan.pem"))

    def test_a_wrong_pin_once_and_no_second_try(self):
        token = self.softhsm()
        write_secret(f"{self.folder}/wrong", "00112233")
        plan = self.plan(token, key="bits = 2048\ncustody = host\n")
        wrong = ("--pin", f"file:{self.folder}/wrong")
        done = self.fails(4, "ceremony", "run", plan, "--yes", *wrong, env=token.env)
        self.assertIn("correct the PIN where it is read from", done.stderr)
        self.assertNotIn("reseald", done.stderr)
        lines, _ = self.transcript()
        self.assertEqual(steps(lines), [("open", "done"), ("login", "failed")])
        self.assertEqual(lines[1]["error"]["kind"], "pin")
        self.assertNotIn("00112233", json.dumps(lines))
        done = self.fails(4, "ceremony", "run", plan, "--yes", *wrong, env=token.env)
        lines, _ = self.transcript()
        self.assertIn("wrong PIN", lines[2]["pinStateBefore"])
        self.assertIn("was not tried", lines[2]["error"]["text"])
        self.assertIn("PIN", done.stderr)

    def test_a_pin_file_that_is_missing_or_open_to_all(self):
        token = self.softhsm()
        plan = self.plan(token, key="bits = 2048\ncustody = host\n")
        os.chmod(token.pin_file, 0o644)
        self.fails(3, "ceremony", "run", plan, "--yes", env=token.env)
        os.unlink(token.pin_file)
        self.fails(1, "ceremony", "run", plan, "--yes", env=token.env)
        self.assertFalse(any(os.path.exists(path) for path in self.outputs()))

    def test_a_record_that_cannot_be_written_costs_the_key_and_never_the_chain(self):
        token = self.softhsm()
        plan = self.plan(token, key="bits = 2048\ncustody = host\n")
        ended = set()
        for limit in range(500, 20000, 500):
            def small_files(size=limit):
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
            done = self.reseal("ceremony", "run", plan, "--yes", env=token.env,
                               preexec_fn=small_files)
            lines, _ = self.transcript()
            if done.returncode == 0:
                self.assertEqual(steps(lines), STEPS)
                break
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertEqual(self.keys(token), [])
            self.assertEqual([os.path.exists(path) for path in self.outputs()],
                             [False, False, True])
            ended.update(line["step"] for line in lines)
            os.unlink(f"{self.folder}/plan.jsonl")
        self.assertTrue({"generate", "proof", "destroy", "close"} <= ended, ended)

    def test_no_terminal_and_no_yes(self):
        token = self.softhsm()
        plan = self.plan(token, key="bits = 2048\ncustody = host\n")
        done = self.fails(2, "ceremony", "run", plan, env=token.env)
        self.assertIn("--yes", done.stderr)
        self.assertFalse(any(os.path.exists(path) for path in self.outputs()))


class OnATerminal(Held):
    def start(self, token, plan, *more):
        return reseal_on_terminal(token.env, "ceremony", "run", plan, *more)

    def test_only_a_typed_yes_with_a_capital_confirms(self):
        token = self.softhsm()
        for typed in ("yes", "Y", "", "Yes please"):
            plan = self.plan(token, key="bits = 2048\ncustody = host\n")
            terminal = self.start(token, plan)
            terminal.read_until("Type Yes")
            terminal.type(typed + "\n")
            self.assertEqual(terminal.end(), 3, terminal.seen)
            lines, _ = self.transcript()
            self.assertEqual(steps(lines), BEGUN[:2] + [("confirm", "failed")])
            os.unlink(f"{self.folder}/plan.jsonl")
        self.assertEqual(self.keys(token), [])
        terminal = self.start(token, self.plan(token, key="bits = 2048\ncustody = host\n"))
        terminal.read_until("Type Yes")
        terminal.type("Yes\n")
        for step in ("7/12", "9/12", "11/12"):
            terminal.read_until(step)
            terminal.read_until("Press Enter")
            terminal.seen = terminal.seen.split("Press Enter", 1)[1]
            terminal.type("\n")
        self.assertEqual(terminal.end(), 0, terminal.seen)
        lines, _ = self.transcript()
        self.assertIn("terminal", the(lines, "confirm")["by"])

    def test_the_pin_is_asked_for_without_echo(self):
        token = self.softhsm()
        plan = self.plan(token, key="bits = 2048\ncustody = host\n")
        terminal = self.start(token, plan, "--pin", "prompt", "--yes")
        terminal.read_until("PIN of the token:")
        terminal.type(token.pin + "\n")
        self.assertEqual(terminal.end(), 0, terminal.seen)
        self.keeps_secrets(terminal.seen)

    def test_a_signal_at_the_question_ends_the_ceremony_and_is_recorded(self):
        token = self.softhsm()
        terminal = self.start(token, self.plan(token, key="bits = 2048\ncustody = host\n"))
        terminal.read_until("Type Yes")
        terminal.type("\x03")
        self.assertEqual(terminal.end(), 1, terminal.seen)
        lines, _ = self.transcript()
        self.assertIn("interrupted", the(lines, "confirm", "failed")["error"]["text"])
        self.assertEqual(self.keys(token), [])


class Interrupted(Held):
    def interrupt(self, token, number, key, step):
        plan = self.plan(token, key=key)
        process = subprocess.Popen([f"{BIN}/reseal", "ceremony", "run", plan, "--yes"],
                                   env=token.env, stdin=subprocess.DEVNULL, text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for line in process.stderr:
            if line.startswith(step):
                process.send_signal(number)
                break
        _, rest = process.communicate(timeout=300)
        self.assertEqual(process.returncode, 1, rest)
        self.assertIn("interrupted", rest)
        self.assertEqual(self.keys(token), [])
        lines, _ = self.transcript()
        self.assertEqual(steps(lines[-3:]), DESTROYED)
        for path in self.outputs()[:2]:
            self.assertFalse(os.path.exists(path))

    def test_a_signal_while_the_key_is_made_destroys_it(self):
        self.interrupt(self.softhsm(), signal.SIGTERM, "bits = 4096\ncustody = host\n", " 6/12")

    def test_a_signal_while_the_key_is_proved_destroys_it(self):
        self.interrupt(self.nss(), signal.SIGINT, "bits = 4096\ncustody = token\n", " 9/12")


if __name__ == "__main__":
    unittest.main()
