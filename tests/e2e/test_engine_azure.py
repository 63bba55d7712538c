# SPDX-License-Identifier: Apache-2.0
"""Deliveries by Azure Storage Queue, which is azurite here, with account key and with shared access
signatures; and with requests that the real client, @azure/storage-queue, has sent."""
import base64
import datetime
import json
import os
import signal
import sys
import time
import unittest
import uuid

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from engines import Azurite, EngineStage  # noqa: E402
from harness import (StageTest, b64, children, seal, wait_until,  # noqa: E402
                     write_secret)


class AzureStage(EngineStage):
    engine_class = Azurite


class SasStage(AzureStage):
    """Hub and connectors have a signature that lets them do what they need, and no key."""

    def write_engine(self):
        self.hub_sections = {"queue": self.engine.section(self, self.engine.sas_connection())}


class ByAzurite:
    options = {}

    @classmethod
    def prepare(cls):
        cls.stage.secrets.append(cls.stage.engine.key)
        cls.connector = cls.stage.connector()
        cls.device = cls.stage.ca.issue("laptop")

    def nothing_is_left(self):
        for name in Azurite.queues[:2]:
            wait_until(lambda queue=name: self.stage.engine.waiting(queue) == 0,
                       f"nothing is left in {name}", seconds=90, pause=0.5)

    def test_a_whole_delivery(self):
        orders = []
        for i in range(8):
            password = f"by Azure {i}".encode()
            orders.append((self.stage.api.deliver(self.stage.escrow(password), self.device), password))
        for delivery, password in orders:
            self.opens(self.device, self.stage.api.outcome(delivery, seconds=90), password)
        self.nothing_is_left()

    def test_doctor_finds_the_engine_in_order(self):
        done = self.stage.reseal("doctor", config=self.connector.config)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn(f"reseal-requests at {self.stage.engine.endpoint}: ", done.stdout)


class BySignature(ByAzurite, StageTest):
    stage_class = SasStage

    @classmethod
    def prepare(cls):
        super().prepare()
        with open(f"{cls.stage.folder}/connection") as file:
            cls.stage.secrets.append(file.read().split("sig=")[1].split("&")[0].strip())


class ByKey(ByAzurite, StageTest):
    stage_class = AzureStage
    options = {"lease": 3, "level": "debug"}

    def request(self, password, **more):
        """A request as a hub of somebody else's would send it."""
        now = datetime.datetime.now(datetime.timezone.utc)
        identity = str(uuid.uuid4())
        data = {"keyName": "sealing", "providerName": "reseal", "paddingScheme": "oaepSha512",
                "encryptedPfxPassword": b64(seal(self.stage.public_keys["sealing"], password,
                                                 "oaepSha512")),
                "encryptedPfxBlob": b64(b"a PFX"), "thumbprint": "a" * 40,
                "userPrincipalName": "user@example.org", "intendedPurpose": "smimeEncryption",
                "device": {"id": "laptop", "platform": "other", "certificate": b64(self.device.der)},
                "format": "cms",
                "expires": (now + datetime.timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")}
        data.update(more)
        return identity, json.dumps({
            "specversion": "1.0", "type": "reseal.request.v1", "source": "urn:example:producer",
            "id": identity, "time": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "datacontenttype": "application/json", "data": data})

    def requests_by_the_sdk(self, encode):
        """Requests that @azure/storage-queue sends, and their results as it receives them; the
        connector uses queues of its own, so that no hub is there to take them first."""
        engine, stage = self.stage.engine, self.stage
        names = {"requests": f"sdk-{encode}-requests", "results": f"sdk-{encode}-results"}
        for name in names.values():
            engine.sdk("create", name)
        connector = stage.connector(f"sdk-{encode}", queue=names)
        wanted = {}
        for i in range(3):
            identity, body = self.request(f"{encode} {i}".encode())
            wanted[identity] = f"{encode} {i}".encode()
            text = base64.b64encode(body.encode()).decode() if encode == "base64" else body
            engine.sdk("send", names["requests"], body=text)
        found = {}
        end = time.monotonic() + 60
        while len(found) < len(wanted) and time.monotonic() < end:
            for message in engine.sdk("receive", names["results"]):
                result = json.loads(base64.b64decode(message["text"], validate=True))
                found[result["subject"]] = result["data"]
        self.assertEqual(set(found), set(wanted))
        for identity, password in wanted.items():
            self.assertEqual(found[identity]["outcome"], "resealed")
            self.assertEqual(self.device.open(found[identity]["payload"]), password)
        wait_until(lambda: engine.waiting(names["requests"]) == 0, "the requests are deleted")
        connector.stop()

    def test_requests_of_the_real_client_as_they_are(self):
        self.requests_by_the_sdk("raw")

    def test_requests_of_the_real_client_in_base64(self):
        self.requests_by_the_sdk("base64")

    def test_a_lease_that_was_extended_is_deleted_by_its_newest_receipt(self):
        engine = self.stage.engine
        record = self.stage.escrow(b"takes its time")
        helper, mark = children(self.connector.pid)[0], self.connector.mark()
        os.kill(helper, signal.SIGSTOP)
        try:
            delivery = self.stage.api.deliver(record, self.device)
            self.connector.wait_event(lambda event: event.get("event") == 2020,
                                      since=mark)
            begun = time.monotonic()
            # The lease of three seconds has ended more than once, had nobody extended it.
            wait_until(lambda: time.monotonic() - begun > 8, "eight seconds", seconds=20, pause=0.5)
            peeked = engine.sdk("peek", "reseal-requests")
        finally:
            os.kill(helper, signal.SIGCONT)
        self.assertEqual(peeked, [], "it was visible although it is worked on")
        outcome = self.stage.api.outcome(delivery, seconds=60)
        self.opens(self.device, outcome, b"takes its time")
        self.assertEqual(outcome["resultsReceived"], 1)
        self.nothing_is_left()

    def test_what_is_no_request_ends_in_the_poison_queue(self):
        engine, stage = self.stage.engine, self.stage
        for name in ("bad", "bad-results", "bad-poison"):
            engine.sdk("create", name)
        connector = stage.connector("poison", queue={"requests": "bad", "results": "bad-results",
                                                     "max_receives": 2})
        engine.sdk("send", "bad", body="this is no request")
        wait_until(lambda: engine.waiting("bad-poison") == 1, "it is in the poison queue",
                   seconds=60, pause=0.5)
        wait_until(lambda: engine.waiting("bad") == 0, "it has left its own", pause=0.5)
        text = engine.sdk("receive", "bad-poison")[0]["text"]
        self.assertEqual(base64.b64decode(text), b"this is no request")
        connector.stop()

    def test_a_request_that_does_not_fit_fails_its_delivery_in_words(self):
        record = self.stage.escrow(b"large", pfx=os.urandom(60000))
        outcome = self.stage.api.outcome(self.stage.api.deliver(record, self.device), seconds=60)
        self.assertEqual(outcome["state"], "failed", outcome)
        self.assertEqual(outcome["error"]["code"], 4007, outcome)
        self.assertIn("larger than the queue takes", outcome["error"]["message"])

    def test_a_key_that_is_rotated_is_taken_without_a_restart(self):
        """The connector's file first has a key that azurite does not know."""
        engine, stage = self.stage.engine, self.stage
        wrong = b64(b"w" * 64)
        path = f"{stage.folder}/rotated"
        stage.secrets.append(wrong)
        write_secret(path, engine.connection.replace(engine.key, wrong))
        connector = stage.connector("rotated", queue={"credentials": path})
        connector.wait_event(lambda event: "a person has to act" in event.get("message", ""))
        write_secret(path, engine.connection)
        connector.wait_event(lambda event: event.get("message") == "the access key was read anew")
        connector.wait_event(lambda event: event.get("message") == "requests can be received again")
        connector.stop()

    def test_doctor_tells_what_is_wrong_with_key_queue_and_name(self):
        stage, engine = self.stage, self.stage.engine
        write_secret(f"{stage.folder}/wrong",
                     engine.connection.replace(engine.key, b64(b"w" * 64)))
        write_secret(f"{stage.folder}/broken", "AccountName=only\n")
        for name, queue, wanted in (
                ("key", {"credentials": f"{stage.folder}/wrong"}, "AuthenticationFailed"),
                ("absent", {"requests": "nowhere"}, 'create the queue "nowhere"'),
                ("named", {"requests": "Not_Azure"}, "small letters, digits"),
                ("string", {"credentials": f"{stage.folder}/broken"}, "no connection string")):
            done = stage.reseal("doctor", config=stage.config(f"doctor-{name}", queue=queue))
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(wanted, done.stdout + done.stderr)


if __name__ == "__main__":
    unittest.main()
