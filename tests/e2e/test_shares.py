# SPDX-License-Identifier: Apache-2.0
"""`reseal ceremony shares`: a PIN for several people."""
import itertools
import json
import os
import pty
import re
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from token_support import BIN, TokenTest, write_secret  # noqa: E402


class Shares(TokenTest):
    def setUp(self):
        super().setUp()
        self.token = self.softhsm()
        self.pin_file = self.token.pin_file
        os.mkdir(f"{self.folder}/shares")

    def make(self, needed=3, count=5, folder="shares"):
        done = self.reseal("ceremony", "shares", "make", "--needed", str(needed), "--count",
                           str(count), "--pin", f"file:{self.pin_file}", "--out",
                           f"{self.folder}/{folder}", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        files = [f"{self.folder}/{folder}/share-{n}-of-{count}.txt" for n in range(1, count + 1)]
        return json.loads(done.stdout), files

    def join(self, *files, code=0):
        done = self.reseal_quietly("ceremony", "shares", "join", *files)
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertNotIn(self.token.pin, done.stderr)
        return done.stdout if code == 0 else done.stderr

    @staticmethod
    def reseal_quietly(*args):
        """The PIN is meant to be in its standard output here."""
        return subprocess.run([f"{BIN}/reseal", *args], text=True, capture_output=True,
                              stdin=subprocess.DEVNULL, start_new_session=True, timeout=60)

    def line(self, path):
        with open(path) as file:
            return [line.strip() for line in file if not line.startswith("#")][0]

    def test_any_that_are_enough_give_the_pin_and_fewer_do_not(self):
        told, files = self.make()
        self.assertEqual((told["needed"], told["count"]), (3, 5))
        for path in files:
            self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
            with open(path) as file:
                text = file.read()
            self.assertIn(told["set"], text)
            self.assertRegex(self.line(path), r"^[A-Z2-7]{4}(-[A-Z2-7]{1,4})+$")
            self.keeps_secrets(text)
        for chosen in itertools.combinations(files, 3):
            self.assertEqual(self.join(*chosen), self.token.pin)
        self.assertIn("more shares are needed", self.join(*files[:2], code=2))
        self.assertEqual(self.join(*files), self.token.pin)

    def test_wrong_shares_are_named(self):
        _, files = self.make()
        (other, strangers) = self.make(folder=".")
        line = self.line(files[1])
        place = len(line) // 2
        wrong = line[:place] + ("A" if line[place] != "A" else "B") + line[place + 1:]
        if line[place] == "-":
            wrong = line[:place - 1] + ("A" if line[place - 1] != "A" else "B") + line[place:]
        write_secret(f"{self.folder}/typed", wrong + "\n")
        said = self.join(files[0], f"{self.folder}/typed", files[2], code=1)
        self.assertIn(f"{self.folder}/typed", said)
        self.assertRegex(said, r"share 2 of set [0-9a-f]{8}: its checksum is wrong")
        said = self.join(files[0], strangers[1], files[2], code=3)
        self.assertIn(f"it is of the set {other['set']}", said)
        self.assertIn("is here already", self.join(files[0], files[0], files[1], code=1))

    def test_a_pin_is_never_shown_on_a_terminal(self):
        _, files = self.make()
        ours, theirs = pty.openpty()
        done = subprocess.run([f"{BIN}/reseal", "ceremony", "shares", "join", *files[:3]],
                              stdin=subprocess.DEVNULL, stdout=theirs, stderr=subprocess.PIPE,
                              text=True, start_new_session=True, timeout=60)
        os.close(theirs)
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertIn("never shown", done.stderr)
        os.set_blocking(ours, False)
        try:
            shown = os.read(ours, 4096)
        except OSError:
            shown = b""
        os.close(ours)
        self.assertEqual(shown, b"")

    def test_shares_open_a_token(self):
        _, files = self.make()
        with open(f"{self.folder}/lines", "w") as out:
            out.write("".join(self.line(path) + "\n" for path in files[1:4]))
        with open(f"{self.folder}/lines") as lines:
            done = self.reseal("key", "list", *self.token.options(pin=False), "--pin",
                               f"shares:fd:{lines.fileno()}", env=self.token.env,
                               pass_fds=(lines.fileno(),))
        self.assertEqual(done.returncode, 0, done.stderr)
        # And two are not enough.
        with open(f"{self.folder}/lines") as lines:
            lines.readline()
            rest = lines.read()
        with open(f"{self.folder}/two", "w") as out:
            out.write(rest)
        with open(f"{self.folder}/two") as lines:
            done = self.reseal("key", "list", *self.token.options(pin=False), "--pin",
                               f"shares:fd:{lines.fileno()}", env=self.token.env,
                               pass_fds=(lines.fileno(),))
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("more shares are needed", done.stderr)

    def test_typed_shares_are_checked_one_by_one(self):
        _, files = self.make(needed=2, count=3)
        lines = [self.line(path) for path in files]
        slip = lines[0][:-1] + ("A" if lines[0][-1] != "A" else "Q")
        pid, terminal = pty.fork()
        if pid == 0:
            os.environ.update(self.token.env)
            os.execv(f"{BIN}/reseal", ["reseal", "key", "list", *self.token.options(pin=False),
                                       "--pin", "shares:prompt"])
        seen = b""

        def until(words):
            nonlocal seen
            while not re.search(words, seen):
                seen += os.read(terminal, 4096)
            seen = b""
        until(rb"a share of it: ")
        os.write(terminal, slip.encode() + b"\n")
        until(rb"not taken: .*checksum is wrong(.|\s)*a share of it")
        os.write(terminal, lines[0].lower().replace("-", " ").encode() + b"\n")
        until(rb"share 1 of 3, set [0-9a-f]{8}, is right(.|\s)*1 missing")
        os.write(terminal, lines[2].encode() + b"\n")
        rest = b""
        while True:
            try:
                more = os.read(terminal, 4096)
            except OSError:
                break
            if not more:
                break
            rest += more
        _, status = os.waitpid(pid, 0)
        os.close(terminal)
        self.assertEqual(os.waitstatus_to_exitcode(status), 0, rest)
        self.assertIn(b"share 3 of 3", rest)
        for line in lines:  # nothing that was typed is shown
            self.assertNotIn(line.encode(), rest)
        self.assertNotIn(self.token.pin.encode(), rest)

    def test_wishes_that_make_no_sense_are_refused(self):
        for words in (("--needed", "1", "--count", "3"), ("--needed", "4", "--count", "3"),
                      ("--needed", "2", "--count", "17"), ("--needed", "2"), ()):
            done = self.reseal("ceremony", "shares", "make", *words, "--pin",
                               f"file:{self.pin_file}", "--out", f"{self.folder}/shares")
            self.assertEqual(done.returncode, 2, done.stderr)
        self.assertEqual(os.listdir(f"{self.folder}/shares"), [])
        self.make()
        done = self.reseal("ceremony", "shares", "make", "--needed", "3", "--count", "5", "--pin",
                           f"file:{self.pin_file}", "--out", f"{self.folder}/shares")
        self.assertEqual(done.returncode, 1)
        self.assertIn("exists", done.stderr)

    def test_shares_that_were_made_before_a_failure_are_told_of(self):
        with open(f"{self.folder}/shares/share-3-of-5.txt", "w", encoding="ascii"):
            pass
        done = self.reseal("ceremony", "shares", "make", "--needed", "2", "--count", "5", "--pin",
                           f"file:{self.pin_file}", "--out", f"{self.folder}/shares")
        self.assertEqual(done.returncode, 1)
        self.assertIn("2 of the 5 shares are in", done.stderr)
        self.assertIn("2 give the PIN", done.stderr)


if __name__ == "__main__":
    unittest.main()
