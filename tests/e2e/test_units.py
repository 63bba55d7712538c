# SPDX-License-Identifier: Apache-2.0
"""The systemd units: systemd understands them, they read the files that the pages name, and what
README.md does after an installation is enough for the hub."""
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from daemon import Daemon  # noqa: E402
from token_support import BIN, in_etc  # noqa: E402

SOURCE = os.environ["RESEAL_SOURCE"]
UNITS = {"reseald": "/etc/reseal/reseal.conf", "reseal-hub": "/etc/reseal/hub.conf"}


def unit(name):
    with open(f"{os.path.dirname(BIN)}/systemd/{name}.service") as file:
        return file.read()


class Units(unittest.TestCase):
    def test_systemd_finds_nothing_to_complain_of(self):
        for name in UNITS:
            with tempfile.TemporaryDirectory() as folder:
                path = f"{folder}/{name}.service"
                text, count = re.subn(r"^ExecStart=\S+/", f"ExecStart={BIN}/", unit(name), flags=re.M)
                self.assertEqual(count, 1)
                with open(path, "w") as file:
                    file.write(text)
                done = subprocess.run(["systemd-analyze", "verify", "--man=no", "--recursive-errors=no",
                                       path], capture_output=True, text=True)
                self.assertEqual((done.returncode, done.stdout + done.stderr), (0, ""), name)

    def test_they_read_the_files_of_the_pages_whatever_the_prefix(self):
        for name, settings in UNITS.items():
            self.assertIn(f" --config {settings}\n", unit(name))
            for page in (f"{name}.8", "reseal.conf.5"):
                with open(f"{SOURCE}/docs/man/{page}") as file:
                    self.assertIn(settings, file.read())
            self.assertEqual(re.findall(r"/usr/local/etc\S*", unit(name)), [])

    def test_what_the_readme_makes_after_an_installation_is_enough_for_the_hub(self):
        with open(f"{SOURCE}/README.md") as file:
            steps = file.read().split("After an installation", 1)[1]
        commands = re.findall(r"^    (sudo reseal access .*)$", steps, re.M)
        self.assertEqual(len(commands), 2)
        with tempfile.TemporaryDirectory() as folder:
            with open(f"{SOURCE}/docs/hub.conf.example") as example, open(f"{folder}/hub.conf", "w") as file:
                file.write(example.read().replace("127.0.0.1:9324", "127.0.0.1:0")
                           .replace("/var/lib/reseal-hub/hub.sqlite", f"{folder}/hub.sqlite"))
            for command in commands:  # as one user, in a folder of its own
                command = command.replace("sudo ", "").replace("-o reseal-hub ", "")
                done = subprocess.run(["sh", "-c", command], cwd=folder, capture_output=True, text=True,
                                      env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"})
                self.assertEqual(done.returncode, 0, done.stderr)
            for name in re.search(r"chown reseal-hub (\S+) && sudo chown reseal (\S+)", steps).groups():
                self.assertEqual(os.stat(f"{folder}/{name}").st_mode & 0o777, 0o600)
            hub = Daemon("reseal-hub", f"{folder}/hub.conf", None, f"{folder}/hub.log").start()
            hub.wait_event(lambda event: event["message"] == "listening")
            hub.stop()


class Defaults(unittest.TestCase):
    """In a mount namespace of its own, where /etc has our files alone."""

    def setUp(self):
        self.etc = tempfile.mkdtemp(prefix="reseal-etc-")
        self.addCleanup(shutil.rmtree, self.etc, ignore_errors=True)
        os.mkdir(f"{self.etc}/reseal")
        for name in ("ld.so.cache", "passwd"):
            shutil.copy(f"/etc/{name}", self.etc)

    def write(self, name, text="[hub]\nno_such_key = 1\n"):
        with open(f"{self.etc}/reseal/{name}", "w") as out:
            out.write(text)

    def told(self, program, *arguments):
        done = subprocess.run(in_etc(self.etc, f"{BIN}/{program}", *arguments), capture_output=True,
                              text=True, timeout=60)
        self.assertNotEqual(done.returncode, 0, done.stdout)
        return done.stderr

    def test_the_hub_and_what_tends_its_files_read_the_hubs_settings_where_they_are_there(self):
        self.write("reseal.conf")
        programs = (("reseal-hub", "check"), ("reseal", "access", "list"))
        for program in programs:
            self.assertIn("/etc/reseal/reseal.conf:2", self.told(*program))
        self.write("hub.conf")
        for program in programs:
            self.assertIn("/etc/reseal/hub.conf:2", self.told(*program))
        self.assertIn("/etc/reseal/reseal.conf:2", self.told("reseal", "token", "list"))
        self.write("hub.conf", "[hub]\nlisten = 127.0.0.1:0\n")
        self.assertIn('/etc/reseal/hub.conf: section [hub] has no "credentials"',
                      self.told("reseal", "access", "list"))


if __name__ == "__main__":
    unittest.main()
