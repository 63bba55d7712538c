# SPDX-License-Identifier: Apache-2.0
"""Plans, records and a terminal, for the tests of ceremonies."""
import fcntl
import hashlib
import json
import os
import pty
import select
import subprocess
import termios

from token_support import BIN, TokenTest

BEGUN = [("open", "done"), ("login", "done"), ("confirm", "done")]
MADE = BEGUN + [("generate", "announced"), ("generate", "done"), ("read-back", "done"),
                ("unreadable", "done")]
STEPS = MADE + [("proof", "done"), ("public-key", "announced"), ("public-key", "done"),
                ("fingerprint", "done"), ("close", "done")]
DESTROYED = [("destroy", "announced"), ("destroy", "done"), ("close", "failed")]
PADDINGS = ["oaepSha256", "oaepSha384", "oaepSha512"]


def file_sha256(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def steps(lines):
    return [(line["step"], line["outcome"]) for line in lines]


def answer(line):
    return (line["answer"]["call"], line["answer"]["ckRv"])


def the(lines, step, outcome="done"):
    line, = [line for line in lines if (line["step"], line["outcome"]) == (step, outcome)]
    return line


class CeremonyTest(TokenTest):
    def plan(self, token, name="plan", label="sealing", key="", more_token="", output="",
             ceremony=""):
        text = (f"[ceremony]\nname = rehearsal\nplace = test\nofficer = tester\n"
                f"allow_yes = yes\n{ceremony}{token.section()}{more_token}[key]\nlabel = {label}\n{key}"
                f"[output]\npublic_key = {name}.pem\npublic_key_cng = {name}.cng\n"
                f"transcript = {name}.jsonl\n{output}")
        return self.write(f"{name}.ini", text)

    def outputs(self, name="plan"):
        return [f"{self.folder}/{name}.{end}" for end in ("pem", "cng", "jsonl")]

    def transcript(self, name="plan"):
        """Reads the record and checks its chain, independently of the program."""
        path = f"{self.folder}/{name}.jsonl"
        self.assertEqual(os.stat(path).st_mode & 0o7777, 0o644)
        with open(path, "rb") as file:
            content = file.read()
        self.keeps_secrets(content.decode())
        if content == b"":
            return [], "0" * 64
        self.assertTrue(content.endswith(b"\n"))
        lines, previous = [], "0" * 64
        for number, text in enumerate(content[:-1].split(b"\n"), 1):
            line = json.loads(text)
            self.assertEqual(line["seq"], number)
            self.assertEqual(line["previous"], previous)
            bare, own = text.rsplit(b',"hash":"', 1)
            self.assertEqual(own, hashlib.sha256(bare).hexdigest().encode() + b'"}')
            previous = hashlib.sha256(text).hexdigest()
            lines.append(line)
        return lines, previous

    def keys(self, token):
        done = self.succeeds("key", "list", "--json", *token.options(), env=token.env)
        return json.loads(done.stdout)["keys"]

    def findings(self, name="plan", status=0, end=".jsonl"):
        done = self.fails(status, "ceremony", "verify", f"{self.folder}/{name}{end}", "--json")
        answer = json.loads(done.stdout)
        self.assertEqual(answer["verified"], status == 0)
        return answer


class Terminal:
    """A program on a terminal of its own, as a person at it would meet it."""

    def __init__(self, args, env):
        self.master, slave = pty.openpty()

        def take_terminal():
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        self.process = subprocess.Popen(args, env=env, stdin=slave, stdout=slave, stderr=slave,
                                        preexec_fn=take_terminal)
        os.close(slave)
        self.seen = ""

    def read_until(self, text, seconds=120):
        while text not in self.seen:
            ready, _, _ = select.select([self.master], [], [], seconds)
            if not ready:
                raise AssertionError(f"no {text!r} in {self.seen!r}")
            try:
                data = os.read(self.master, 4096)
            except OSError:
                data = b""
            if not data:
                raise AssertionError(f"ended without {text!r}: {self.seen!r}")
            self.seen += data.decode()

    def answer(self, question, text):
        """Waits for the question, and for no earlier one again."""
        self.read_until(question)
        self.seen = self.seen.split(question, 1)[1]
        self.type(text)

    def type(self, text):
        os.write(self.master, text.encode())

    def end(self):
        try:
            while True:
                data = os.read(self.master, 4096)
                if not data:
                    break
                self.seen += data.decode()
        except OSError:
            pass
        os.close(self.master)
        return self.process.wait(120)


def reseal_on_terminal(env, *args):
    return Terminal([f"{BIN}/reseal", *args], env)
