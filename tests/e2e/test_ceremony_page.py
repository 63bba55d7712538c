# SPDX-License-Identifier: Apache-2.0
"""docs/holding-a-ceremony.md, held against the programs: every command is run, every output compared.

With RESEAL_UPDATE=1 the page is written anew from what the programs say.
"""
import os
import re
import select
import shutil
import subprocess
import sys
import tempfile
import termios
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from token_support import BIN  # noqa: E402

SOURCE = os.environ["RESEAL_SOURCE"]
PAGE = f"{SOURCE}/docs/holding-a-ceremony.md"
PLACE = "/home/officer/ceremony"  # what the page calls the folder
PROGRAM = "/usr/bin/reseal"
# What a person types when he is asked.
ANSWERS = [("SO PIN: ", "9182-so\n"), ("SO PIN, once more: ", "9182-so\n"),
           ("user PIN: ", "4711-user\n"), ("user PIN, once more: ", "4711-user\n"),
           ("User PIN of the token: ", "4711-user\n"), ("Press Enter to go on", "\n"),
           ("Type Yes to go on", "Yes\n")]
# What is another one in each run.
VARIES = [(r"\b[0-9a-f]{64}\b", "HASH"), (r"\b[0-9a-f]{40}\b", "ID"), (r"\b[0-9a-f]{16}\b", "SERIAL"),
          (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", "TIME"), (r"reseal-rehearsal-\w{6}", "REHEARSAL"),
          (r"\b[0-9a-f]{8}((  | )(zero|one|two|three|four|five|six|seven|eight|nine|alfa|bravo|charlie|"
           r"delta|echo|foxtrot))+", "WORDS"),
          (r"((zero|one|two|three|four|five|six|seven|eight|nine|alfa|bravo|charlie|delta|echo|foxtrot) ?){8,}",
           "WORDS"), (r"(slot +)\d+", r"\1N"), (r"firmware( += +| +)\S+", r"firmware\1F"),
          (r"SoftHSM \d\.\d", "SoftHSM V")]


def same(text):
    for pattern, word in VARIES:
        text = re.sub(pattern, word, text)
    return re.sub(r"[ \t]+", " ", text)


class Manual(unittest.TestCase):
    def test_it_names_every_option_and_every_key_of_a_plan(self):
        with open(f"{SOURCE}/docs/man/reseal-ceremony.1") as file:
            manual = file.read()
        said = subprocess.run([f"{BIN}/reseal", "help", "ceremony"], capture_output=True, text=True,
                              check=True).stdout
        commands = re.findall(r"^  ceremony (\w+)", said, re.M)
        self.assertGreaterEqual(len(commands), 8)
        for command in commands:
            self.assertIn(f".Nm reseal Cm ceremony {command}\n", manual)
            helped = subprocess.run([f"{BIN}/reseal", "ceremony", command, "--help"],
                                    capture_output=True, text=True, check=True).stdout
            for option in re.findall(r"^ +--([a-z-]+)", helped, re.M):
                if option not in ("config", "help", "json"):
                    self.assertIn(f"Fl -{option}", manual, command)
        with open(f"{SOURCE}/src/ceremony/ceremony_plan.c") as file:
            keys = re.findall(r'^    {"([a-z *]+)", "(\w+)", CONFIG_', file.read(), re.M)
        self.assertGreaterEqual(len(keys), 20)
        for section, key in keys:
            part = manual.split(f".It Bq {section.split()[0]}", 1)[1].split(".It Bq", 1)[0]
            self.assertRegex(part, rf"\b{key}\b", section)

    def test_it_is_well_formed(self):
        done = subprocess.run(["groff", "-mdoc", "-Tutf8", "-ww", "-z",
                               f"{SOURCE}/docs/man/reseal-ceremony.1"], capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""))


class Page(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="reseal-page-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        shutil.copy(f"{SOURCE}/hsm/plans/softhsm-rehearsal.ini", f"{self.folder}/plan.ini")
        self.env = {"PATH": f"{BIN}:{os.environ['PATH']}", "HOME": self.folder, "LC_ALL": "C.UTF-8",
                    "NO_COLOR": "1", "TERM": "dumb"}
        self.env.update({name: value for name, value in os.environ.items() if name.endswith("_OPTIONS")})

    def run_command(self, command):
        """As typed at a terminal, with the answers of a person."""
        exported = re.fullmatch(r'export (\w+)="\$PWD/(.*)"', command)
        if exported:
            self.env[exported[1]] = f"{self.folder}/{exported[2]}"
            return ""
        master, slave = os.openpty()
        settings = termios.tcgetattr(slave)
        settings[1] &= ~termios.OPOST
        termios.tcsetattr(slave, termios.TCSANOW, settings)
        process = subprocess.Popen(["setsid", "--ctty", "--wait", "bash", "-c", command], cwd=self.folder,
                                   env=self.env, stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)
        seen, asked = "", 0
        while True:
            ready, _, _ = select.select([master], [], [], 240)
            self.assertTrue(ready, f"{command}: nothing more after {seen[-500:]!r}")
            try:
                data = os.read(master, 65536)
            except OSError:
                data = b""
            if not data:
                break
            seen += data.decode()
            for question, answer in ANSWERS:
                if seen[asked:].endswith(question) or (question in seen[asked:] and seen.endswith(": ")):
                    asked = len(seen)
                    os.write(master, answer.encode())
                    break
        os.close(master)
        self.assertEqual(process.wait(60), 0, seen)
        self.assertNotIn("4711-user", seen)
        self.assertNotIn("9182-so", seen)
        seen = seen.replace("\r\n", "\n").replace(f"{BIN}/reseal", PROGRAM).replace(self.folder, PLACE)
        return seen.replace("/private" + PLACE, PLACE)

    def test_every_command_of_the_page_says_what_the_page_says(self):
        with open(PAGE) as file:
            page = file.read()
        fresh, wrong = [], []
        for part in re.split(r"(```console\n.*?```\n)", page, flags=re.S):
            if not part.startswith("```console"):
                fresh.append(part)
                continue
            fresh.append("```console\n")
            block = part[len("```console\n"):-len("```\n")]
            for entry in re.split(r"^(?=\$ )", block, flags=re.M)[1:]:
                line, _, shown = entry.partition("\n")
                said = self.run_command(line[2:])
                said += "" if said.endswith("\n") or not said else "\n"
                fresh.append(f"{line}\n{said}")
                if same(shown) != same(said):
                    wrong.append(f"{line}\n--- the page\n{same(shown)}\n--- the program\n{same(said)}")
            fresh.append("```\n")
        if os.environ.get("RESEAL_UPDATE"):
            with open(PAGE, "w") as out:
                out.write("".join(fresh))
        else:
            self.assertEqual(wrong, [], "\n".join(wrong) + "\nRESEAL_UPDATE=1 writes the page anew")


if __name__ == "__main__":
    unittest.main()
