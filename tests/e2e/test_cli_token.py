# SPDX-License-Identifier: Apache-2.0
"""token and key: which token they take, what they print, and how they end where something is missing."""
import hashlib
import json
import os
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from token_support import SOFTHSM, TokenTest  # noqa: E402


class Lists(TokenTest):
    def labels(self, token, *more, **options):
        done = self.succeeds("token", "list", "--json", "--module", token.module, *more,
                             env=token.env, **options)
        return [item["label"] for item in json.loads(done.stdout)["tokens"] if item["initialized"]]

    def test_label_and_serial_and_uri_narrow_the_list(self):
        token = self.softhsm()
        subprocess.run(["softhsm2-util", "--init-token", "--free", "--label", "second", "--so-pin",
                        "123456", "--pin", "654321"], env=token.env, check=True,
                       stdout=subprocess.DEVNULL)
        self.assertEqual(sorted(self.labels(token)), ["second", "vault"])
        self.assertEqual(self.labels(token, "--label", "second"), ["second"])
        self.assertEqual(self.labels(token, "--label", "third"), [])
        done = self.succeeds("token", "list", "--json", "--module", SOFTHSM, "--label", "vault",
                             env=token.env)
        serial = json.loads(done.stdout)["tokens"][0]["serial"]
        self.assertEqual(self.labels(token, "--serial", serial), ["vault"])
        self.assertEqual(self.labels(token, "--label", "second", "--serial", serial), [])
        done = self.succeeds("token", "list", "--json", "--uri",
                             f"pkcs11:token=second?module-path={SOFTHSM}", env=token.env)
        self.assertEqual([item["label"] for item in json.loads(done.stdout)["tokens"]], ["second"])
        done = self.succeeds("token", "list", "--module", SOFTHSM, "--label", "third",
                             env=token.env)
        self.assertIn("none is the one that was asked for", done.stderr)

    def test_a_wrong_label_in_the_configuration_does_not_hide_the_tokens(self):
        token = self.softhsm()
        config = self.write("reseal.conf", token.section().replace("label = vault",
                                                                   "label = vualt"))
        done = self.succeeds("token", "list", "--config", config, env=token.env)
        self.assertIn("vault", done.stdout)

    def test_a_module_in_the_working_folder_needs_no_slash(self):
        token = self.softhsm()
        os.symlink(SOFTHSM, f"{self.folder}/here.so")
        token.module = "here.so"
        self.assertEqual(self.labels(token, cwd=self.folder), ["vault"])


    def test_openCryptoki_has_one_token_and_a_key_is_one_line_there(self):
        token = self.opencryptoki()
        self.assertEqual(self.labels(token), ["vault"])
        self.assertEqual(self.labels(token, "--label", "vualt"), [])
        plan = self.write("plan.ini", f"[ceremony]\nname = rehearsal\nallow_yes = yes\n{token.section()}[key]\n"
                          "label = sealing\nbits = 2048\ncustody = host\n[output]\n"
                          "public_key = plan.pem\ntranscript = plan.jsonl\n")
        self.succeeds("ceremony", "run", plan, "--yes", env=token.env)
        done = self.succeeds("key", "list", "--json", *token.options(), env=token.env)
        key, = json.loads(done.stdout)["keys"]
        self.assertEqual((key["label"], key["bits"]), ("sealing", 2048))
        self.assertTrue(key["private"] and key["public"])
        done = self.succeeds("key", "export", "sealing", *token.options(pin=False), env=token.env)
        with open(f"{self.folder}/plan.pem") as file:
            self.assertEqual(done.stdout, file.read())

    def test_a_key_of_a_type_that_libp11_does_not_know_hides_no_other(self):
        token = self.softhsm()
        for kind, label, number in (("EC:edwards25519", "edwards", "01"), ("rsa:2048", "sealing", "02"),
                                    ("EC:prime256v1", "curve", "03")):
            subprocess.run(["pkcs11-tool", "--module", SOFTHSM, "--token-label", token.label, "--login",
                            "--pin", token.pin, "--keypairgen", "--key-type", kind, "--label", label,
                            "--id", number], env=token.env, check=True, capture_output=True)
        keys = json.loads(self.succeeds("key", "list", "--json", *token.options(),
                                        env=token.env).stdout)["keys"]
        self.assertEqual({(key["label"], key["id"], key["type"], key["bits"]) for key in keys},
                         {("edwards", "01", "Edwards", 0), ("sealing", "02", "RSA", 2048),
                          ("curve", "03", "EC", 256)})
        self.assertTrue(all(key["private"] and key["public"] for key in keys), keys)
        done = self.succeeds("key", "export", "sealing", *token.options(pin=False), env=token.env)
        digest, = [key["fingerprint"] for key in keys if key["label"] == "sealing"]
        der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "DER"], input=done.stdout.encode(),
                             capture_output=True, check=True).stdout
        self.assertEqual(hashlib.sha256(der).hexdigest(), digest)
        done = self.fails(1, "key", "export", "edwards", *token.options(pin=False), env=token.env)
        self.assertIn("no RSA key", done.stderr)


class Missing(TokenTest):
    def test_what_is_missing_at_the_token_ends_with_4(self):
        token = self.softhsm()
        pin = ["--pin", f"file:{token.pin_file}"]
        nowhere = ["--module", f"{self.folder}/nowhere.so", "--label", "vault"]
        elsewhere = ["--module", SOFTHSM, "--label", "vualt"]
        broken = ["--module", self.write("broken.so", "no library"), "--label", "vault"]
        for where in (nowhere, elsewhere, broken):
            for words in (["key", "list", *pin], ["key", "export", "k"],
                          ["token", "probe", "k", *pin]):
                done = self.fails(4, *words, *where, env=token.env)
                self.assertIn("hint: ", done.stderr)
        for where in (nowhere, broken):
            self.fails(4, "token", "list", *where, env=token.env)
        self.fails(4, "key", "export", "absent", *token.options(), env=token.env)
        self.fails(4, "token", "probe", "absent", *token.options(), env=token.env)

    def test_a_missing_token_ends_a_ceremony_with_4_too(self):
        token = self.softhsm()
        plan = self.write("plan.ini", "[ceremony]\nname = rehearsal\nallow_yes = yes\n"
                          + token.section().replace("label = vault", "label = vualt")
                          + "[key]\nlabel = sealing\nbits = 2048\ncustody = host\n[output]\n"
                          "public_key = plan.pem\ntranscript = plan.jsonl\n")
        self.fails(4, "ceremony", "run", plan, "--yes", env=token.env)

    def test_a_pin_that_only_the_service_has_is_to_be_given(self):
        token = self.softhsm()
        config = self.write("reseal.conf", token.section().replace(f"file:{token.pin_file}", "credential:pin"))
        done = self.fails(2, "key", "list", "--config", config, env=token.env)
        self.assertIn("give the PIN with --pin SOURCE", done.stderr)
        self.succeeds("key", "list", "--config", config, "--pin", f"file:{token.pin_file}", env=token.env)
        done = self.fails(4, "doctor", "--login", "--config", config, env=token.env)
        self.assertIn("see to the PIN first", done.stdout)

    def test_a_missing_configuration_is_no_trouble_of_the_token(self):
        for words in (["key", "list"], ["token", "list"], ["token", "probe", "k"]):
            self.fails(1, *words, "--config", f"{self.folder}/nowhere.conf")


class Export(TokenTest):
    def test_json_has_the_key_and_what_it_is(self):
        token = self.softhsm()
        plan = self.write("plan.ini", f"[ceremony]\nname = rehearsal\nallow_yes = yes\n{token.section()}[key]\n"
                          "label = sealing\nbits = 2048\ncustody = host\n[output]\n"
                          "public_key = plan.pem\ntranscript = plan.jsonl\n")
        self.succeeds("ceremony", "run", plan, "--yes", env=token.env)
        export = ["key", "export", "sealing", "--json", *token.options(pin=False)]
        shown = json.loads(self.succeeds(*export, env=token.env).stdout)
        self.assertEqual((shown["label"], shown["type"], shown["bits"]), ("sealing", "RSA", 2048))
        with open(f"{self.folder}/plan.pem") as file:
            self.assertEqual(shown["pem"], file.read())
        der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "der"], check=True,
                             input=shown["pem"].encode(), capture_output=True).stdout
        self.assertEqual(shown["fingerprint"].replace(":", "").lower(),
                         hashlib.sha256(der).hexdigest())
        done = self.fails(2, *export, "--format", "cng", env=token.env)
        self.assertIn("--out", done.stderr)
        again = json.loads(self.succeeds(*export, "--format", "cng", "--out",
                                         f"{self.folder}/key.cng", env=token.env).stdout)
        self.assertEqual(again, shown)
        self.assertTrue(os.path.getsize(f"{self.folder}/key.cng") > 256)


if __name__ == "__main__":
    unittest.main()
