# SPDX-License-Identifier: Apache-2.0
"""Real tokens and real programs for the tests of token, key, ceremony and doctor commands."""
import glob
import os
import secrets
import shutil
import subprocess
import tempfile
import unittest

import opencryptoki

BIN = os.environ["RESEAL_BIN"]
SOFTHSM = "/usr/lib/softhsm/libsofthsm2.so"


def find_nss():
    found = glob.glob("/usr/lib/*/libsoftokn3.so") + glob.glob("/usr/lib/*/nss/libsoftokn3.so")
    return found[0] if found else None


class Token:
    """Where a token is, and what a program needs in its environment to use it."""

    def __init__(self, module, label, pin, pin_file, env, init_args=""):
        self.module, self.label, self.pin = module, label, pin
        self.pin_file, self.env, self.init_args = pin_file, env, init_args
        self.room = None  # openCryptoki's: see opencryptoki.py

    def close(self):
        if self.room is not None:
            self.room.close()
            self.room = None

    def section(self):
        lines = ["[token]", f"module = {self.module}", f"label = {self.label}",
                 f"pin = file:{self.pin_file}"]
        if self.init_args:
            lines.append(f"init_args = {self.init_args}")
        return "\n".join(lines) + "\n"

    def options(self, pin=True):
        options = ["--module", self.module, "--label", self.label]
        if self.init_args:
            options += ["--init-args", self.init_args]
        return options + (["--pin", f"file:{self.pin_file}"] if pin else [])


def write_secret(path, text):
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        out.write(text)


def make_softhsm(folder, label="vault", pin=None):
    pin, so_pin = pin or secrets.token_hex(8), secrets.token_hex(8)
    os.makedirs(f"{folder}/tokens")
    with open(f"{folder}/softhsm2.conf", "w") as out:
        out.write(f"directories.tokendir = {folder}/tokens\nobjectstore.backend = file\n"
                  "log.level = ERROR\n")
    env = dict(os.environ, SOFTHSM2_CONF=f"{folder}/softhsm2.conf")
    subprocess.run(["softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin",
                    so_pin, "--pin", pin], env=env, check=True, stdout=subprocess.DEVNULL)
    write_secret(f"{folder}/pin", pin + "\n")
    return Token(SOFTHSM, label, pin, f"{folder}/pin", env)


def make_nss(folder, pin=None):
    pin = secrets.token_hex(8) if pin is None else pin
    os.makedirs(f"{folder}/db")
    write_secret(f"{folder}/pin", pin + "\n")
    # One round of key stretching: softokn goes through all of them for each use of a private key.
    env = dict(os.environ, NSS_MAX_MP_PBE_ITERATION_COUNT="1")
    subprocess.run(["certutil", "-N", "-d", f"sql:{folder}/db", "-f", f"{folder}/pin"],
                   env=env, check=True, stdout=subprocess.DEVNULL)
    args = f"configDir='sql:{folder}/db' certPrefix='' keyPrefix='' secmod='' flags="
    return Token(find_nss(), "NSS Certificate DB", pin, f"{folder}/pin", env, args)


def make_opencryptoki(folder, label="vault", pin=None):
    """From now on until token.close(), this thread and what it starts are in the token's room."""
    pin = pin or secrets.token_hex(opencryptoki.PIN_LENGTH // 2)
    os.makedirs(folder)
    write_secret(f"{folder}/pin", pin + "\n")
    # The library unmaps its token's part before a program ends, so that what that part leaves behind
    # cannot be told from leaks of ours; unit tests look for those, with that part held in place.
    env = dict(os.environ, ASAN_OPTIONS=f"{os.environ.get('ASAN_OPTIONS', '')}:detect_leaks=0")
    token = Token(opencryptoki.find_module(), label, pin, f"{folder}/pin", env)
    token.room = opencryptoki.Room(label, token.pin_file)
    return token


def in_etc(folder, *command):
    """The command that runs another one where /etc is that folder, in a mount namespace of its own."""
    script = f'mount --make-rprivate / && mount --bind "{folder}" /etc && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", script, "sh", *command]


MAKERS = {"softhsm": make_softhsm, "nss": make_nss, "opencryptoki": make_opencryptoki}


class TokenTest(unittest.TestCase):
    """A folder of its own for each test, and the secrets that must not appear in any output."""

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="reseal-e2e-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.secrets = []

    def softhsm(self, name="softhsm", label="vault"):
        token = make_softhsm(f"{self.folder}/{name}", label)
        self.secrets.append(token.pin)
        return token

    def nss(self):
        if find_nss() is None:
            self.skipTest("NSS softokn is not installed")
        token = make_nss(f"{self.folder}/nss")
        self.secrets.append(token.pin)
        return token

    def opencryptoki(self):
        token = make_opencryptoki(f"{self.folder}/opencryptoki")
        self.addCleanup(token.close)
        self.secrets.append(token.pin)
        return token

    def write(self, name, text):
        path = f"{self.folder}/{name}"
        with open(path, "w") as out:
            out.write(text)
        return path

    def keeps_secrets(self, *texts):
        for text in texts:
            for secret in self.secrets:
                self.assertNotIn(secret, text)

    def reseal(self, *args, env=None, **more):
        """Runs reseal without a terminal and looks that no secret is in what it says."""
        done = subprocess.run([f"{BIN}/reseal", *args], env=env, text=True, capture_output=True,
                              stdin=subprocess.DEVNULL, start_new_session=True, timeout=300,
                              **more)
        self.keeps_secrets(done.stdout, done.stderr)
        self.assertNotIn("Sanitizer", done.stderr)
        return done

    def succeeds(self, *args, env=None, **more):
        done = self.reseal(*args, env=env, **more)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done

    def fails(self, status, *args, env=None, **more):
        done = self.reseal(*args, env=env, **more)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done
