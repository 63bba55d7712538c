# SPDX-License-Identifier: Apache-2.0
"""A record that was written anew to tell something else: its chain is whole, and what it tells does
not bear out. `reseal ceremony verify` judges what was found, not what the recorder made of it."""
import copy
import hashlib
import json
import os
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from ceremony_support import CeremonyTest, the  # noqa: E402


def sealed(lines):
    """The text of a transcript with these lines, each bound to the one before it."""
    previous, out = "0" * 64, []
    for number, line in enumerate(lines, 1):
        line = {name: value for name, value in line.items() if name not in ("previous", "hash")}
        line["seq"], line["previous"] = number, previous
        bare = json.dumps(line, separators=(",", ":"), ensure_ascii=False)[:-1]
        text = '%s,"hash":"%s"}' % (bare, hashlib.sha256(bare.encode()).hexdigest())
        previous = hashlib.sha256(text.encode()).hexdigest()
        out.append(text + "\n")
    return "".join(out)


def attribute(lines, name):
    found, = [row for row in the(lines, "read-back")["attributes"] if row["name"] == name]
    return found


def without(lines, step):
    return [line for line in lines if line["step"] != step]


def first(group, **what):
    return lambda lines: lines[0][group].update(**what)


def at(step, **what):
    return lambda lines: the(lines, step).update(**what)


def found(attribute_name, text, **more):
    return lambda lines: attribute(lines, attribute_name).update(found=text, **more)


def taken_out(lines, step, name):
    del the(lines, step)[name]


# What is told instead, and what the finding must say.
LIES = {
    "an extractable key": (found("CKA_EXTRACTABLE", "true"), "CKA_EXTRACTABLE of the key"),
    "one that was wanted so": (found("CKA_EXTRACTABLE", "true", wanted="true"), "CKA_EXTRACTABLE"),
    "both directions": (found("CKA_UNWRAP", "true", wanted="true"), "CKA_UNWRAP of the key"),
    "a flag that must be told": (found("CKA_SENSITIVE", "not told (CKR_OK)"), "CKA_SENSITIVE"),
    "a short modulus": (found("CKA_MODULUS", "64 bytes"), "CKA_MODULUS of the key"),
    "another mechanism": (found("CKA_ALLOWED_MECHANISMS", "CKM_RSA_PKCS"), "CKA_ALLOWED_MECH"),
    "an unknown attribute": (found("CKA_DERIVE", "false", name="CKA_ODD"), "its CKA_DERIVE was read back"),
    "one attribute twice": (lambda lines: the(lines, "read-back")["attributes"].append(
        attribute(lines, "CKA_TOKEN")), "CKA_TOKEN of the key"),
    "no signatures wanted": (first("rules", signatures=0), '"rules" of the first line'),
    "other witnesses": (first("rules", witnesses=[]), '"rules" of the first line'),
    "a witness without his key": (lambda lines: lines[0]["rules"]["witnesses"][0].update(
        spkiSha256=None), '"rules" of the first line'),
    "--yes forbidden": (first("rules", allowYes=False), '"rules" of the first line'),
    "no rules": (lambda lines: lines[0].pop("rules"), '"rules" of the first line'),
    "a longer key": (first("key", bits=4096), '"key" of the first line'),
    "another label": (first("key", label="other"), '"key" of the first line'),
    "fewer paddings": (first("key", paddings=[]), "no padding was planned"),
    "other outputs": (first("outputs", descriptor="/other"), '"outputs" of the first line'),
    "another officer": (first("ceremony", officer="other"), '"ceremony" of the first line'),
    "another token": (first("token", label="other"), "its label was not compared"),
    "a serial that was wanted": (lambda lines: lines[0]["compared"][1].update(wanted="1"),
                                 "its serial was not compared"),
    "a key that can be read": (at("unreadable", ckRv="CKR_OK"), "the token answered CKR_OK"),
    "a key that was wrapped": (lambda lines: the(lines, "unreadable")["wrapAttempts"][0].update(
        ckRv="CKR_OK"), "do not bear out"),
    "no attempt to wrap it": (lambda lines: taken_out(lines, "unreadable", "wrapAttempts"),
                              "no line tells of an attempt"),
    "another direction that works": (lambda lines: the(lines, "proof")["paddings"][0][
        "otherDirection"].update(ckRv="CKR_OK"), "the other direction was NOT refused"),
    "other words": (at("fingerprint", words="alfa"), "the words that were read aloud"),
    "another fingerprint": (at("fingerprint", spkiSha256="0" * 64), "is not the one that was made"),
    "no confirmation": (lambda lines: without(lines, "confirm"), 'the step "confirm"'),
    "no login": (lambda lines: without(lines, "login"), 'the step "login"'),
    "nobody compared": (lambda lines: without(lines, "fingerprint"), 'the step "fingerprint"'),
    "two ends": (lambda lines: lines + lines[-1:], "cannot come after"),
    "a key that was made afterwards": (lambda lines: lines + lines[3:5], "cannot come after"),
    "a key that was destroyed": (lambda lines: lines[:-1] + [
        dict(lines[-1], step="destroy")] + lines[-1:], '"destroy": done, and the key was accepted'),
    "a step that failed": (lambda lines: lines[:-1] + [
        dict(the(lines, "proof"), outcome="failed")] + lines[-1:], '"proof": failed, and the key was'),
    "a token's initialisation": (lambda lines: lines[0].update(format="reseal-token-init-1"),
                                 "does not begin a ceremony"),
    "steps turned": (lambda lines: lines[:5] + [lines[6], lines[5]] + lines[7:], "what must follow"),
    "a plan that is none": (lambda lines: lines[0]["plan"].update(
        text="none", sha256=hashlib.sha256(b"none").hexdigest()), "is no plan"),
}


class Forged(CeremonyTest):
    def wrong(self, lines):
        path = self.write("forged.jsonl", sealed(lines))
        done = self.fails(1, "ceremony", "verify", path, "--json")
        return [row["text"] for row in json.loads(done.stdout)["findings"] if row["verdict"] == "wrong"]

    def hold(self):
        token = self.token = self.softhsm()
        subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", "ann.key"],
                       cwd=self.folder, check=True, capture_output=True)
        subprocess.run(["openssl", "pkey", "-in", "ann.key", "-pubout", "-out", "ann.pub"],
                       cwd=self.folder, check=True, capture_output=True)
        plan = self.plan(token, key="bits = 2048\ncustody = host\n",
                         ceremony="signatures = 0\n[witness ann]\nname = Ann\nkey = ann.pub\n")
        self.succeeds("ceremony", "run", plan, "--yes", env=token.env)
        return self.transcript()[0]

    def test_each_lie_is_found_and_said(self):
        lines = self.hold()
        path = self.write("forged.jsonl", sealed(lines))  # nothing but written anew
        self.succeeds("ceremony", "verify", path)
        for name, (change, words) in LIES.items():
            if name == "no signatures wanted":
                continue  # of a plan that wants some: below
            with self.subTest(name):
                changed = copy.deepcopy(lines)
                result = change(changed)
                said = self.wrong(result if isinstance(result, list) else changed)
                self.assertTrue(any(words in text for text in said), said)

    def test_signatures_that_the_plan_wants_cannot_be_taken_out_of_the_rules(self):
        token = self.softhsm()
        plan = self.plan(token, key="bits = 2048\ncustody = host\n",
                         ceremony="signatures = 1\n[witness ann]\nname = Ann\n")
        self.succeeds("ceremony", "run", plan, "--yes", env=token.env)
        lines, _ = self.transcript()
        change, words = LIES["no signatures wanted"]
        change(lines)
        self.assertTrue(any(words in text for text in self.wrong(lines)))
        self.fails(3, "ceremony", "commit", self.write("again.jsonl", sealed(lines)), "--yes")

    def test_what_is_no_record_of_a_ceremony_in_earnest_is_not_committed(self):
        """Of neither is the first line held against the plan: rules could be left out of both."""
        lines = self.hold()
        for name, told in (("initialisation", {"format": "reseal-token-init-1"}),
                           ("rehearsal", {"rehearsal": True})):
            with self.subTest(name):
                changed = copy.deepcopy(lines)
                changed[0].update(told)
                self.fails(3, "ceremony", "commit", self.write("other.jsonl", sealed(changed)), "--yes")
                self.assertFalse(os.path.exists(changed[0]["outputs"]["descriptor"]))

    def test_a_key_is_not_destroyed_by_a_record_that_shows_another(self):
        lines = self.hold()
        the(lines, "close")["spkiSha256"] = "0" * 64
        path = self.write("forged.jsonl", sealed(lines))
        there = self.keys(self.token)
        done = self.fails(3, "key", "destroy", path, "--yes", "--force", *self.token.options(),
                          env=self.token.env)
        self.assertIn("another public half", done.stderr)
        self.assertEqual(self.keys(self.token), there)
        self.succeeds("key", "destroy", f"{self.folder}/plan.jsonl", "--yes", "--force",
                      *self.token.options(), env=self.token.env)
        self.assertEqual(self.keys(self.token), [])

    def test_a_commit_of_another_key_is_found(self):
        self.hold()
        self.succeeds("ceremony", "commit", f"{self.folder}/plan.jsonl", "--yes")
        lines, _ = self.transcript()
        descriptor = the(lines, "commit")["descriptor"]
        own = the(lines, "close")["spkiSha256"]
        descriptor["text"] = descriptor["text"].replace(own, "0" * 64)
        descriptor["sha256"] = hashlib.sha256(descriptor["text"].encode()).hexdigest()
        self.assertTrue(any("is not of the key that was accepted" in text for text in self.wrong(lines)))
        self.assertTrue(any("cannot come after" in text for text in self.wrong(lines + lines[-1:])))


if __name__ == "__main__":
    unittest.main()
