# SPDX-License-Identifier: Apache-2.0
"""docs/man, held against the programs: every command, option, setting and event is in its page."""
import glob
import os
import re
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from token_support import BIN  # noqa: E402

SOURCE = os.environ["RESEAL_SOURCE"]
PAGES = f"{SOURCE}/docs/man"
OF_ALL = {"config", "help", "json"}
OF_TOKENS = {"token", "module", "init-args", "uri", "label", "serial", "pin"}
TAKEN = "Takes the token options"


def page(name):
    with open(f"{PAGES}/{name}") as file:
        return file.read()


def source(path):
    with open(f"{SOURCE}/{path}") as file:
        return file.read()


def said(program, *arguments):
    done = subprocess.run([f"{BIN}/{program}", *arguments], capture_output=True, text=True, check=True)
    return done.stdout


def options(text):
    return set(re.findall(r"^ +(?:-\w, )?--([a-z-]+)", text, re.M))


class Form(unittest.TestCase):
    def test_every_page_is_well_formed_and_refers_to_pages_that_are_there(self):
        names = sorted(os.path.basename(path) for path in glob.glob(f"{PAGES}/*"))
        self.assertEqual(names, ["reseal-ceremony.1", "reseal-hub.8", "reseal-key.1", "reseal.1",
                                 "reseal.conf.5", "reseald.8"])
        for name in names:
            done = subprocess.run(["groff", "-mdoc", "-Tutf8", "-ww", "-z", f"{PAGES}/{name}"],
                                  capture_output=True, text=True)
            self.assertEqual((done.returncode, done.stderr), (0, ""), name)
            text = page(name)
            self.assertIn(".Dt %s %s\n" % (name[:-2].upper(), name[-1]), text)
            for other, volume in re.findall(r"^\.Xr (\S+) (\d)", text, re.M):
                self.assertIn(f"{other}.{volume}", names, name)


class Commands(unittest.TestCase):
    def test_every_command_and_option_is_in_the_page(self):
        text = page("reseal.1")
        commands = re.findall(r"^  ((?:[a-z]+)(?: [a-z]+)?) ", said("reseal", "--help"), re.M)
        own = [name for name in commands if name.split()[0] not in ("ceremony", "key")]
        self.assertGreaterEqual(len(own), 20)
        parts = re.split(r"^\.It Cm ([a-z]+(?: [a-z]+)?)(?: .*)?$", text.split(".Sh COMMANDS", 1)[1], flags=re.M)
        told = dict(zip(parts[1::2], parts[2::2]))
        self.assertEqual(set(told), set(own))
        for name in own:
            wanted = options(said("reseal", *name.split(), "--help")) - OF_ALL
            if "module" in wanted:
                self.assertIn(TAKEN, told[name], name)
                wanted -= OF_TOKENS
            self.assertEqual(set(re.findall(r"^\.It Fl -([a-z-]+)", told[name], re.M)), wanted, name)
        for option in OF_ALL | OF_TOKENS:
            self.assertIn(f"Fl -{option}", text.split(".Sh COMMANDS", 1)[0])

    def test_what_an_option_takes_is_told_as_its_help_tells_it(self):
        rights, = re.findall(r"^  --rights RIGHTS +(.+)$", said("reseal", "access", "add", "--help"), re.M)
        self.assertIn(f".It Fl -rights Ar RIGHTS\n{rights}.\n", page("reseal.1"))

    def test_every_key_command_and_option_is_in_the_page(self):
        text = page("reseal-key.1")
        for name in re.findall(r"^  key (\w+)", said("reseal", "help", "key"), re.M):
            self.assertIn(f".Nm reseal Cm key {name}\n", text)
            for option in options(said("reseal", "key", name, "--help")) - OF_ALL - {"init-args"}:
                self.assertIn(f"Fl -{option}", text, (name, option))

    def test_the_daemons_pages_have_their_options_and_commands(self):
        for program, name in (("reseald", "reseald.8"), ("reseal-hub", "reseal-hub.8")):
            helped = said(program, "--help")
            for option in options(helped):
                self.assertIn(f"Fl -{option}", page(name))
            for signal in re.findall(r"\bSIG[A-Z]+", helped):
                self.assertIn(signal, page(name))
        for command in re.findall(r"^  ([a-z]+) +\[?FILE", said("reseal-hub", "--help"), re.M):
            self.assertIn(f".It Cm {command} ", page("reseal-hub.8"))

    def test_every_event_of_the_log_is_in_the_connectors_page(self):
        numbers = re.findall(r"^    EVENT_\w+ = (\d+),", source("include/reseal/log.h"), re.M)
        self.assertGreaterEqual(len(numbers), 16)
        self.assertEqual(re.findall(r"^\.It (\d{4})$", page("reseald.8"), re.M), numbers)


class Settings(unittest.TestCase):
    def test_every_setting_is_in_the_page_with_its_default(self):
        rows = re.findall(r'\{"([a-z *]+)", "(\w+)", CONFIG_(\w+), \d+, \d+, (?:NULL|PADDINGS|"[^"]*"),'
                          r'\s*(NULL|"[^"]*")', source("src/core/settings.c"))
        self.assertGreaterEqual(len(rows), 70)
        parts = re.split(r"^\.Ss \[(\w+)\]$", page("reseal.conf.5").split(".Sh FILES")[0], flags=re.M)
        sections = dict(zip(parts[1::2], parts[2::2]))
        told = [(section, key, default[len("default "):]) for section, text in sections.items()
                for key, _, default in re.findall(r"^\.It Cm (\w+) Pq (.*?)(?:; (default .*))?$", text, re.M)]
        self.assertEqual(told, [(section.split()[0], key, "" if default == "NULL" else default.strip('"'))
                                for section, key, _, default in rows])


if __name__ == "__main__":
    unittest.main()
