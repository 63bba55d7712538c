# SPDX-License-Identifier: Apache-2.0
"""The other side: devices, PFX files and sealed passwords, all of them the work of the openssl program,
so that nothing of this project judges its own work."""
import base64
import hashlib
import itertools
import os
import subprocess
import threading

from token_support import write_secret

PATIENCE = 60  # seconds until something that must happen counts as never happening
HASHES = {"oaepSha256": "sha256", "oaepSha384": "sha384", "oaepSha512": "sha512"}


def b64(data):
    return base64.b64encode(data).decode()


def room(bits, padding):
    """Longest password that a key takes (RFC 8017, section 7.1.1)."""
    return bits // 8 - 2 * hashlib.new(HASHES[padding]).digest_size - 2


def tool(*command, data=None, env=None, status=0):
    """Runs a program that is not ours; its standard output as bytes."""
    done = subprocess.run(command, input=data, env=env, capture_output=True, timeout=PATIENCE)
    if done.returncode != status:
        raise AssertionError(f"{' '.join(command)} ended with {done.returncode}: "
                             f"{done.stderr.decode(errors='replace')}")
    return done.stdout


# ---- devices ------------------------------------------------------------------------------------

CA_SETTINGS = """[ca]
default_ca = demo
[demo]
database = index
serial = serial
new_certs_dir = .
certificate = ca.pem
private_key = ca.key
default_md = sha256
policy = any
unique_subject = no
copy_extensions = none
[any]
commonName = supplied
"""


class Device:
    def __init__(self, folder, name):
        self.name, self.folder = name, folder
        self.key, self.certificate = f"{folder}/{name}.key", f"{folder}/{name}.pem"
        self.der = tool("openssl", "x509", "-in", self.certificate, "-outform", "DER")

    def open(self, payload):
        """What `openssl cms` makes of the payload with this device's key."""
        return tool("openssl", "cms", "-decrypt", "-inform", "DER", "-recip", self.certificate,
                    "-inkey", self.key, data=base64.b64decode(payload))


class DeviceCa:
    """A CA of devices, in a folder of its own."""

    def __init__(self, folder, name="device CA"):
        self.folder, self.path = folder, f"{folder}/ca.pem"
        self.lock = threading.Lock()
        os.makedirs(folder)
        self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                     "-noenc", "-keyout", "ca.key", "-out", "ca.pem", "-days", "3650",
                     "-subj", f"/CN={name}")
        for file, text in (("ca.conf", CA_SETTINGS), ("index", ""), ("serial", "1000\n")):
            with open(f"{folder}/{file}", "w") as out:
                out.write(text)

    def openssl(self, *arguments):
        done = subprocess.run(["openssl", *arguments], cwd=self.folder, capture_output=True,
                              timeout=PATIENCE)
        if done.returncode != 0:
            raise AssertionError(f"openssl {arguments[0]}: {done.stderr.decode()}")

    def issue(self, name, key="rsa:2048", start=None, end=None):
        """A device with a key `rsa:BITS` or `ec:CURVE`; start and end as YYYYMMDDHHMMSSZ."""
        kind, size = key.split(":")
        wish = ["-newkey", key] if kind == "rsa" else \
            ["-newkey", "ec", "-pkeyopt", f"ec_paramgen_curve:{size}"]
        self.openssl("req", *wish, "-noenc", "-keyout", f"{name}.key", "-out", f"{name}.csr",
                     "-subj", f"/CN={name}")
        times = ["-startdate", start, "-enddate", end] if start else ["-days", "30"]
        with self.lock:
            self.openssl("ca", "-batch", "-config", "ca.conf", "-in", f"{name}.csr",
                         "-out", f"{name}.pem", "-notext", *times)
        return Device(self.folder, name)


def make_pfx(folder, name, password, key="rsa:2048", *export):
    """A PFX file as a CA would escrow it; (path, SHA-1 thumbprint)."""
    base = f"{folder}/{name}"
    wish = ["-newkey", key] if key.startswith("rsa") else \
        ["-newkey", "ec", "-pkeyopt", f"ec_paramgen_curve:{key.split(':')[1]}"]
    tool("openssl", "req", "-x509", *wish, "-noenc", "-keyout", f"{base}.key", "-out",
         f"{base}.crt", "-days", "365", "-subj", f"/CN={name}/emailAddress={name}@example.org")
    write_secret(f"{base}.password", password)
    tool("openssl", "pkcs12", "-export", "-inkey", f"{base}.key", "-in", f"{base}.crt", "-name",
         name, "-out", f"{base}.pfx", "-passout", f"file:{base}.password", *export)
    der = tool("openssl", "x509", "-in", f"{base}.crt", "-outform", "DER")
    return f"{base}.pfx", hashlib.sha1(der).hexdigest()


# ---- sealing ------------------------------------------------------------------------------------

def seal(public_key, password, padding, mgf=None, label=None):
    """RSA-OAEP by `openssl pkeyutl`, so that nothing of ours takes part."""
    options = ["rsa_padding_mode:oaep", f"rsa_oaep_md:{HASHES[padding]}",
               f"rsa_mgf1_md:{mgf or HASHES[padding]}"]
    if label:
        options.append(f"rsa_oaep_label:{label}")
    return tool("openssl", "pkeyutl", "-encrypt", "-pubin", "-inkey", public_key,
                *itertools.chain(*(("-pkeyopt", option) for option in options)), data=password)


def modulus(public_key):
    text = tool("openssl", "rsa", "-pubin", "-in", public_key, "-noout", "-modulus").decode()
    return int(text.strip().split("=")[1], 16)
