# SPDX-License-Identifier: Apache-2.0
"""What the end-to-end tests share: a real token, a real hub, real connectors.

A Stage is one folder with a token, sealing keys made by the ceremony, a hub and the configuration
of its connectors. Everything listens on 127.0.0.1 with a port that is free, and close() ends only
what the stage has started.
"""
import concurrent.futures
import hashlib
import itertools
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import unittest

from daemon import Daemon, children, process_exists, wait_until  # noqa: F401
from hub_client import Answer, Api, Sqs, http_call  # noqa: F401
from peer import (HASHES, PATIENCE, Device, DeviceCa, b64, make_pfx, modulus, room,  # noqa: F401
                  seal, tool)
from token_support import BIN, MAKERS, write_secret  # noqa: F401

SOURCE = os.environ["RESEAL_SOURCE"]
LONG = os.environ.get("RESEAL_LONG", "") not in ("", "0")
CUSTODY = {"softhsm": "host", "nss": "token", "opencryptoki": "host"}

os.environ.setdefault("LSAN_OPTIONS", f"suppressions={SOURCE}/tests/lsan.supp:print_suppressions=0")
os.environ.setdefault("ASAN_OPTIONS", "exitcode=99:detect_stack_use_after_return=1")
os.environ.setdefault("UBSAN_OPTIONS", "print_stacktrace=1")


def stable_port():
    """A free port outside the range that the system gives to clients: a hub that is killed finds it
    free again, and no client that tries to reach it meanwhile connects to itself."""
    chooser = secrets.SystemRandom()
    with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
        top = min(int(file.read().split()[0]), 32768)
    for _ in range(200):
        port = chooser.randrange(max(top // 2, 1100), top)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise AssertionError("no free port")


_serial = itertools.count(1)


def record(sealed, key_name, padding="oaepSha512", pfx=b"a PFX as far as the way there goes",
           user="user@example.org", **more):
    """The JSON of a record, as an importer posts it."""
    fields = {"thumbprint": hashlib.sha1(f"{os.getpid()} {next(_serial)}".encode()).hexdigest(),
              "intendedPurpose": "smimeEncryption", "userPrincipalName": user,
              "startDateTime": "2026-01-01T00:00:00Z", "expirationDateTime": "2036-01-01T00:00:00Z",
              "providerName": "reseal", "keyName": key_name, "paddingScheme": padding,
              "encryptedPfxBlob": b64(pfx), "encryptedPfxPassword": b64(sealed)}
    fields.update(more)
    return fields


def write_ini(path, sections):
    with open(path, "w") as out:
        for section, keys in sections.items():
            out.write(f"[{section}]\n")
            out.writelines(f"{key} = {value}\n" for key, value in keys.items() if value is not None)
    return path


class Stage:
    """A token with sealing keys `keys` (name -> bits), a hub, and connectors by configuration."""
    hub_sections = {}  # of the hub's configuration, besides [hub] and [log]

    def __init__(self, kind="softhsm", keys=None, pin=None, port=0, level="info", lease=60,
                 require=None, hub=None, custody=None):
        self.kind, self.custody, self.level = kind, custody or CUSTODY[kind], level
        self.folder = tempfile.mkdtemp(prefix="reseal-e2e-")
        self.daemons, self.secrets, self.token = [], [], None
        self.lease, self.require = lease, require or self.custody
        try:
            self.token = self.make_token(pin)
            self.env = self.token.env
            self.public_keys = {}
            for name, bits in (keys if keys is not None else {"sealing": 2048}).items():
                self.hold_ceremony(name, bits)
            self.ca = DeviceCa(f"{self.folder}/devices")
            self.start_hub(port, hub or {})
        except BaseException:
            self.close()
            raise

    # -- parts --

    def make_token(self, pin):
        return MAKERS[self.kind](f"{self.folder}/token", pin=pin)

    def token_section(self, **more):
        section = {"module": self.token.module, "label": self.token.label,
                   "pin": f"file:{self.token.pin_file}", "init_args": self.token.init_args or None}
        section.update(more)
        return section

    def hold_ceremony(self, name, bits):
        path = f"{self.folder}/{name}"
        plan = write_ini(f"{path}.plan", {
            "ceremony": {"name": "test", "place": "test", "officer": "test",
                         "allow_yes": "yes"},
            "token": self.token_section(),
            "key": {"label": name, "bits": bits, "custody": self.custody},
            "output": {"public_key": f"{path}.pem", "transcript": f"{path}.jsonl"}})
        self.succeeds("ceremony", "run", plan, "--yes")
        self.succeeds("ceremony", "commit", f"{path}.jsonl", "--yes")
        self.public_keys[name] = f"{path}.pem"

    def start_hub(self, port, more):
        self.api_token = secrets.token_hex(16)
        self.access_key = "AK" + secrets.token_hex(8).upper()
        self.secret_key = secrets.token_hex(20)
        self.secrets += [self.token.pin, self.api_token, self.secret_key]
        write_secret(f"{self.folder}/api-token", self.api_token + "\n")
        os.makedirs(f"{self.folder}/queue", exist_ok=True)  # apart: reseald may read all of this one
        write_secret(f"{self.folder}/queue/access-keys",
                     f"[default]\naws_access_key_id = {self.access_key}\n"
                     f"aws_secret_access_key = {self.secret_key}\n")
        hub = {"listen": f"127.0.0.1:{port}", "database": f"{self.folder}/hub.sqlite",
               "api_token": f"file:{self.folder}/api-token",
               "credentials": f"{self.folder}/queue/access-keys"}
        hub.update(more)
        config = write_ini(f"{self.folder}/hub.conf",
                           {"hub": hub, **self.hub_sections,
                            "log": {"level": self.level, "format": "json"}})
        self.hub = self.daemon("reseal-hub", config, "hub.log")
        self.hub.start()
        self.port = self.hub_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.api = Api(self.port, self.api_token)
        self.sqs = Sqs(self.port, self.access_key, self.secret_key)

    def hub_port(self):
        listening = self.hub.wait_event(lambda event: event.get("message") == "listening")
        return int(listening["port"])

    def daemon(self, program, config, log, **options):
        daemon = Daemon(program, config, self.env, f"{self.folder}/{log}", **options)
        self.daemons.append(daemon)
        return daemon

    def config(self, name="connector", token=None, connector=None, queue=None, log=None, tokens=None,
               **more):
        """Writes the configuration of a connector, which the commands read too; `tokens` are its
        tokens instead of the stage's, by the names of their sections."""
        descriptors = [f"{path}.descriptor" for path in self.public_keys.values()]
        own = {"token": self.token_section(**{"key": ", ".join(self.public_keys),
                                              "descriptor": ", ".join(descriptors),
                                              **(token or {})})}
        sections = {
            **(tokens or own),
            "connector": {"name": name, "device_ca": self.ca.path, "require": self.require,
                          "workers": 2, "helper": f"{BIN}/reseal-hsm",
                          "status_socket": f"{self.folder}/{name}.sock", **(connector or {})},
            "queue": {"endpoint": self.url, "credentials": f"{self.folder}/queue/access-keys",
                      "lease": self.lease, **(queue or {})},
            "client": {"records": f"{self.url}/beta", "hub": self.url,
                       "api_token": f"file:{self.folder}/api-token"},
            "log": {"level": self.level, "format": "json", **(log or {})}, **more}
        return write_ini(f"{self.folder}/{name}.conf", sections)

    def connector(self, name="connector", ready=True, **sections):
        """A connector that serves (or, with ready=False, one that was only started)."""
        daemon = self.daemon("reseald", self.config(name, **sections), f"{name}.log")
        daemon.start()
        if ready:
            self.wait_ready(daemon)
        return daemon

    @staticmethod
    def wait_ready(connector):
        return connector.wait_event(lambda event: event.get("event") == 1001)

    # -- work --

    def reseal(self, *arguments, config=None, **more):
        """Runs the command line without a terminal; no secret may be in what it says."""
        if config:
            arguments += ("--config", config)
        done = subprocess.run([f"{BIN}/reseal", *arguments], env=self.env, capture_output=True,
                              text=True, stdin=subprocess.DEVNULL, start_new_session=True,
                              timeout=2 * PATIENCE, **more)
        for secret in self.secrets:
            if secret in done.stdout + done.stderr:
                raise AssertionError(f"reseal {arguments[0]} says a secret")
        if "Sanitizer" in done.stderr or "runtime error:" in done.stderr:
            raise AssertionError(done.stderr)
        return done

    def succeeds(self, *arguments, **more):
        done = self.reseal(*arguments, **more)
        if done.returncode != 0:
            raise AssertionError(f"reseal {' '.join(arguments)} ended with {done.returncode}:\n"
                                 f"{done.stdout}{done.stderr}")
        return done

    def escrow(self, password, key=None, padding="oaepSha512", **more):
        """A record with a password sealed by openssl; its id."""
        key = key or next(iter(self.public_keys))
        sealed = seal(self.public_keys[key], password, padding)
        return self.api.add_record(record(sealed, key, padding, **more))

    def close(self):
        for daemon in reversed(self.daemons):
            if daemon.process is not None and daemon.alive():
                try:
                    daemon.stop(30)
                except AssertionError:
                    daemon.kill()
        if self.token is not None:
            self.token.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def complaints(self):
        """What must be empty at the end: findings of sanitizers, and secrets in logs."""
        found = []
        for daemon in self.daemons:
            found += daemon.complaints()
            with daemon.changed:
                said = "".join(daemon.lines)
            found += [f"a secret is in the log of {daemon.program}"
                      for secret in self.secrets if secret in said]
        return found


class StageTest(unittest.TestCase):
    """Tests that share one stage, `kind` and `options` naming it; looked over when all have run."""
    kind = "softhsm"
    options = {}
    stage_class = Stage
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.stage = cls.stage_class(cls.kind, **cls.options)
        cls.addClassCleanup(cls.stage.close)
        cls.prepare()

    @classmethod
    def prepare(cls):
        pass

    @classmethod
    def tearDownClass(cls):
        for daemon in reversed(cls.stage.daemons):
            if daemon.process is not None and daemon.alive():
                daemon.stop()
        complaints = cls.stage.complaints()
        if complaints:
            raise AssertionError("\n".join(complaints))

    def opens(self, device, outcome, password):
        """The delivery was resealed, and openssl opens exactly the password."""
        self.assertEqual(outcome["state"], "resealed", outcome)
        self.assertEqual(outcome["resultsEffective"], 1, outcome)
        self.assertEqual(outcome["custody"], self.stage.custody)
        self.assertEqual(device.open(outcome["payload"]), password)


def together(work, items, workers=4):
    """Calls work(item) for all items, a few at a time; the results in order."""
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        return list(pool.map(work, items))


class ServesOn(StageTest):
    """After each test the same processes are alive and a good delivery comes through."""

    @classmethod
    def prepare(cls):
        cls.device = cls.stage.ca.issue("laptop")
        cls.connector = cls.stage.connector()
        cls.password = b"good " + secrets.token_hex(8).encode()
        cls.stage.secrets.append(cls.password.decode())
        cls.good = cls.stage.escrow(cls.password)

    def setUp(self):
        self.pids = (self.stage.hub.pid, self.connector.pid, children(self.connector.pid))

    def tearDown(self):
        self.assertTrue(self.stage.hub.alive(), self.stage.hub.tail())
        self.assertTrue(self.connector.alive(), self.connector.tail())
        self.assertEqual((self.stage.hub.pid, self.connector.pid, children(self.connector.pid)),
                         self.pids)
        api = self.stage.api
        self.opens(self.device, api.outcome(api.deliver(self.good, self.device)), self.password)
