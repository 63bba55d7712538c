# SPDX-License-Identifier: Apache-2.0
"""What the tests of the command line share.

The other side is a small store of records and deliveries in the test's process, which reseals with
the openssl program: what our commands seal and open is checked by code that is not ours.
"""
import base64
import http.server
import json
import os
import re
import shutil
import stat
import subprocess
import tempfile
import threading
import unittest
import urllib.parse

RESEAL = os.path.join(os.environ["RESEAL_BIN"], "reseal")
PATIENCE = 60  # seconds
TOKEN = "bearer-token-that-nobody-may-see"
HASHES = {"oaepSha256": ("sha256", 190), "oaepSha384": ("sha384", 158), "oaepSha512": ("sha512", 126)}

os.environ.setdefault("ASAN_OPTIONS", "exitcode=99")


def openssl(*words, data=None):
    done = subprocess.run(("openssl",) + words, input=data, capture_output=True, timeout=PATIENCE)
    if done.returncode != 0:
        raise AssertionError(f"openssl {' '.join(words)}: {done.stderr.decode(errors='replace')}")
    return done.stdout


def write(path, content, mode=0o600):
    with open(path, "wb") as file:
        file.write(content)
    os.chmod(path, mode)
    return path


def read(path):
    with open(path, "rb") as file:
        return file.read()


def mode_of(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def unseal(folder, sealed, padding):
    """RSA-OAEP by openssl, the MGF1 hash equal to the OAEP hash."""
    digest = HASHES[padding][0]
    return openssl("pkeyutl", "-decrypt", "-inkey", f"{folder}/sealing.key", "-pkeyopt",
                   "rsa_padding_mode:oaep", "-pkeyopt", f"rsa_oaep_md:{digest}", "-pkeyopt",
                   f"rsa_mgf1_md:{digest}", data=sealed)


class Peer(http.server.BaseHTTPRequestHandler):
    """A store and a hub with the APIs that our commands speak; `server.mode` makes it behave otherwise."""
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def say(self, status, body=None, **headers):
        text = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.send_header("request-id", "req-0815")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(text)

    def fail(self, status, code, message):
        self.say(status, {"error": {"code": code, "message": message}})

    def handle_all(self):
        server = self.server
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        parts = urllib.parse.urlsplit(self.path)
        server.heard.append((self.command, self.path))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.fail(401, "Unauthorized", "who are you?")
        records = "/beta/deviceManagement/userPfxCertificates"
        if parts.path == records or parts.path.startswith(records + "/"):
            return self.record(body, parts, urllib.parse.unquote(parts.path[len(records) + 1:]))
        if parts.path == "/v1/deliveries" or parts.path.startswith("/v1/deliveries/"):
            return self.delivery(body, parts.path[len("/v1/deliveries/"):])
        return self.fail(404, "NotFound", "no such thing")

    do_GET = do_POST = do_DELETE = handle_all

    def shown(self, record):
        return dict(record, encryptedPfxBlob="AA==", encryptedPfxPassword="")

    def record(self, body, parts, key):
        store = self.server.records
        if self.command == "POST":
            key = "0123-" + body["thumbprint"]
            if key in store:
                return self.fail(409, "Conflict", "there is one")
            store[key] = dict(body, id=key, createdDateTime="2026-01-02T03:04:05.000Z",
                              lastModifiedDateTime="2026-01-02T03:04:05.000Z")
            return self.say(201, self.shown(store[key]))
        if key:
            if key not in store:
                return self.fail(404, "ResourceNotFound", "no such record")
            if self.command == "DELETE":
                del store[key]
                return self.say(204)
            return self.say(200, self.shown(store[key]))
        query = urllib.parse.parse_qs(parts.query)
        conditions = dict(re.findall(r"tolower\((\w+)\) eq '((?:[^']|'')*)'",
                                     query.get("$filter", [""])[0]))
        found = [self.shown(record) for record in store.values() if self.server.mode == "no filter"
                 or all(record[name].lower() == value.replace("''", "'")
                        for name, value in conditions.items())]
        return self.say(200, {"value": found})

    def delivery(self, body, key):
        server = self.server
        if self.command == "POST":
            if body["recordId"] not in server.records:
                return self.fail(404, "CertificateNotFound", "no such record")
            key = f"delivery-{len(server.deliveries)}"
            server.deliveries[key] = body
            server.polls = 0
            return self.say(202, {"id": key, "state": "pending"})
        if key not in server.deliveries:
            return self.fail(404, "ResourceNotFound", "no such delivery")
        server.polls += 1
        base = {"id": key, "recordId": server.deliveries[key]["recordId"], "format": "cms",
                "createdDateTime": "2026-01-02T03:04:05.000Z"}
        if server.mode == "pending":
            return self.say(200, dict(base, state="pending"))
        if server.mode == "garbled":
            return self.say(200, dict(base, state="somehow"))
        if server.mode == "unauthorised":
            return self.fail(403, "Forbidden", "not you")
        if server.mode == "restart" and server.polls < 3:
            self.close_connection = True
            return self.connection.close()
        errors = {"refused": (4002, "ParameterDataInvalid", False, "refused"),
                  "failed": (4003, "Cryptography", False, "failed"),
                  "away": (4101, "Unavailable", True, "failed")}
        if server.mode in errors:
            code, name, retryable, state = errors[server.mode]
            return self.say(200, dict(base, state=state, error={
                "code": code, "name": name, "retryable": retryable, "message": "so it is"}))
        return self.say(200, self.reseal(base, server.deliveries[key]))

    def reseal(self, base, order):
        folder = self.server.folder
        record = self.server.records[order["recordId"]]
        password = unseal(folder, base64.b64decode(record["encryptedPfxPassword"]),
                          record["paddingScheme"])
        certificate = openssl("x509", "-inform", "der",
                              data=base64.b64decode(order["device"]["certificate"]))
        path = write(os.path.join(folder, "to.pem"), certificate)
        payload = openssl("cms", "-encrypt", "-binary", "-outform", "der", "-aes-256-cbc", path,
                          data=password)
        return dict(base, state="resealed", custody="host", connector="peer",
                    payload=base64.b64encode(payload).decode(),
                    encryptedPfxBlob=record["encryptedPfxBlob"],
                    completedDateTime="2026-01-02T03:04:05.042Z")


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.shared = tempfile.mkdtemp(prefix="reseal-cli-")
        cls.addClassCleanup(shutil.rmtree, cls.shared)
        folder = cls.shared
        openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out",
                f"{folder}/sealing.key")
        openssl("pkey", "-in", f"{folder}/sealing.key", "-pubout", "-out", f"{folder}/sealing.pub")
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-keyout", f"{folder}/user.key", "-out", f"{folder}/user.pem", "-days", "30",
                "-subj", "/CN=alice")

    def setUp(self):
        self.folder = tempfile.mkdtemp(dir=self.shared)
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Peer)
        self.server.daemon_threads = True
        self.server.folder, self.server.mode = self.shared, ""
        self.server.records, self.server.deliveries, self.server.heard = {}, {}, []
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        self.secrets = [TOKEN]
        write(self.path("token"), TOKEN.encode() + b"\n")
        self.config = self.path("reseal.conf")
        self.write_config()

    def write_config(self, **extra):
        url = f"http://127.0.0.1:{self.server.server_address[1]}"
        values = {"records": url + "/beta", "hub": url, "api_token": "file:token",
                  "public_key": f"{self.shared}/sealing.pub", "key_name": "sealing-1", **extra}
        text = "".join(f"{name} = {value}\n" for name, value in values.items())
        write(self.config, ("[client]\n" + text).encode())

    def path(self, name):
        return os.path.join(self.folder, name)

    def reseal(self, *words, status=0, data=b"", fds=(), config=True):
        command = [RESEAL, *words] + (["--config", self.config] if config else [])
        done = subprocess.run(command, input=data, capture_output=True, timeout=PATIENCE,
                              pass_fds=fds, start_new_session=True)
        text = done.stderr.decode()
        self.assertEqual(done.returncode, status, f"{words}: {text}")
        for secret in self.secrets:
            self.assertNotIn(secret.encode(), done.stdout + done.stderr, "a secret in the output")
        if status:
            self.assertTrue(text.startswith("reseal: ") or "\nreseal: " in text, text)
        return done.stdout.decode(), text

    def password(self, text):
        if len(text) > 3:
            self.secrets.append(text)
        return "file:" + write(self.path("password"), text.encode() + b"\n")

    def pfx(self, password, *options, name="user.pfx", key="user.key", certificate="user.pem"):
        source = self.password(password)
        openssl("pkcs12", "-export", *options, "-inkey", f"{self.shared}/{key}", "-in",
                f"{self.shared}/{certificate}", "-passout", source, "-out", self.path(name))
        return self.path(name), source

    def certificate(self, name, begin, end):
        """A self-signed certificate of user.key that is valid from and until the days given."""
        conf = write(self.path("ca.conf"), f"""[ca]
default_ca=x
[x]
database={self.folder}/index
serial={self.folder}/serial
new_certs_dir={self.folder}
default_md=sha256
policy=p
[p]
commonName=supplied
""".encode())
        write(self.path("index"), b"")
        write(self.path("serial"), b"01\n")
        openssl("req", "-new", "-key", f"{self.shared}/user.key", "-subj", "/CN=alice", "-out",
                self.path("csr"))
        openssl("ca", "-batch", "-selfsign", "-config", conf, "-keyfile", f"{self.shared}/user.key",
                "-in", self.path("csr"), "-out", f"{self.shared}/{name}", "-notext", "-startdate",
                begin, "-enddate", end)
        return name

    def make(self, password="correct horse", *more, **options):
        path, source = self.pfx(password)
        return self.reseal("pfx", "new", "--pfx", path, "--user", "alice@example.org", "--password",
                           source, *more, **options)
