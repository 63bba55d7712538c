# SPDX-License-Identifier: Apache-2.0
"""Bad input at the doors of hub and connector: a clear refusal, the same processes still serving,
nothing lost."""
import http.client
import http.server
import json
import os
import random
import socket
import sys
import threading
import time
import unittest
import uuid
from datetime import datetime, timedelta, timezone

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import bad_input  # noqa: E402
from harness import (PATIENCE, Answer, DeviceCa, ServesOn, b64, children, http_call,  # noqa: E402
                     record, seal, together)

FINAL_INPUT = (4001, 4002, 4007)


# ---- the hub ------------------------------------------------------------------------------------

class HubDoors(ServesOn):
    def refused(self, name, answer, statuses=(400, 413, 422), codes=FINAL_INPUT):
        with self.subTest(name):
            self.assertIn(answer.status, statuses, answer)
            error = answer.error
            self.assertIn(error["number"], codes, answer)
            self.assertTrue(error["code"] and error["message"], answer)
            self.assertFalse(error["retryable"])

    def post(self, path, body):
        """Posts what may be refused before all of it was read."""
        api = self.stage.api
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        try:
            return api.call("POST", path, body)
        except (BrokenPipeError, ConnectionResetError):
            if len(body) < bad_input.TEN_MB:
                raise
        # The answer may be lost with the connection; it is there for who waits for it.
        with socket.create_connection(("127.0.0.1", self.stage.port), PATIENCE) as peer:
            peer.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.token}\r\n"
                         f"Content-Length: {len(body)}\r\n\r\n".encode())
            peer.sendall(body[:4096])
            response = http.client.HTTPResponse(peer)
            response.begin()
            return Answer(response, response.read())

    def good_record(self):
        return record(b"\1" * 256, "sealing")

    def good_order(self):
        return {"recordId": self.good, "format": "cms",
                "device": {"id": "x", "platform": "other", "certificate": b64(self.device.der)}}

    def test_texts_that_are_no_document(self):
        for path in (self.stage.api.RECORDS, "/v1/deliveries"):
            for name, body in bad_input.texts():
                self.refused(f"{path}: {name}", self.post(path, body))

    def test_records_with_a_wrong_member(self):
        fields = [("thumbprint",), ("intendedPurpose",), ("userPrincipalName",), ("keyName",),
                  ("startDateTime",), ("expirationDateTime",), ("paddingScheme",), ("providerName",)]
        for name, body in bad_input.wrong_fields(self.good_record(), fields, ["x" * 5000]):
            self.refused(name, self.post(self.stage.api.RECORDS, body))
        secret = [("encryptedPfxBlob",), ("encryptedPfxPassword",)]
        too_long = [b64(bytes(70_000)), b64(bytes(10))[:-4] + "===="]
        for name, body in bad_input.wrong_fields(self.good_record(), secret,
                                                 bad_input.WRONG_BASE64 + too_long):
            if name != "encryptedPfxBlob = 'AA'":
                self.refused(name, self.post(self.stage.api.RECORDS, body))

    def test_paddings_that_are_refused_everywhere(self):
        for padding in ("pkcs1", "oaepSha1", "oaepSha3", "OAEPSHA512", ""):
            body = dict(self.good_record(), paddingScheme=padding)
            self.refused(padding, self.post(self.stage.api.RECORDS, body))

    def test_a_record_with_a_key_twice(self):
        text = json.dumps(self.good_record())
        twice = text[:-1] + ', "keyName": "another"}'
        self.refused("keyName twice", self.post(self.stage.api.RECORDS, twice.encode()))

    def test_deliveries_with_a_wrong_member(self):
        fields = [("recordId",), ("format",), ("device",), ("device", "id"), ("device", "platform")]
        for name, body in bad_input.wrong_fields(self.good_order(), fields):
            if name == "no format" or name.startswith("no device.") or "= None" in name:
                continue  # may have a default
            self.refused(name, self.post("/v1/deliveries", body),
                         statuses=(400, 404, 413), codes=(*FINAL_INPUT, 4004))
        certificate = [("device", "certificate")]
        wrong = bad_input.WRONG_BASE64 + ["", b64(bytes(9000))]
        for name, body in bad_input.wrong_fields(self.good_order(), certificate, wrong):
            self.refused(name, self.post("/v1/deliveries", body))

    def test_records_that_are_not_there(self):
        order = dict(self.good_order(), recordId="nobody-" + "0" * 40)
        self.refused("delivery", self.post("/v1/deliveries", order), (404,), (4004,))
        api = self.stage.api
        for method in ("GET", "DELETE"):
            self.refused(method, api.call(method, f"{api.RECORDS}/nobody"), (404,), (4004,))
        self.refused("unknown delivery", api.call("GET", "/v1/deliveries/nothing"), (404,),
                     (4004, 4002))

    def test_the_same_record_twice(self):
        body = self.good_record()
        self.assertEqual(self.post(self.stage.api.RECORDS, body).status, 201)
        self.refused("again", self.post(self.stage.api.RECORDS, body), (409,), (4005,))

    def test_paths_and_queries_that_mean_nothing(self):
        api = self.stage.api
        long = "x" * 20_000
        for method, path in (("GET", "/"), ("GET", "/nothing"), ("PUT", api.RECORDS),
                             ("PATCH", "/v1/deliveries"), ("DELETE", "/healthz"),
                             ("GET", "/%"), ("GET", "/%00"), ("GET", "/v1/deliveries/%ff%fe"),
                             ("GET", f"/{long}"), ("GET", f"{api.RECORDS}?$filter={long}"),
                             ("GET", f"{api.RECORDS}?$filter=tolower("),
                             ("GET", f"{api.RECORDS}?$filter=userPrincipalName%20eq%20'"),
                             ("GET", f"{api.RECORDS}?$top=-1"), ("GET", f"{api.RECORDS}?$skiptoken=x"),
                             ("GET", f"{api.RECORDS}('"), ("GET", "/v1/deliveries/x?wait=21"),
                             ("GET", "/v1/deliveries/x?wait=-1"), ("GET", "/v1/deliveries/x?wait=x")):
            with self.subTest(method=method, path=path[:60]):
                answer = api.call(method, path)
                self.assertIn(answer.status, (400, 404, 405, 413, 414, 431), answer)

    def test_bytes_that_are_no_http(self):
        for name, data in (("noise", os.urandom(5000)), ("no end", b"POST / HTTP/1.1\r\nA: "),
                           ("many headers", b"GET /healthz HTTP/1.1\r\n" + b"A: b\r\n" * 20_000),
                           ("a long line", b"GET /" + b"a" * 1_000_000),
                           ("a broken chunk", b"POST /v1/deliveries HTTP/1.1\r\nHost: x\r\n"
                                              b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
                           ("a negative length", b"POST / HTTP/1.1\r\nHost: x\r\n"
                                                 b"Content-Length: -1\r\n\r\n"),
                           ("a huge length", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: "
                                             b"99999999999999999999\r\n\r\n")):
            with self.subTest(name), socket.create_connection(("127.0.0.1", self.stage.port)) as peer:
                try:
                    peer.sendall(data)
                    if name == "no end":
                        continue  # and away: a hub that waits for more would wait in vain
                    peer.settimeout(PATIENCE)
                    answer = peer.recv(65536)
                except (BrokenPipeError, ConnectionResetError):
                    answer = b""
                self.assertTrue(answer == b"" or answer.startswith(b"HTTP/1.1 4"), answer[:80])

    # -- the queue's side of the hub --

    def sqs_refused(self, name, answer, statuses=(400,)):
        with self.subTest(name):
            self.assertIn(answer.status, statuses, answer)
            if answer.body:
                self.assertTrue(answer.json["__type"], answer)

    def test_queue_operations_that_are_no_document(self):
        for operation in ("SendMessage", "ReceiveMessage", "DeleteMessageBatch"):
            for name, body in bad_input.texts():
                if len(body) < bad_input.TEN_MB:
                    self.sqs_refused(f"{operation}: {name}", self.stage.sqs.call(operation, body),
                                     (400, 413))

    def test_queue_operations_with_a_wrong_member(self):
        sqs = self.stage.sqs
        url = sqs.create("scratch")
        good = {"SendMessage": {"QueueUrl": url, "MessageBody": "x"},
                "ReceiveMessage": {"QueueUrl": url},
                "ChangeMessageVisibility": {"QueueUrl": url, "ReceiptHandle": "x",
                                            "VisibilityTimeout": 5},
                "DeleteMessage": {"QueueUrl": url, "ReceiptHandle": "x"},
                "SendMessageBatch": {"QueueUrl": url, "Entries": [{"Id": "a", "MessageBody": "x"}]}}
        for operation, body in good.items():
            for member in body:
                for wrong in (7, True, [], {}, ["x"], {"a": 1}, "\u0000"):
                    if isinstance(wrong, int) and member == "VisibilityTimeout":
                        continue
                    self.sqs_refused(f"{operation}.{member} = {wrong!r}",
                                     sqs.call(operation, dict(body, **{member: wrong})), (400, 404))
        for more in ({"MaxNumberOfMessages": 0}, {"MaxNumberOfMessages": 11},
                     {"WaitTimeSeconds": 21}, {"WaitTimeSeconds": -1}, {"VisibilityTimeout": 43201},
                     {"VisibilityTimeout": "x"}):
            self.sqs_refused(f"ReceiveMessage {more}",
                             sqs.call("ReceiveMessage", {"QueueUrl": url, **more}))
        for handle in ("", "x", "z" * 48, "0" * 47, "0" * 49, "z" * 2000):
            self.sqs_refused(f"DeleteMessage {handle[:8]}",
                             sqs.call("DeleteMessage", {"QueueUrl": url, "ReceiptHandle": handle}),
                             (400, 404))  # ReceiptHandleIsInvalid is a 404
        self.sqs_refused("no such queue", sqs.call("GetQueueUrl", {"QueueName": "nothing"}))
        self.sqs_refused("no such operation", sqs.call("DestroyEverything", {}))
        self.sqs_refused("too large", sqs.call("SendMessage", {
            "QueueUrl": url, "MessageBody": "x" * 1_100_000}), (400, 413))

    def test_signatures_that_do_not_fit(self):
        sqs = self.stage.sqs
        body = b'{"QueueName":"reseal-requests"}'
        good = sqs.headers("GetQueueUrl", body)
        old = datetime.now(timezone.utc) - timedelta(hours=1)
        wrong = {"none": {"authorization": None}, "empty": {"authorization": ""},
                 "another body's": sqs.headers("GetQueueUrl", b"{}"),
                 "an old one": sqs.headers("GetQueueUrl", body, old),
                 "cut": {"authorization": good["authorization"][:-2]},
                 "another key": {"authorization": good["authorization"].replace("AK", "BK")},
                 "another region": {"authorization": good["authorization"].replace("local", "mars")},
                 "a bearer": {"authorization": f"Bearer {self.stage.api_token}"},
                 "very long": {"authorization": good["authorization"] + "a" * 5000}}
        self.assertEqual(http_call(self.stage.port, "POST", "/", body, good).status, 200)
        for name, change in wrong.items():
            headers = {key: value for key, value in dict(good, **change).items() if value is not None}
            answer = http_call(self.stage.port, "POST", "/", body, headers)
            self.sqs_refused(name, answer, (400, 401, 403, 431))


# ---- the connector: messages --------------------------------------------------------------------

class QueueMessages(ServesOn):
    """Messages put straight into a queue that a connector serves, and its answers read there."""

    @classmethod
    def prepare(cls):
        super().prepare()
        cls.connector.stop()
        sqs = cls.stage.sqs
        cls.dead = sqs.create("door-dead")
        arn = sqs.does("GetQueueAttributes", QueueUrl=cls.dead,
                       AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        cls.requests = sqs.create("door-requests", RedrivePolicy=json.dumps(
            {"deadLetterTargetArn": arn, "maxReceiveCount": 2}))
        cls.results = sqs.create("door-results")
        cls.door = cls.stage.connector("door", connector={"attempts": 1}, queue={
            "requests": "door-requests", "results": "door-results"})
        cls.sealed = seal(cls.stage.public_keys["sealing"], cls.password, "oaepSha512")
        cls.connector.start()
        cls.stage.wait_ready(cls.connector)

    def setUp(self):
        super().setUp()
        self.door_pids = (self.door.pid, children(self.door.pid))

    def tearDown(self):
        self.assertTrue(self.door.alive(), self.door.tail())
        self.assertEqual((self.door.pid, children(self.door.pid)), self.door_pids)
        good = self.message()
        self.send(good)
        self.opens_result(self.answers({good["id"]})[good["id"]])
        super().tearDown()

    def message(self, **data):
        fields = {"keyName": "sealing", "providerName": "reseal", "paddingScheme": "oaepSha512",
                  "encryptedPfxPassword": b64(self.sealed), "encryptedPfxBlob": b64(b"PFX"),
                  "thumbprint": "a" * 40, "userPrincipalName": "user@example.org",
                  "intendedPurpose": "smimeEncryption",
                  "device": {"id": "x", "platform": "other", "certificate": b64(self.device.der)},
                  "format": "cms", "expires": "2099-01-01T00:00:00Z"}
        return {"specversion": "1.0", "type": "reseal.request.v1", "source": "urn:test",
                "id": str(uuid.uuid4()), "time": "2026-01-01T00:00:00Z",
                "datacontenttype": "application/json", "data": {**fields, **data}}

    def send(self, message):
        text = message if isinstance(message, str) else json.dumps(message)
        self.stage.sqs.send(self.requests, text)

    def answers(self, wanted, seconds=PATIENCE):
        """{id: result} for all wanted request ids; each comes exactly once."""
        found, end = {}, time.monotonic() + seconds
        while set(found) < wanted and time.monotonic() < end:
            for message in self.stage.sqs.receive(self.results, wait=2):
                self.stage.sqs.delete(self.results, message["ReceiptHandle"])
                result = json.loads(message["Body"])
                self.assertEqual(result["type"], "reseal.result.v1")
                self.assertNotIn(result["subject"], found, "answered twice")
                found[result["subject"]] = result
        self.assertEqual(set(found), wanted)
        return found

    def opens_result(self, result):
        self.assertEqual(result["data"]["outcome"], "resealed", result)
        self.assertEqual(self.device.open(result["data"]["payload"]), self.password)

    def refused_all(self, named, code=None):
        """Sends the messages; each is answered with a final error of bad input."""
        named = list(named)
        names = {message["id"]: name for name, message in named}
        together(lambda pair: self.send(pair[1]), named)
        results = self.answers(set(names))
        for request, result in results.items():
            with self.subTest(names[request]):
                data = result["data"]
                self.assertIn(data["outcome"], ("refused", "failed"), data)
                error = data["error"]
                self.assertIn(error["code"], (code,) if code else FINAL_INPUT, error)
                self.assertFalse(error["retryable"])
                self.assertTrue(error["message"])
        return {names[request]: result["data"]["error"]["message"]
                for request, result in results.items()}

    def test_members_of_a_wrong_kind(self):
        # Each document gets an id of its own, so that it can be answered.
        fields = [("data", name) for name in self.message()["data"]]
        fields += [("specversion",), ("type",), ("time",), ("data",)]
        fields += [("data", "device", name) for name in ("id", "platform", "certificate")]
        self.refused_all((name, dict(document, id=str(uuid.uuid4())))
                         for name, document in bad_input.wrong_fields(self.message(), fields))

    def test_values_that_cannot_be(self):
        cases = [(f"{field} = {wrong!r}", self.message(**{field: wrong}))
                 for field in ("encryptedPfxPassword", "encryptedPfxBlob")
                 for wrong in bad_input.WRONG_BASE64
                 if (field, wrong) != ("encryptedPfxBlob", "AA==")]
        cases += [(f"paddingScheme {wrong}", self.message(paddingScheme=wrong))
                  for wrong in ("pkcs1", "oaepSha1", "OAEPSHA512", "", "none " * 100)]
        cases += [(f"thumbprint {wrong[:12]!r}", self.message(thumbprint=wrong))
                  for wrong in ("", "a" * 39, "a" * 41, "g" * 40)]
        cases += [("expired", self.message(expires="2020-01-01T00:00:00Z")),
                  ("no time", self.message(expires="tomorrow")),
                  ("purpose", self.message(intendedPurpose="everything")),
                  ("a long key name", self.message(keyName="k" * 5000)),
                  ("no key name", self.message(keyName="")),
                  ("a password of 600 bytes", self.message(encryptedPfxPassword=b64(bytes(600)))),
                  ("a PFX of 70,000 bytes", self.message(encryptedPfxBlob=b64(bytes(70_000)))),
                  ("another type", dict(self.message(), type="reseal.request.v2")),
                  ("another version", dict(self.message(), specversion="0.3"))]
        self.refused_all(cases)

    def test_keys_that_are_not_served(self):
        self.refused_all([("key", self.message(keyName="another key"))], code=4006)

    def test_formats_that_lack_what_they_need(self):
        self.refused_all([(form, self.message(format=form, encryptedPfxBlob=""))
                          for form in ("apple-profile", "windows-csp")])
        self.refused_all([("name", self.message(format="apple-profile", userPrincipalName="a\ufffe@example.org"))])
        self.refused_all([("large", self.message(format="apple-profile", encryptedPfxBlob=b64(bytes(60_000))))],
                         code=4007)

    def device_of(self, certificate):
        return {"id": "x", "platform": "other", "certificate": b64(certificate)}

    def test_devices_that_are_not_to_be_trusted(self):
        ca = self.stage.ca
        other = DeviceCa(f"{self.stage.folder}/other-{uuid.uuid4()}")
        der = self.device.der
        cases = {
            "expired": ca.issue("late", start="20200101000000Z", end="20210101000000Z").der,
            "not yet valid": ca.issue("early", start="20900101000000Z", end="20910101000000Z").der,
            "of another CA": other.issue("stranger").der,
            "RSA-1024": ca.issue("weak", "rsa:1024").der,
            "EC P-192": ca.issue("small", "ec:prime192v1").der,
            "garbage": b"this is no certificate",
            "empty": b"",
            "cut": der[:-1], "with a tail": der + b"\0", "cut to a header": der[:4],
            "PEM": b"-----BEGIN CERTIFICATE-----\n",
            "deep": b"\x30\x80" * 2000, "10 KB": der + bytes(10_000),
            "noise": os.urandom(700),
        }
        for at in random.Random(7).sample(range(len(der)), 12):
            cases[f"a bit flipped in byte {at}"] = der[:at] + bytes([der[at] ^ 1]) + der[at + 1:]
        said = self.refused_all((name, self.message(device=self.device_of(certificate)))
                                for name, certificate in cases.items())
        self.assertIn("expired", said["expired"])
        self.assertIn("1024", said["RSA-1024"])

    def test_messages_without_a_sender_end_in_the_dead_letter_queue(self):
        """They cannot be answered; nothing is thrown away, and a person finds them."""
        sent = set()
        for _, body in bad_input.texts():
            try:
                text = body.decode()
            except UnicodeDecodeError:
                continue
            if 0 < len(body) < 260_000 and all(c in "\t\n\r" or c >= " " for c in text):
                sent.add(text)
        good = json.dumps(self.message())
        sent |= {good[:-20], good + "x", good.replace('"id"', '"source"'), good[:300] * 600,
                 json.dumps(dict(self.message(), source="")), json.dumps(dict(self.message(), id=7))}
        mark = self.door.mark()
        for text in sent:
            self.send(text)
        found, end = set(), time.monotonic() + PATIENCE
        while found != sent and time.monotonic() < end:
            for message in self.stage.sqs.receive(self.dead, wait=2):
                self.stage.sqs.delete(self.dead, message["ReceiptHandle"])
                found.add(message["Body"])
        self.assertEqual(len(found), len(sent))
        self.assertEqual(found, sent)
        noted = [event for event in self.door.since(mark) if event.get("event") == 2001]
        self.assertGreaterEqual(len(noted), len(sent))
        self.assertEqual(self.stage.sqs.counts(self.requests), (0, 0))


# ---- the connector: a hostile queue -------------------------------------------------------------

class HostileQueue(http.server.ThreadingHTTPServer):
    """Answers every second receive with garbage, and hands out one good message at the end."""
    daemon_threads = True

    def __init__(self, garbage, message):
        super().__init__(("127.0.0.1", 0), HostileHandler)
        self.garbage, self.message = list(garbage), message
        self.receives, self.lock = 0, threading.Lock()
        self.sent, self.deleted = [], []
        self.over = threading.Event()

    def handle_error(self, *_):
        """A client that closes in the middle of garbage does well."""

    def next_receive(self):
        with self.lock:
            self.receives += 1
            if self.receives % 2:
                return b"{}", 200
            if self.garbage:
                return self.garbage.pop(0), 200
            body = self.message
            return json.dumps({"Messages": [{"MessageId": "m", "ReceiptHandle": "r",
                                             "Body": body}]}).encode(), 200


class HostileHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        operation = self.headers.get("X-Amz-Target", "").split(".")[-1]
        answer, status = self.answer(operation, json.loads(body))
        try:
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)
        except OSError:
            pass  # it had enough

    def answer(self, operation, body):
        server = self.server
        if operation == "GetQueueUrl":
            url = f"http://127.0.0.1:{server.server_port}/0/{body['QueueName']}"
            return json.dumps({"QueueUrl": url}).encode(), 200
        if operation == "ReceiveMessage":
            if server.over.wait(0.12):  # sooner would look like a service that does not wait
                return b"{}", 200
            return server.next_receive()
        entries = body.get("Entries", [body])
        if operation.startswith("SendMessage"):
            server.sent += [entry["MessageBody"] for entry in entries]
        if operation.startswith("DeleteMessage"):
            server.deleted += [entry["ReceiptHandle"] for entry in entries]
            server.over.set()
        done = [{"Id": entry["Id"], "MessageId": "x"} for entry in entries if "Id" in entry]
        return json.dumps({"Successful": done, "MessageId": "x"}).encode(), 200

    def log_message(self, *_):
        pass


class HostileQueues(ServesOn):
    SKIPPED = ("white space", "truncated after a key", "only an opening", "two documents", "an array",
               "trailing comma", "a comment", "NaN", "deep arrays, closed", "deep objects",
               "many keys", "an empty object", "a string", "null")  # as good as another

    def garbage(self):
        answers = [body for name, body in bad_input.texts() if name not in self.SKIPPED]
        good = {"MessageId": "a", "ReceiptHandle": "b", "Body": "{}"}
        wrong = [{"Body": None}, {"Body": 7}, {"Body": []}, {"MessageId": "m" * 5000},
                 {"ReceiptHandle": "r" * 5000}, {"ReceiptHandle": 7}, {"MD5OfBody": "0" * 32},
                 {"Attributes": {"ApproximateReceiveCount": "-1"}}, {"Attributes": []}]
        messages = [dict(good, **change) for change in wrong] + [7, None, [], "x", {}]
        answers += [json.dumps({"Messages": value}).encode()
                    for value in (messages[:7], messages[7:], {}, [good] * 50)]
        return answers

    def test_a_queue_that_answers_garbage(self):
        request = QueueMessages.message(self_like(self))
        server = HostileQueue(self.garbage(), json.dumps(request))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        connector = self.stage.connector("brave", queue={
            "endpoint": f"http://127.0.0.1:{server.server_port}"})
        pid = connector.pid
        try:
            self.assertTrue(server.over.wait(2 * PATIENCE), connector.tail())
            self.assertEqual((connector.pid, connector.alive()), (pid, True))
            results = [json.loads(text) for text in server.sent]
            mine = [result for result in results if result["subject"] == request["id"]]
            self.assertEqual(self.device.open(mine[0]["data"]["payload"]), self.password)
        finally:
            connector.stop()
            server.shutdown()
            server.server_close()


def self_like(test):
    """What QueueMessages.message needs to know of a test."""
    test.sealed = seal(test.stage.public_keys["sealing"], test.password, "oaepSha512")
    return test

if __name__ == "__main__":
    unittest.main()
