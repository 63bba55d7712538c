# SPDX-License-Identifier: Apache-2.0
"""The systemd units: systemd understands them, and they read the files that the pages name."""
import os
import re
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from token_support import BIN  # noqa: E402

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


if __name__ == "__main__":
    unittest.main()
