# SPDX-License-Identifier: Apache-2.0
"""A real reseal-hub for the tests that look at it from outside.

The requests are made by Python's own HTTP client and signed here from the published algorithm, so
that nothing of this project's client code takes part.
"""
import base64
import datetime
import hashlib
import hmac
import http.client
import json
import os
import secrets
import shutil
import subprocess
import tempfile
import threading
import unittest
import uuid

HUB = os.path.join(os.environ["RESEAL_BIN"], "reseal-hub")
RECORDS = "/beta/deviceManagement/userPfxCertificates"
SLOW = 60  # seconds after which something that must happen never happens
os.environ.setdefault("ASAN_OPTIONS", "exitcode=99:detect_stack_use_after_return=1")
os.environ.setdefault("UBSAN_OPTIONS", "print_stacktrace=1")


def b64(data):
    return base64.b64encode(data).decode()


def write_private(path, text):
    with open(path, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(text)


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def type(self):
        """Kind of a queue error: what follows the '#'."""
        return self.json["__type"].split("#")[1]

    @property
    def error(self):
        return self.json["error"]

    def __repr__(self):
        return f"{self.status} {self.body[:400]!r}"


def sign(operation, body, host, key, secret, region="local", shift=0, path="/"):
    """Headers of a request signed with Signature Version 4."""
    moment = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=shift)
    stamp = moment.strftime("%Y%m%dT%H%M%SZ")
    headers = {"Content-Type": "application/x-amz-json-1.0", "Host": host, "X-Amz-Date": stamp,
               "X-Amz-Target": f"AmazonSQS.{operation}"}
    names = ";".join(sorted(name.lower() for name in headers))
    canonical = "\n".join(
        ["POST", path, ""] +
        [f"{name.lower()}:{headers[name]}" for name in sorted(headers, key=str.lower)] +
        ["", names, hashlib.sha256(body).hexdigest()])
    scope = f"{stamp[:8]}/{region}/sqs/aws4_request"
    to_sign = "\n".join(["AWS4-HMAC-SHA256", stamp, scope,
                         hashlib.sha256(canonical.encode()).hexdigest()])
    signing = ("AWS4" + secret).encode()
    for part in scope.split("/"):
        signing = hmac.new(signing, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(signing, to_sign.encode(), hashlib.sha256).hexdigest()
    headers["Authorization"] = (f"AWS4-HMAC-SHA256 Credential={key}/{scope}, "
                                f"SignedHeaders={names}, Signature={signature}")
    return headers


class Hub:
    """One hub with its folder; kill and start as often as wanted, always on the same port."""

    tls = None  # an ssl.SSLContext: the hub is reached over TLS

    def __init__(self, prepare=None, **settings):
        """`prepare(folder)` makes the files that the settings name."""
        self.folder = tempfile.mkdtemp(prefix="hub-test-")
        if prepare:
            prepare(self.folder)
        self.token = secrets.token_hex(16)
        self.key, self.secret = "AK" + secrets.token_hex(8).upper(), secrets.token_urlsafe(30) + "/+"
        self.config = os.path.join(self.folder, "reseal.conf")
        self.settings = {"listen": "127.0.0.1:0", "database": "hub.db",
                         "api_token": "file:token", "credentials": "credentials", **settings}
        write_private(os.path.join(self.folder, "token"), self.token + "\n")
        write_private(os.path.join(self.folder, "credentials"),
                      f"[default]\naws_access_key_id = {self.key}\n"
                      f"aws_secret_access_key = {self.secret}\n")
        self.log, self.port, self.process = [], None, None
        self.start()

    def write_config(self):
        lines = ["[hub]"] + [f"{name} = {value}" for name, value in self.settings.items() if value]
        write_private(self.config, "\n".join(lines + ["[log]", "level = debug", "format = json"]))

    def command(self):
        return [HUB, "--config", self.config]

    def start(self):
        self.write_config()
        self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            self.log.append(line)
            event = json.loads(line) if line.startswith("{") else {}
            if event.get("message") == "listening":
                self.port = event["port"]
                break
        else:
            raise AssertionError("the hub did not start: " + "".join(self.log[-5:]))
        self.settings["listen"] = f"127.0.0.1:{self.port}"
        reader = threading.Thread(target=self._read, args=(self.process.stderr,), daemon=True)
        reader.start()
        self.reader = reader

    def _read(self, pipe):
        with pipe:
            self.log.extend(pipe)

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.reader.join()

    def restart(self):
        self.kill()
        self.start()

    def stop(self):
        self.process.terminate()
        status = self.process.wait(SLOW)
        self.reader.join()
        return status

    def close(self):
        if self.process.poll() is None:
            self.kill()
        shutil.rmtree(self.folder)

    # -- requests --

    def connect(self):
        if self.tls:
            return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=SLOW,
                                               context=self.tls)
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=SLOW)

    def call(self, method, path, body=None, headers=None, connection=None):
        own = connection is None
        connection = connection or self.connect()
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            if own:
                connection.close()

    def api(self, method, path, body=None, connection=None, **headers):
        named = {"Authorization": f"Bearer {self.token}"}
        if isinstance(body, (dict, list)):
            body = json.dumps(body).encode()
        if body is not None:
            named["Content-Type"] = "application/json"
        named.update({name.replace("_", "-"): value for name, value in headers.items()})
        return self.call(method, path, body, named, connection)

    def sqs(self, operation, connection=None, raw=None, **members):
        body = raw if raw is not None else json.dumps(members).encode()
        headers = sign(operation, body, f"127.0.0.1:{self.port}", self.key, self.secret)
        return self.call("POST", "/", body, headers, connection)

    def url(self, queue):
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}/000000000000/{queue}"

    def send(self, queue, body, **more):
        return self.sqs("SendMessage", QueueUrl=self.url(queue), MessageBody=body, **more)

    def receive(self, queue, connection=None, **more):
        answer = self.sqs("ReceiveMessage", QueueUrl=self.url(queue), connection=connection,
                          **{"AttributeNames": ["All"], **more})
        assert answer.status == 200, answer
        return answer.json.get("Messages", [])

    def attributes(self, queue):
        answer = self.sqs("GetQueueAttributes", QueueUrl=self.url(queue), AttributeNames=["All"])
        return answer.json["Attributes"]

    def waiting(self, queue):
        found = self.attributes(queue)
        return (int(found["ApproximateNumberOfMessages"]),
                int(found["ApproximateNumberOfMessagesNotVisible"]))

    def new_queue(self, **attributes):
        name = "q-" + secrets.token_hex(6)
        answer = self.sqs("CreateQueue", QueueName=name, Attributes=attributes)
        assert answer.status == 200, answer
        return name


def record(upn="ann@example.org", thumbprint=None, **more):
    return {"thumbprint": thumbprint or secrets.token_hex(20), "intendedPurpose": "smimeEncryption",
            "userPrincipalName": upn, "startDateTime": "2026-01-01T00:00:00Z",
            "expirationDateTime": "2028-01-01T00:00:00Z", "providerName": "reseal",
            "keyName": "sealing", "paddingScheme": "oaepSha512",
            "encryptedPfxBlob": b64(b"p" * 3000), "encryptedPfxPassword": b64(b"s" * 256), **more}


def order(record_id, **more):
    return {"recordId": record_id, "format": "cms",
            "device": {"id": "phone", "platform": "ios", "certificate": b64(b"\x30\x03\x02\x01\x05")},
            **more}


def result(subject, payload=b"opened", **data):
    """A result message as a connector sends it."""
    data = data or {"outcome": "resealed", "custody": "host", "format": "cms",
                    "payload": b64(payload), "keyName": "sealing", "connector": "one"}
    return json.dumps({"specversion": "1.0", "type": "reseal.result.v1",
                       "source": "urn:reseal:connector:one", "id": str(uuid.uuid4()),
                       "subject": subject, "time": "2026-11-23T22:00:00Z",
                       "datacontenttype": "application/json", "data": data})


class HubTest(unittest.TestCase):
    """Tests that share one hub, which must live and keep its tongue to the end."""
    settings = {}
    prepare = None  # a static method, see Hub

    @classmethod
    def setUpClass(cls):
        cls.hub = Hub(cls.prepare, **cls.settings)
        cls.pid = cls.hub.process.pid

    @classmethod
    def tearDownClass(cls):
        hub = cls.hub
        try:
            assert hub.stop() == 0, "".join(hub.log[-20:])
            log = "".join(hub.log)
            assert "Sanitizer" not in log and "runtime error" not in log, log[-4000:]
            assert hub.token not in log and hub.secret not in log
        finally:
            hub.close()

    def tearDown(self):
        self.assertIsNone(self.hub.process.poll(), "".join(self.hub.log[-40:]))

    def refused(self, answer, status, *kinds):
        """An error of the queue API."""
        self.assertEqual(answer.status, status, answer)
        self.assertIn(answer.type, kinds, answer)
        self.assertTrue(answer.json["message"])
        self.assertRegex(answer.headers["x-amzn-query-error"], r"^[A-Za-z.]+;(Sender|Receiver)$")

    def denied(self, answer, status, number):
        """An error of the record and delivery API."""
        self.assertEqual(answer.status, status, answer)
        self.assertEqual(answer.error["number"], number, answer)
        self.assertTrue(answer.error["code"] and answer.error["message"])
        self.assertIs(answer.error["retryable"], number >= 4100)
        self.assertTrue(answer.headers["request-id"])
