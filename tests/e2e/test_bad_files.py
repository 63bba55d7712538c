# SPDX-License-Identifier: Apache-2.0
"""Configurations and plans that cannot be: an error that says where, and nothing done."""
import os
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import BIN, PATIENCE, StageTest, write_ini  # noqa: E402


class Files(StageTest):
    """Configurations and plans: an error with file and line, exit status 2 or 1, nothing done."""

    @classmethod
    def prepare(cls):
        cls.stage.ca.issue("laptop")
        cls.good = cls.stage.config("good")

    def files(self, good):
        with open(good, "rb") as file:
            text = file.read()
        yield "binary", bytes(range(256)) * 40, False
        yield "no UTF-8", text + b"\n[connector]\nname = \xff\xfe\n", False
        yield "10 MB", text + b"; " + b"x" * 10_000_000 + b"\n", False
        yield "10 MB of lines", text + b"; x\n" * 2_500_000, False
        yield "a value of 100,000 bytes", text + b"[token]\nlabel = " + b"x" * 100_000, False
        yield "100,000 sections", text + b"[a]\n" * 100_000, False
        yield "no section", b"name = x\n" + text, True
        yield "a broken section", text + b"[token\n", True
        yield "no value", text + b"[token]\nserial\n", True
        yield "an unknown section", text + b"[tokens]\nlabel = x\n", True
        yield "an unknown key", text + b"[token]\nlable = x\n", True
        yield "a key twice", text + b"[token]\nlabel = x\n", True
        yield "a NUL", text + b"[token]\nserial = a\0b\n", False
        yield "a folder", None, False

    def refuses(self, path, *command, statuses=(1, 2)):
        done = subprocess.run([*command], env=self.stage.env, capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=PATIENCE, errors="replace")
        said = done.stdout + done.stderr
        self.assertIn(done.returncode, statuses, said[-500:])
        self.assertNotIn("Sanitizer", said)
        self.assertIn(path, said[-2000:])
        self.assertLess(len(said), 20_000)
        for secret in self.stage.secrets:
            self.assertNotIn(secret, said)
        return said

    def write(self, content):
        path = f"{self.stage.folder}/bad.conf"
        if os.path.isdir(path):
            os.rmdir(path)
        if content is None:
            if os.path.exists(path):
                os.remove(path)
            os.mkdir(path)
            return path
        with open(path, "wb") as out:
            out.write(content)
        return path

    def test_configurations(self):
        for name, content, has_line in self.files(self.good):
            path = self.write(content)
            for command in (("reseal", "config", "check"), ("reseald",), ("reseal-hub",)):
                with self.subTest(name, program=command[0]):
                    said = self.refuses(path, f"{BIN}/{command[0]}", *command[1:], "--config", path)
                    if has_line:
                        self.assertRegex(said, r"bad\.conf:[0-9]+")

    def test_values_out_of_their_range(self):
        with open(self.good) as file:
            text = file.read()
        for old, new in (("workers = 2", "workers = 0"), ("workers = 2", "workers = 65"),
                         ("workers = 2", "workers = two"), ("workers = 2", "workers = 2x"),
                         ("workers = 2", "workers = 99999999999999999999"),
                         ("lease = 60", "lease = 1"), ("require = host", "require = nobody"),
                         ("level = info", "level = loud"), ("lease = 60", "lease = -60")):
            self.assertIn(old, text)
            path = self.write(text.replace(old, new).encode())
            with self.subTest(new):
                said = self.refuses(path, f"{BIN}/reseal", "config", "check", "--config", path,
                                    statuses=(2,))
                self.assertRegex(said, r"bad\.conf:[0-9]+")

    def test_a_secret_by_mistake_is_not_repeated(self):
        with open(self.good) as file:
            text = file.read()
        source = f"pin = file:{self.stage.token.pin_file}"
        self.assertIn(source, text)
        path = self.write(text.replace(source, f"pin = {self.stage.token.pin}").encode())
        for command in (("reseal", "config", "check"), ("reseal", "config", "show"), ("reseald",)):
            self.refuses(path, f"{BIN}/{command[0]}", *command[1:], "--config", path, statuses=(2,))

    def plan(self, **changes):
        stage = self.stage
        sections = {"ceremony": {"name": "bad", "allow_yes": "yes"}, "token": stage.token_section(),
                    "key": {"label": "never", "bits": 2048, "custody": "host"},
                    "output": {"public_key": f"{stage.folder}/never.pem",
                               "transcript": f"{stage.folder}/never.jsonl"}}
        for name, value in changes.items():
            section, key = name.split("__")
            sections[section][key] = value
        return write_ini(f"{stage.folder}/plan.conf", sections)

    def test_plans(self):
        before = self.stage.succeeds("key", "list", "--json", config=self.good).stdout
        for name, content, has_line in self.files(self.plan()):
            path = self.write(content)
            with self.subTest(name):
                said = self.refuses(path, f"{BIN}/reseal", "ceremony", "run", path, "--yes")
                if has_line:
                    self.assertRegex(said, r"bad\.conf:[0-9]+")
        for change in ({"key__bits": 1024}, {"key__bits": "many"}, {"key__custody": "nobody"},
                       {"key__padding": "pkcs1"}, {"key__label": None}, {"ceremony__name": None},
                       {"output__public_key": None}, {"output__transcript": None}):
            path = self.plan(**change)
            with self.subTest(change):
                self.refuses(path, f"{BIN}/reseal", "ceremony", "run", path, "--yes", statuses=(2,))
        self.assertEqual(self.stage.succeeds("key", "list", "--json", config=self.good).stdout,
                         before)
        for made in ("never.pem", "never.jsonl"):
            self.assertFalse(os.path.exists(f"{self.stage.folder}/{made}"))

if __name__ == "__main__":
    unittest.main()
