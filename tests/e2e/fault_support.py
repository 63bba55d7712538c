# SPDX-License-Identifier: Apache-2.0
"""The fault module between a stage's programs and its token: see tests/fault/fault.h."""
import glob
import os

from token_support import BIN

MODULE = os.path.normpath(f"{BIN}/../tests/libreseal-fault.so")
LOGGED = "C_Initialize C_Login C_UnwrapKey C_OpenSession"


class Fault:
    """One script, and the log of the calls that went by. The stage's programs use it from now on."""

    def __init__(self, stage):
        self.real = stage.token.module
        self.path, self.log = f"{stage.folder}/fault", f"{stage.folder}/fault.calls"
        stage.env = dict(stage.env, RESEAL_FAULT=self.path)
        self.token = {"module": MODULE}
        self.set()

    def set(self, *rules):
        """Replaces the script; what was to be once may be once more."""
        with open(f"{self.path}.new", "w") as out:
            out.write("\n".join([f"module {self.real}", f"log {self.log} {LOGGED}", *rules, ""]))
        for mark in glob.glob(f"{self.path}.once-*"):
            os.unlink(mark)
        os.rename(f"{self.path}.new", self.path)

    def forget(self):
        """The log begins anew. Only while nobody makes calls."""
        if os.path.exists(self.log):
            os.truncate(self.log, 0)

    def calls(self, function):
        """(pid, answer) of each call, in order."""
        if not os.path.exists(self.log):
            return []
        with open(self.log) as file:
            lines = [line.split() for line in file]
        return [(int(pid), answer) for pid, name, answer, _ in lines if name == function]

    def answers(self, function):
        return [answer for _, answer in self.calls(function)]
