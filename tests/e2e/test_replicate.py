# SPDX-License-Identifier: Apache-2.0
"""`reseal ceremony replicate`: a key goes to a second token before it may be used, as its plan says."""
import json
import os
import secrets
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from test_ceremony_forged import sealed  # noqa: E402
from token_support import TokenTest, find_nss, make_nss, write_secret  # noqa: E402


class Replicate(TokenTest):
    def setUp(self):
        super().setUp()
        self.env = dict(os.environ, NSS_MAX_MP_PBE_ITERATION_COUNT="1",
                        SOFTHSM2_CONF=f"{self.folder}/softhsm2.conf")
        os.mkdir(f"{self.folder}/tokens")
        self.write("softhsm2.conf", f"directories.tokendir = {self.folder}/tokens\n"
                                    "objectstore.backend = file\nlog.level = ERROR\n")
        self.sections = {name: self.softhsm_section(name) for name in ("first", "second")}

    def softhsm_section(self, name):
        pin, so_pin = secrets.token_hex(8), secrets.token_hex(8)
        self.secrets += [pin, so_pin]
        subprocess.run(["softhsm2-util", "--init-token", "--free", "--label", name, "--so-pin",
                        so_pin, "--pin", pin], env=self.env, check=True, stdout=subprocess.DEVNULL)
        write_secret(f"{self.folder}/{name}.pin", pin + "\n")
        write_secret(f"{self.folder}/{name}.so", so_pin + "\n")
        return (f"module = /usr/lib/softhsm/libsofthsm2.so\nlabel = {name}\n"
                f"pin = file:{self.folder}/{name}.pin\n")

    def configure(self):
        return self.write("reseal.conf", "".join(
            f"[token {name}]\n{section}" for name, section in self.sections.items()))

    def plan(self, backup, custody="host", bits=2048):
        return self.write("plan", f"""
[ceremony]
name = replication
allow_yes = yes
[token]
{self.sections["first"]}
[key]
label = shared
bits = {bits}
custody = {custody}
[backup]
{backup}
[output]
public_key = {self.folder}/shared.pem
transcript = {self.folder}/shared.jsonl
""")

    @property
    def transcript(self):
        return f"{self.folder}/shared.jsonl"

    def run_reseal(self, *arguments, code=0):
        done = self.reseal(*arguments, env=self.env)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done

    def replicate(self, to, transport, *more, code=0):
        done = self.run_reseal("ceremony", "replicate", self.transcript, "--token", "first", "--to",
                               to, "--transport", transport, "--yes", "--json", "--config",
                               self.config, *more, code=code)
        return json.loads(done.stdout) if code == 0 else done.stderr

    def lines(self):
        with open(self.transcript) as file:
            return [json.loads(line) for line in file]

    def custody_on(self, name):
        done = self.run_reseal("token", "probe", "--token", name, "--config", self.config, "--json",
                               "--key", "shared")
        return json.loads(done.stdout)

    def hold(self, backup, **more):
        self.config = self.configure()
        self.run_reseal("ceremony", "run", self.plan(backup, **more), "--yes")

    def fingerprint_on(self, name):
        done = self.run_reseal("key", "list", "--token", name, "--config", self.config, "--json")
        return {(key["label"], key["fingerprint"]) for key in json.loads(done.stdout)["keys"]}

    def test_a_key_is_not_committed_before_it_is_replicated(self):
        self.hold("rule = transport\ntransport_key = to-second")
        refused = self.run_reseal("ceremony", "commit", self.transcript, "--yes", code=3)
        self.assertIn("replicated", refused.stderr)
        self.assertIn("does not name a transport key",
                      self.replicate("second", "another", code=3))
        self.assertIn("both are one token", self.replicate("first", "to-second", code=2))
        told = self.replicate("second", "to-second")
        self.assertEqual((told["done"], told["wanted"], told["shut"], told["confined"]),
                         (1, 1, True, True))
        shared = {entry for entry in self.fingerprint_on("first") if entry[0] == "shared"}
        self.assertEqual(shared, {("shared", told["fingerprint"])})
        self.assertTrue(shared <= self.fingerprint_on("second"))
        self.assertIn("went to the transport key",
                      self.replicate("second", "to-second", code=1))
        self.run_reseal("ceremony", "commit", self.transcript, "--yes")
        self.run_reseal("ceremony", "verify", self.transcript)
        steps = [(line["step"], line["outcome"]) for line in self.lines()]
        for step in ("replicate", "backup"):
            self.assertIn((step, "announced"), steps)
            self.assertIn((step, "done"), steps)
        line = next(line for line in self.lines()
                    if (line["step"], line["outcome"]) == ("replicate", "done"))
        self.assertTrue(all(check["ok"] for check in line["attributes"]))
        self.assertEqual({padding["custody"] for padding in line["paddings"]}, {"host"})
        # Each token's objects are those that the record tells of.
        for name, labels in (("first", {"shared"}), ("second", {"shared", "to-second"})):
            done = self.run_reseal("key", "inventory", self.transcript, "--token", name, "--config",
                                   self.config, "--json")
            objects = json.loads(done.stdout)["objects"]
            self.assertEqual({entry["judgement"] for entry in objects}, {"known"}, objects)
            self.assertEqual({entry["label"] for entry in objects}, labels)
        # A record that leaves out what was done for the backup does not verify.
        for left_out in ("replicate", "backup"):
            with open(f"{self.folder}/forged.jsonl", "w") as file:
                file.write(sealed([line for line in self.lines() if line["step"] != left_out]))
            self.run_reseal("ceremony", "verify", f"{self.folder}/forged.jsonl", code=1)
        # And too late.
        self.assertIn("between the end of its ceremony",
                      self.replicate("second", "to-second", code=3))

    def test_a_guarded_key_goes_under_a_key_of_the_security_officer_alone(self):
        self.sections["third"] = self.softhsm_section("third")
        self.hold("rule = transport\nwrapping = trusted\ntransport_key = to-second, to-third")
        self.assertIn("CKR_KEY_NOT_WRAPPABLE", self.replicate("second", "to-second", code=3))
        so_pin = ("--so-pin", f"file:{self.folder}/first.so")
        wrong = ("--so-pin", f"file:{self.folder}/second.so")
        self.assertIn("SO PIN", self.replicate("second", "to-second", *wrong, code=4))
        told = self.replicate("second", "to-second", *so_pin)
        self.assertEqual((told["done"], told["wanted"], told["shut"]), (1, 2, False))
        self.run_reseal("ceremony", "commit", self.transcript, "--yes", code=3)
        told = self.replicate("third", "to-third", *so_pin)
        self.assertEqual((told["done"], told["shut"], told["confined"]), (2, True, True))
        self.run_reseal("ceremony", "commit", self.transcript, "--yes")

    def test_a_key_goes_to_a_token_of_another_maker(self):
        if find_nss() is None:
            self.skipTest("NSS softokn is not installed")
        nss = make_nss(f"{self.folder}/nss")
        self.secrets.append(nss.pin)
        self.sections["other"] = (f"module = {nss.module}\nlabel = {nss.label}\n"
                                  f"init_args = {nss.init_args}\npin = file:{nss.pin_file}\n")
        self.hold("rule = transport\ntransport_key = to-nss", bits=3072)
        told = self.replicate("other", "to-nss")
        self.assertTrue(told["shut"] and told["confined"])
        shared = {entry for entry in self.fingerprint_on("other") if entry[0] == "shared"}
        self.assertEqual(shared, {("shared", told["fingerprint"])})
        self.run_reseal("ceremony", "commit", self.transcript, "--yes")

    def test_what_was_cut_off_is_begun_again(self):
        self.hold("rule = transport\ntransport_key = to-second, to-third")
        self.sections["third"] = self.softhsm_section("third")
        self.config = self.configure()
        with open(self.transcript, "rb") as file:
            before = file.read().splitlines(keepends=True)
        self.replicate("second", "to-second")
        with open(self.transcript, "rb") as file:
            lines = file.read().splitlines(keepends=True)
        # As if it had been killed when the replica was there and its line was not yet.
        self.assertEqual(len(lines), len(before) + 2)
        with open(self.transcript, "wb") as file:
            file.write(b"".join(lines[:-1]))
        told = self.replicate("second", "to-second")
        self.assertEqual((told["done"], told["shut"]), (1, False))
        self.assertIn(("shared", told["fingerprint"]), self.fingerprint_on("second"))
        self.assertTrue(self.replicate("third", "to-third")["shut"])
        self.run_reseal("ceremony", "commit", self.transcript, "--yes")

    def cut_last_line(self):
        with open(self.transcript, "rb") as file:
            lines = file.read().splitlines(keepends=True)
        with open(self.transcript, "wb") as file:
            file.write(b"".join(lines[:-1]))

    def test_what_was_cut_off_is_begun_again_after_another_one(self):
        self.sections["third"] = self.softhsm_section("third")
        self.hold("rule = transport\ntransport_key = to-second, to-third")
        self.replicate("second", "to-second")
        self.cut_last_line()
        self.assertEqual(self.replicate("third", "to-third")["done"], 1)
        told = self.replicate("second", "to-second")
        self.assertEqual((told["done"], told["shut"]), (2, True))
        self.run_reseal("ceremony", "verify", self.transcript)

    def test_a_replica_that_is_recorded_is_not_what_was_cut_off(self):
        self.hold("rule = transport\ntransport_key = to-second, to-third")
        self.replicate("second", "to-second")
        there, steps = self.fingerprint_on("second"), len(self.lines())
        self.assertIn("already", self.replicate("second", "to-third", code=1))
        self.assertEqual(self.fingerprint_on("second"), there)
        self.assertEqual(len(self.lines()), steps)
        # As if one for the other transport key had been cut off on the way.
        begun = next(line for line in self.lines() if line["step"] == "replicate")
        begun["transportKey"]["label"] = "to-third"
        text = sealed(self.lines() + [begun])
        with open(self.transcript, "w") as file:
            file.write(text)
        self.assertIn("already", self.replicate("second", "to-third", code=1))
        self.assertEqual(self.fingerprint_on("second"), there)

    def wrong(self, lines):
        with open(f"{self.folder}/forged.jsonl", "w") as file:
            file.write(sealed(lines))
        done = self.run_reseal("ceremony", "verify", f"{self.folder}/forged.jsonl", "--json", code=1)
        return [row["text"] for row in json.loads(done.stdout)["findings"] if row["verdict"] == "wrong"]

    def test_what_stands_for_two_replicas_and_is_one_is_found(self):
        self.sections["third"] = self.softhsm_section("third")
        self.hold("rule = transport\ntransport_key = to-second, to-third")
        self.replicate("second", "to-second")
        self.replicate("third", "to-third")
        self.run_reseal("ceremony", "verify", self.transcript)
        lies = {"of one token": ("to", lambda one: one),
                "of one transport key": ("transportKey", lambda one: dict(one, label="to-third")),
                "where the key was made": ("to", lambda one: self.lines()[0]["token"])}
        for words, (group, lie) in lies.items():
            with self.subTest(words):
                lines = self.lines()
                one, other = [line for line in lines
                              if (line["step"], line["outcome"]) == ("replicate", "done")]
                other[group] = lie(one[group])
                self.assertTrue(any(words in text for text in self.wrong(lines)))

    def test_a_replica_that_belongs_to_no_replication_is_found(self):
        self.hold("rule = transport\ntransport_key = to-second")
        self.replicate("second", "to-second")
        self.run_reseal("ceremony", "commit", self.transcript, "--yes")
        lines = self.lines()
        at = next(i for i, line in enumerate(lines) if line["step"] == "replicate")
        begun, done = lines[at:at + 2]
        more = {group: dict(done[group], label="another") for group in ("to", "transportKey")}
        other = [dict(line, **more) for line in (begun, done)]
        note = {"time": done["time"], "step": "note", "outcome": "noted", "words": "a pause"}
        lies = {"cannot come after": lines + [begun],
                "does not announce": lines[:at] + lines[at + 1:],
                "which the plan does not name": lines[:at + 2] + other + lines[at + 2:]}
        for words, lie in lies.items():
            with self.subTest(words):
                self.assertTrue(any(words in text for text in self.wrong(lie)))
        with open(f"{self.folder}/noted.jsonl", "w") as file:
            file.write(sealed(lines[:at + 1] + [note] + lines[at + 1:at + 2]))
        self.run_reseal("ceremony", "verify", f"{self.folder}/noted.jsonl")

    def test_the_end_that_was_cut_off_is_made_up_for(self):
        self.hold("rule = transport\ntransport_key = to-second")
        self.replicate("second", "to-second")
        with open(self.transcript, "rb") as file:
            whole = file.read().splitlines(keepends=True)
        for missing in (1, 2):  # the line that says that it was done; and that it is about to be
            with self.subTest(missing):
                with open(self.transcript, "wb") as file:
                    file.write(b"".join(whole[:-missing]))
                refused = self.run_reseal("ceremony", "commit", self.transcript, "--yes", code=3)
                self.assertIn("replicate", refused.stderr)
                told = self.replicate("second", "to-second")
                self.assertEqual((told["done"], told["shut"], told["confined"]), (1, True, True))
        steps = [(line["step"], line["outcome"]) for line in self.lines()]
        self.assertEqual(steps.count(("replicate", "done")), 1)
        self.run_reseal("ceremony", "verify", self.transcript)
        self.run_reseal("ceremony", "commit", self.transcript, "--yes")

    def test_another_key_of_the_same_label_is_not_taken_for_the_key_of_the_record(self):
        self.hold("rule = transport\ntransport_key = to-second")
        with open(self.transcript, "rb") as file:
            record = file.read()
        self.destroy("first")
        for name in ("shared.pem", "shared.jsonl"):
            os.unlink(f"{self.folder}/{name}")
        self.hold("rule = transport\ntransport_key = to-second")
        with open(self.transcript, "wb") as file:
            file.write(record)
        self.assertIn("is not the one of the transcript",
                      self.replicate("second", "to-second", code=3))
        self.assertEqual(self.fingerprint_on("second"), set())
        with open(self.transcript, "rb") as file:
            self.assertEqual(file.read(), record)

    def destroy(self, name):
        self.run_reseal("key", "destroy", self.transcript, "--token", name, "--yes", "--force",
                        "--config", self.config)

    def judgements(self, name):
        done = self.reseal("key", "inventory", self.transcript, "--token", name, "--config",
                           self.config, "--json", env=self.env)
        return {entry["judgement"] for entry in json.loads(done.stdout)["objects"]
                if entry["label"] == "shared"}

    def test_each_replica_is_destroyed_by_itself(self):
        self.sections["third"] = self.softhsm_section("third")
        self.hold("rule = transport\ntransport_key = to-second, to-third")
        self.replicate("second", "to-second")
        self.replicate("third", "to-third")
        self.run_reseal("ceremony", "commit", self.transcript, "--yes")
        for name, left in (("second", 2), ("first", 1), ("third", 0)):
            self.assertEqual(self.judgements(name), {"known"})
            self.destroy(name)
            self.assertEqual(self.judgements(name), set())
            self.assertNotIn("shared", {label for label, _ in self.fingerprint_on(name)})
            done = self.run_reseal("ceremony", "verify", self.transcript)
            self.assertEqual(done.stdout.count("that the key is gone from the token"), left)

    def test_a_plan_without_backup_makes_a_key_that_cannot_be_wrapped(self):
        self.hold("rule = none")
        line = next(line for line in self.lines() if line["step"] == "unreadable")
        self.assertIs(line["confined"], True)
        tried = {attempt["mechanism"]: attempt["ckRv"] for attempt in line["wrapAttempts"]}
        self.assertEqual(tried["CKM_AES_KEY_WRAP_PAD"], "CKR_KEY_UNEXTRACTABLE")
        self.assertEqual(tried["CKM_AES_KEY_WRAP"], "CKR_KEY_UNEXTRACTABLE")
        self.assertIn("does not name", self.replicate("second", "to-second", code=3))


if __name__ == "__main__":
    unittest.main()
