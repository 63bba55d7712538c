# SPDX-License-Identifier: Apache-2.0
"""Tests of the hub that are written for the real SDK: @aws-sdk/client-sqs, on Node.js from npm."""
import json
import os
import subprocess

from hub_support import SLOW, HubTest

FOLDER = os.path.join(os.environ["RESEAL_SOURCE"], "tests/e2e/sqs_sdk")
MODULES = os.path.join(os.environ["RESEAL_SOURCE"], "build/npm/node_modules")


def run_script(script, setting):
    """Runs a script of tests with Node.js; the setting, with its secrets, goes by standard input."""
    environment = {"PATH": os.environ["PATH"], "NODE_PATH": MODULES}
    done = subprocess.run([os.path.join(MODULES, ".bin/node"), os.path.join(FOLDER, script)],
                          input=json.dumps(setting), env=environment, capture_output=True, text=True,
                          timeout=2 * SLOW, check=False)
    said = done.stdout + done.stderr
    for key in setting["keys"].values():
        assert key["secretAccessKey"] not in said, "a script says a secret"
    return done.returncode, said


class SdkTest(HubTest):
    def setting(self, **more):
        scheme = "https" if self.hub.tls else "http"
        return {"endpoint": f"{scheme}://127.0.0.1:{self.hub.port}", "region": "eu-central-1",
                "keys": {"default": {"accessKeyId": self.hub.key,
                                     "secretAccessKey": self.hub.secret}}, **more}

    def passes(self, script, least, **more):
        """Every test of the script is well, and there are as many as there should be."""
        status, said = run_script(script, self.setting(**more))
        self.assertEqual(status, 0, said)
        passed = [line for line in said.splitlines() if "pass" in line and line[-1].isdigit()]
        self.assertTrue(passed and int(passed[-1].split()[-1]) >= least, said)
