# SPDX-License-Identifier: Apache-2.0
"""How the command line is read, and what it says: usage, configuration, demo devices."""
import json
import os
import subprocess
import unittest

from cli_support import PATIENCE, RESEAL, Case, mode_of, openssl, read, write


class Usage(Case):
    def test_help_is_printed_to_standard_output(self):
        for words in (["help"], ["--help"], ["help", "pfx"], ["pfx", "--help"],
                      ["pfx", "new", "--help"], ["help", "deliver"], ["device", "open", "-h"]):
            out, err = self.reseal(*words, config=False)
            self.assertIn("usage: reseal", out)
            self.assertEqual(err, "")

    def test_every_command_of_the_overview_has_help_of_its_own(self):
        out, _ = self.reseal("help", config=False)
        rows = out.split("Commands:\n")[1].split("\n\n")[0].splitlines()
        self.assertGreater(len(rows), 12)
        for row in rows:
            if not row.startswith("   "):
                words = [word for word in row.split("  ")[1].split() if word.isalpha()
                         and word.islower()]
                self.reseal("help", *words, config=False)

    def test_an_incomplete_command_says_what_there_is_and_fails_as_usage(self):
        for words in ([], ["pfx"], ["device"]):
            done = subprocess.run([RESEAL, *words], capture_output=True, timeout=PATIENCE)
            self.assertEqual(done.returncode, 2)
            self.assertIn(b"usage: reseal", done.stdout)

    def test_version(self):
        out, _ = self.reseal("--version", config=False)
        self.assertRegex(out, r"^reseal \d+\.\d+\.\d+\n$")

    def test_misspelt_words_are_answered_with_the_nearest_name(self):
        for words, nearest in ((["pfxx"], "reseal pfx"), (["pfx", "nwe"], "reseal pfx new"),
                               (["pfx", "new", "--usr", "x"], "--user"),
                               (["help", "devcie"], "reseal device")):
            _, err = self.reseal(*words, status=2, config=False)
            self.assertIn("did you mean", err)
            self.assertIn(nearest, err)

    def test_a_secret_in_the_wrong_place_is_not_repeated(self):
        self.secrets.append("hunter2")
        for words in (["pfx", "new", "--password", "hunter2", "--pfx", "x", "--user", "u"],
                      ["pfx", "new", "--passwort=hunter2"], ["pfx", "list", "hunter2"],
                      ["pfx", "new", "--force=hunter2"]):
            self.reseal(*words, status=2)

    def test_a_full_disk_is_a_failure(self):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([RESEAL, "help"], stdout=full, stderr=subprocess.PIPE,
                                  timeout=PATIENCE)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"standard output", done.stderr)


class Config(Case):
    def test_check_names_the_file(self):
        out, _ = self.reseal("config", "check")
        self.assertIn("reseal.conf: ok", out)
        out, _ = self.reseal("config", "check", "--json")
        self.assertIs(json.loads(out)["ok"], True)

    def test_show_has_values_and_defaults(self):
        out, _ = self.reseal("config", "show")
        self.assertIn("key_name = sealing-1", out)
        self.assertIn("padding = oaepSha512", out)
        shown = json.loads(self.reseal("config", "show", "--json")[0])
        self.assertEqual(shown["client"]["key_name"], "sealing-1")
        self.assertEqual(shown["client"]["api_token"], "file:" + self.path("token"))
        self.assertEqual(shown["queue"]["wait"], 20)
        self.assertIsNone(shown["token"]["module"])

    def test_what_show_prints_can_be_loaded(self):
        out, _ = self.reseal("config", "show")
        write(self.path("again.conf"), out.encode())
        self.reseal("config", "check", "--config", self.path("again.conf"), config=False)

    def test_a_mistake_is_named_with_its_line(self):
        write(self.config, b"[client]\nkey_nam = x\n")
        _, err = self.reseal("config", "check", status=2)
        self.assertIn("reseal.conf:2", err)
        self.assertIn("key_name", err)
        write(self.config, b"[client]\napi_token = hunter2\n")
        self.secrets.append("hunter2")
        self.reseal("config", "check", status=2)
        self.reseal("config", "check", "--config", "/nowhere", status=1, config=False)

    def test_settings_that_contradict_each_other_are_found_by_check(self):
        for text, words in ((b"[windows]\nexportable = yes\n", "key_location = software"),
                            (b"[apple]\norganization = a\x01b\n", "[apple] organization")):
            write(self.config, text)
            _, err = self.reseal("config", "check", status=2)
            self.assertIn(words, err)

    def test_check_tells_the_sections_and_warns_of_an_empty_file(self):
        out, err = self.reseal("config", "check", self.config, config=False)
        self.assertIn("it gives [client]", out)
        self.assertEqual(err, "")
        out, _ = self.reseal("config", "check", "--json")
        self.assertEqual(json.loads(out)["sections"], ["client"])
        for content in (b"", b"# nothing\n", b"[client]\n"):
            write(self.config, content)
            _, err = self.reseal("config", "check")
            self.assertIn("configures nothing", err)
            out, _ = self.reseal("config", "check", "--json")
            self.assertEqual(json.loads(out)["sections"], [])

    def test_a_mistake_is_told_as_json_too(self):
        write(self.config, b"[client]\nkey_nam = x\n")
        out, _ = self.reseal("config", "check", "--json", status=2)
        told = json.loads(out)
        self.assertIs(told["ok"], False)
        self.assertIn("reseal.conf:2", told["error"])
        self.assertIn("key_name", told["hint"])
        out, err = self.reseal("config", "check", "--json", "/nowhere", status=1, config=False)
        self.assertIn("/nowhere", json.loads(out)["error"])
        self.assertIn("hint: ", err)
        self.reseal("config", "check", self.config, status=2)  # with --config: twice

    def test_a_ceremony_plan_is_recognised(self):
        plan = write(self.path("plan.ini"), b"; reviewed\n[ceremony]\nname = x\n")
        for command in ("check", "show"):
            _, err = self.reseal("config", command, plan, status=2, config=False)
            self.assertIn("this is a ceremony plan", err)
            self.assertIn(f"reseal ceremony run {plan}", err)


class WhatToDo(Case):
    def test_a_wrong_path_is_told_with_what_to_do(self):
        pfx, source = self.pfx("correct horse")
        empty = write(self.path("empty"), b"")
        new = ["pfx", "new", "--user", "u", "--password", source, "--pfx"]
        nowhere = self.path("nowhere")
        cases = [
            ([*new, nowhere], "--pfx names the PFX"),
            ([*new, pfx, "--public-key", nowhere], "reseal key export"),
            ([*new, pfx, "--public-key", empty], "reseal key export"),
            (["pfx", "import", nowhere], "reseal pfx new"),
            (["ceremony", "run", nowhere], "PLAN is the path"),
            (["deliver", "r", "--device", nowhere], "reseal device new"),
            (["deliver", "r", "--certificate", nowhere], "--certificate names"),
            (["device", "open", "--device", nowhere, "--delivery", pfx, "--pfx", pfx],
             "reseal device new"),
        ]
        for words, hint in cases:
            with self.subTest(words=words):
                _, err = self.reseal(*words, status=1)
                self.assertIn(hint, err.split("hint: ")[1])
                self.assertFalse(err.startswith("reseal: " + empty), err)  # says whose file it is
                self.assertLessEqual(err.splitlines()[0].count(nowhere), 2 if "device" in words
                                     or "deliver" in words else 1)

    def test_an_empty_certificate_is_told_as_that(self):
        empty = write(self.path("empty"), b"")
        _, err = self.reseal("deliver", "r", "--certificate", empty, status=1)
        self.assertIn("has no content", err)
        self.assertIn("--certificate names", err)


class Device(Case):
    def device(self, name, *more, status=0):
        return self.reseal("device", "new", "--out", self.path(name), "--ca", self.path("ca"), *more,
                           config=False, status=status)

    def text(self, path):
        return openssl("x509", "-in", path, "-noout", "-text").decode()

    def test_a_device_has_a_private_key_and_a_certificate_of_the_ca(self):
        self.device("one")
        out, _ = self.device("two", "--json", "--name", "J\u00f6rg's phone")
        self.assertEqual(json.loads(out)["name"], "J\u00f6rg's phone")
        for name in ("ca/ca.key", "one/device.key", "two/device.key"):
            self.assertEqual(mode_of(self.path(name)), 0o600)
        for name in ("one", "two"):
            openssl("verify", "-x509_strict", "-CAfile", self.path("ca/ca.pem"),
                    self.path(f"{name}/device.pem"))
        subject = openssl("x509", "-in", self.path("two/device.pem"), "-noout", "-subject",
                          "-nameopt", "utf8").decode()
        self.assertIn("J\u00f6rg's phone", subject)
        serials = {openssl("x509", "-in", self.path(f"{name}/device.pem"), "-noout", "-serial")
                   for name in ("one", "two")}
        self.assertEqual(len(serials), 2)

    def test_certificates_have_the_extensions_of_their_use(self):
        self.device("rsa")
        self.device("ec", "--key", "ec:P-256")
        for name, usage in (("rsa", "Key Encipherment"), ("ec", "Key Agreement")):
            text = self.text(self.path(f"{name}/device.pem"))
            for words in ("Version: 3", usage, "CA:FALSE", "Subject Key Identifier",
                          "Authority Key Identifier", "TLS Web Client Authentication"):
                self.assertIn(words, text)
        text = self.text(self.path("ca/ca.pem"))
        for words in ("CA:TRUE", "Certificate Sign"):
            self.assertIn(words, text)

    def test_kinds_of_keys(self):
        for kind, words in (("rsa:2048", "(2048 bit)"), ("rsa:3072", "(3072 bit)"),
                            ("ec:P-256", "prime256v1"), ("ec:P-384", "secp384r1")):
            self.device(kind, "--key", kind)
            self.assertIn(words, self.text(self.path(f"{kind}/device.pem")))
        _, err = self.device("weak", "--key", "rsa:1024")
        self.assertIn("warning", err)
        self.device("odd", "--key", "dsa:1024", status=2)

    def test_an_expired_device_can_be_made_for_tests(self):
        _, err = self.device("old", "--days", "-3")
        self.assertIn("expired", err)
        done = subprocess.run(["openssl", "x509", "-in", self.path("old/device.pem"), "-noout",
                               "-checkend", "0"], capture_output=True, timeout=PATIENCE)
        self.assertEqual(done.returncode, 1)
        self.device("odd", "--days", "soon", status=2)

    def test_nothing_is_overwritten(self):
        self.device("one")
        before = read(self.path("one/device.key"))
        _, err = self.device("one", status=1)
        self.assertIn("never overwritten", err)
        self.assertEqual(read(self.path("one/device.key")), before)
        os.unlink(self.path("ca/ca.key"))
        _, err = self.device("two", status=1)
        self.assertIn("ca.pem but not ca.key", err)
        self.assertFalse(os.path.exists(self.path("two/device.key")))


if __name__ == "__main__":
    unittest.main()
