# SPDX-License-Identifier: Apache-2.0
"""The processes as the system sees them: another process of the same user gets neither their memory
nor their environment, and none of them leaves a core.

As root, the programs run as a user of their own for it, who may read what is his.
"""
import os
import pwd
import shutil
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from daemon import Daemon  # noqa: E402
from harness import BIN, StageTest, children, stable_port  # noqa: E402

NOBODY = pwd.getpwnam("nobody")
AS_ROOT = os.geteuid() == 0
OPTIONS = {"user": NOBODY.pw_uid, "group": NOBODY.pw_gid, "extra_groups": []} if AS_ROOT else {}
# Says what of a process its own user can read.
LOOK = """
import sys
for name in ("environ", "maps", "mem"):
    try:
        with open(f"/proc/{sys.argv[1]}/{name}", "rb") as file:
            if name != "mem":
                file.read(1)
        print(name)
    except PermissionError:
        pass
"""


class Hardened(StageTest):
    kind = "nss"

    @classmethod
    def setUpClass(cls):
        cls.options = {"port": stable_port()}  # the hub is started again
        super().setUpClass()

    @classmethod
    def prepare(cls):
        stage = cls.stage
        programs = f"{stage.folder}/bin"
        os.mkdir(programs)
        for program in ("reseald", "reseal-hsm", "reseal-hub"):
            shutil.copy(f"{BIN}/{program}", programs)
        stage.hub.stop()
        config = stage.config(connector={"helper": f"{programs}/reseal-hsm"})
        if AS_ROOT:
            for folder, _, files in os.walk(stage.folder):
                for path in [folder] + [f"{folder}/{name}" for name in files]:
                    os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid)
        cls.hub = cls.start(f"{programs}/reseal-hub", stage.hub.config)
        cls.hub.wait_event(lambda event: event.get("message") == "listening")
        cls.connector = cls.start(f"{programs}/reseald", config)
        stage.wait_ready(cls.connector)
        cls.helper = children(cls.connector.pid)[0]

    @classmethod
    def start(cls, program, config):
        daemon = Daemon(os.path.relpath(program, BIN), config, cls.stage.env,
                        f"{cls.stage.folder}/{os.path.basename(program)}.log", **OPTIONS)
        cls.stage.daemons.append(daemon)
        return daemon.start()

    def readable(self, pid):
        done = subprocess.run(["/usr/bin/python3", "-B", "-c", LOOK, str(pid)], check=True,
                              capture_output=True, text=True, cwd="/", **OPTIONS)
        return done.stdout.split()

    def pids(self):
        return {"reseald": self.connector.pid, "reseal-hub": self.hub.pid,
                "reseal-hsm": self.helper}

    def test_nothing_of_them_is_readable_to_their_own_user(self):
        with subprocess.Popen(["/usr/bin/sleep", "600"], cwd="/", **OPTIONS) as other:
            try:
                self.assertIn("environ", self.readable(other.pid), "what is not hardened is")
            finally:
                other.kill()
        for program, pid in self.pids().items():
            with self.subTest(program=program):
                self.assertEqual(os.stat(f"/proc/{pid}/mem").st_uid, 0)
                self.assertEqual(self.readable(pid), [])

    def test_they_run_as_that_user_and_write_no_cores(self):
        for program, pid in self.pids().items():
            with self.subTest(program=program), open(f"/proc/{pid}/status") as status, \
                    open(f"/proc/{pid}/limits") as limits:
                uid = next(line for line in status if line.startswith("Uid:")).split()[1]
                self.assertEqual(int(uid), NOBODY.pw_uid if AS_ROOT else os.geteuid())
                line = next(line for line in limits if line.startswith("Max core file size"))
                self.assertEqual(line.split()[4:6], ["0", "0"], line)


if __name__ == "__main__":
    unittest.main()
