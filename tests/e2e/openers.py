# SPDX-License-Identifier: Apache-2.0
"""Programs that open CMS messages, one class each. No two share code: that is what they are for.

An opener is made with a folder of its own and the devices, whose keys it takes in. open_all() takes
pairs of a device and a message, and gives for each the content, or Refused with what was said.
"""
import os
import re
import subprocess

import cms_reader
from Cryptodome.PublicKey import ECC, RSA
from peer import PATIENCE, tool

JAVA_FOLDER = "/usr/share/java"
HERE = os.path.dirname(os.path.abspath(__file__))


class Refused(Exception):
    pass


def command(*words, data=None, env=None):
    """Runs the program; False and what it said where it failed."""
    done = subprocess.run(words, input=data, env=env, capture_output=True, timeout=PATIENCE)
    return done.returncode == 0, done.stdout, done.stderr.decode(errors="replace")


class Opener:
    def __init__(self, folder, devices):
        self.folder, self.devices = folder, devices
        self.output = f"{folder}/opened"
        os.makedirs(folder, mode=0o700)
        self.enrol()

    def enrol(self):
        pass

    def end(self):
        pass

    def open_all(self, messages):
        return [self.open(device, der) for device, der in messages]

    def write(self, name, data):
        path = f"{self.folder}/{name}"
        with open(path, "wb") as out:
            out.write(data)
        return path

    def opened(self, *words, env=None):
        """By a program that is told to write the content to self.output."""
        if os.path.exists(self.output):
            os.remove(self.output)
        fine, _, said = command(*words, env=env)
        if not fine:
            return Refused(said)
        with open(self.output, "rb") as file:
            return file.read()


class OpenSsl(Opener):
    title = "OpenSSL `cms -decrypt`"

    def open(self, device, der):
        fine, content, said = command(
            "openssl", "cms", "-decrypt", "-binary", "-inform", "DER", "-recip",
            device.certificate, "-inkey", device.key, data=der)
        return content if fine else Refused(said)


class Nss(Opener):
    title = "NSS `cmsutil`"

    def enrol(self):
        self.database = f"sql:{self.folder}"
        # Many rounds of key stretching for each use of a private key prove nothing here.
        self.env = dict(os.environ, NSS_MAX_MP_PBE_ITERATION_COUNT="1")
        tool("certutil", "-N", "-d", self.database, "--empty-password", env=self.env)
        for device in self.devices:
            pfx = f"{self.folder}/{device.name}.p12"
            tool("openssl", "pkcs12", "-export", "-inkey", device.key, "-in", device.certificate,
                 "-name", device.name, "-out", pfx, "-passout", "pass:x")
            tool("pk12util", "-i", pfx, "-d", self.database, "-W", "x", "-K", "", env=self.env)

    def open(self, _device, der):
        return self.opened("cmsutil", "-D", "-d", self.database, "-i", self.write("message", der),
                           "-o", self.output, env=self.env)


class Gpgsm(Opener):
    title = "GnuPG `gpgsm`"

    def enrol(self):
        self.write("gpgsm.conf", b"disable-crl-checks\ndisable-dirmngr\n")
        os.makedirs(f"{self.folder}/private-keys-v1.d", mode=0o700)
        for device in self.devices:
            self.gpgsm("--import", device.certificate)
            self.take_key(device)

    def gpgsm(self, *words):
        return tool("gpgsm", "--homedir", self.folder, "--batch", *words).decode()

    def take_key(self, device):
        """Puts the key where gpg-agent has its keys. gpgsm 2.2.40 crashes over a PKCS#12 file with
        an EC key."""
        shown = self.gpgsm("--with-keygrip", "--list-keys", f"/CN={device.name}")
        grip = re.search(r"keygrip: ([0-9A-F]{40})", shown).group(1)
        with open(device.key) as file:
            text = f"Key: (private-key {self.expression(file.read())})\n"
        self.write(f"private-keys-v1.d/{grip}.key", text.encode())

    @staticmethod
    def expression(pem):
        """The key as an S-expression of libgcrypt."""
        def number(value):  # a zero byte in front: it is not negative
            return "#00" + value.to_bytes((value.bit_length() + 7) // 8, "big").hex() + "#"

        try:
            key = RSA.import_key(pem)
        except ValueError:
            key = ECC.import_key(pem)
            size = (key.pointQ.size_in_bits() + 7) // 8
            point = b"\4" + b"".join(int(part).to_bytes(size, "big") for part in key.pointQ.xy)
            return f'(ecc (curve "{key.curve}") (q #{point.hex()}#) (d {number(int(key.d))}))'
        p, q = sorted((key.p, key.q))  # the smaller one comes first
        parts = {"n": key.n, "e": key.e, "d": key.d, "p": p, "q": q, "u": pow(p, -1, q)}
        return f"(rsa {' '.join(f'({name} {number(value)})' for name, value in parts.items())})"

    def open(self, _device, der):
        return self.opened("gpgsm", "--homedir", self.folder, "--batch", "--output", self.output,
                           "--decrypt", self.write("message", der))

    def end(self):
        tool("gpgconf", "--homedir", self.folder, "--kill", "all")


class BouncyCastle(Opener):
    title = "Bouncy Castle"

    def enrol(self):
        for device in self.devices:
            tool("openssl", "pkcs8", "-topk8", "-nocrypt", "-in", device.key, "-outform", "DER",
                 "-out", f"{self.folder}/{device.name}.p8")

    def open_all(self, messages):
        lines = [self.line(number, device, der)
                 for number, (device, der) in enumerate(messages)]
        jars = ":".join(f"{JAVA_FOLDER}/{name}.jar" for name in ("bcpkix", "bcprov", "bcutil"))
        answers = tool("java", "-XX:TieredStopAtLevel=1", "-cp", jars, f"{HERE}/BouncyCastle.java",
                       data="".join(lines).encode()).decode().splitlines()
        if len(answers) != len(messages):
            raise AssertionError(f"{len(answers)} answers to {len(messages)} messages")
        return [self.content(number) if answer == "opened" else Refused(answer)
                for number, answer in enumerate(answers)]

    def line(self, number, device, der):
        return "\t".join((self.write(f"{number}.der", der), f"{self.folder}/{device.name}.p8",
                          device.certificate, f"{self.folder}/{number}.opened")) + "\n"

    def content(self, number):
        with open(f"{self.folder}/{number}.opened", "rb") as file:
            return file.read()


class Reader(Opener):
    title = "pyasn1 and PyCryptodome (cms_reader.py)"

    def open(self, device, der):
        with open(device.key) as file:
            key = file.read()
        try:
            return cms_reader.read(der, key, device.der)
        except (cms_reader.Refused, ValueError) as error:
            return Refused(str(error))


OPENERS = (OpenSsl, Nss, Gpgsm, BouncyCastle, Reader)
