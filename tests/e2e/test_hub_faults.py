# SPDX-License-Identifier: Apache-2.0
"""reseal-hub when things go wrong: killed, stopped, without room, started twice, set up badly."""
import contextlib
import http.client
import json
import os
import resource
import secrets
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from hub_support import HUB, RECORDS, SLOW, Hub, b64, order, record, write_private  # noqa: E402


class Faults(unittest.TestCase):
    def start(self, **settings):
        hub = Hub(**settings)
        self.addCleanup(hub.close)
        return hub

    def test_twenty_kills_lose_nothing_that_was_acknowledged(self):
        hub = self.start()
        queue = hub.new_queue()
        acknowledged, records, deliveries = set(), set(), set()
        done, lock = threading.Event(), threading.Lock()

        def work(number):
            count = 0
            while not done.is_set():
                count += 1
                text = f"{number}/{count} " + "x" * 5000
                with contextlib.suppress(OSError, http.client.HTTPException):
                    if hub.send(queue, text).status == 200:
                        with lock:
                            acknowledged.add(text)
                    answer = hub.api("POST", RECORDS, record())
                    if answer.status != 201:
                        continue
                    identity = answer.json["id"]
                    with lock:
                        records.add(identity)
                    answer = hub.api("POST", "/v1/deliveries", order(identity))
                    if answer.status == 202:
                        with lock:
                            deliveries.add(answer.json["id"])

        workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for worker in workers:
            worker.start()
        for _ in range(20):
            with lock:
                goal = len(deliveries) + 1 + secrets.randbelow(15)
            while len(deliveries) < goal:  # work goes on between two kills
                time.sleep(0.002)
            hub.restart()
        done.set()
        for worker in workers:
            worker.join(SLOW)
        found = set()
        while messages := hub.receive(queue, MaxNumberOfMessages=10, VisibilityTimeout=3600):
            found.update(message["Body"] for message in messages)
        self.assertLessEqual(acknowledged, found)
        requests = set()
        while messages := hub.receive("reseal-requests", MaxNumberOfMessages=10,
                                      VisibilityTimeout=3600):
            requests.update(json.loads(message["Body"])["id"] for message in messages)
        self.assertLessEqual(deliveries, requests)
        for identity in records:
            self.assertEqual(hub.api("GET", f"{RECORDS}/{identity}").status, 200)
        for delivery in deliveries:
            self.assertEqual(hub.api("GET", f"/v1/deliveries/{delivery}").json["state"], "pending")

    def test_leases_and_receipts_outlive_a_kill(self):
        hub = self.start()
        queue = hub.new_queue(VisibilityTimeout="600")
        hub.send(queue, "one")
        [message] = hub.receive(queue)
        hub.restart()
        self.assertEqual(hub.receive(queue), [])
        self.assertEqual(hub.attributes(queue)["VisibilityTimeout"], "600")
        deleted = hub.sqs("DeleteMessage", QueueUrl=hub.url(queue),
                          ReceiptHandle=message["ReceiptHandle"])
        self.assertEqual(deleted.status, 200)
        hub.restart()
        self.assertEqual(hub.waiting(queue), (0, 0))

    def test_sigterm_answers_who_waits_and_ends_well(self):
        hub = self.start()
        queue, polled = hub.new_queue(), []
        polls = [threading.Thread(target=lambda: polled.append(
            hub.sqs("ReceiveMessage", QueueUrl=hub.url(queue), WaitTimeSeconds=20).json))
            for _ in range(5)]
        for poll in polls:
            poll.start()
        for _ in range(50):
            hub.waiting(queue)
        begun = time.monotonic()
        self.assertEqual(hub.stop(), 0, "".join(hub.log[-5:]))
        for poll in polls:
            poll.join(SLOW)
        self.assertEqual(polled, [{}] * 5)
        self.assertLess(time.monotonic() - begun, 10)
        self.assertFalse(os.path.exists(os.path.join(hub.folder, "hub.db-wal")))
        hub.start()

    def test_a_file_limit_is_a_503_and_nothing_is_lost(self):
        hub = self.start()
        queue = hub.new_queue()
        self.assertEqual(hub.send(queue, "before").status, 200)
        size = os.path.getsize(os.path.join(hub.folder, "hub.db-wal"))
        pid = hub.process.pid
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size + 10_000, hard))
        refused = hub.send(queue, "x" * 100_000)
        self.assertEqual((refused.status, refused.type), (503, "ServiceUnavailable"), refused)
        denied = hub.api("POST", RECORDS, record(encryptedPfxBlob=b64(bytes(60_000))))
        self.assertEqual((denied.status, denied.error["number"]), (503, 4100), denied)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, hard))
        self.assertEqual(hub.send(queue, "not kept").status, 503)
        for _ in range(3):
            sick = hub.call("GET", "/healthz")
            self.assertEqual((sick.status, sick.error["number"]), (503, 4100), sick)
            self.assertEqual(hub.api("GET", "/v1/status").status, 200)  # reading is possible
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
        self.assertEqual(hub.call("GET", "/healthz").status, 200)
        self.assertEqual(hub.send(queue, "after").status, 200)
        bodies = [message["Body"] for message in hub.receive(queue, MaxNumberOfMessages=10)]
        self.assertEqual(bodies, ["before", "after"])
        self.assertEqual(hub.stop(), 0)

    def run_hub(self, hub):
        done = subprocess.run([HUB, "--config", hub.config], capture_output=True, text=True,
                              timeout=SLOW, check=False)
        return done.returncode, done.stderr

    def test_a_second_hub_on_the_same_database_or_port_does_not_start(self):
        hub = self.start()
        status, said = self.run_hub(hub)
        self.assertEqual(status, 1)
        self.assertIn("one hub owns one file", said)
        hub.settings["database"] = "other.db"
        hub.write_config()
        status, said = self.run_hub(hub)
        self.assertEqual(status, 1)
        self.assertIn("cannot listen on", said)
        self.assertIn("hint", said)
        self.assertEqual(hub.call("GET", "/healthz").status, 200)

    def test_settings_that_are_missing_or_wrong_stop_the_start(self):
        hub = self.start()
        hub.stop()
        good = dict(hub.settings)
        for change, words in (({"api_token": ""}, "api_token"), ({"credentials": ""}, "credentials"),
                              ({"database": ""}, "database"), ({"listen": "nowhere"}, "listen"),
                              ({"listen": "::1:80"}, "listen"), ({"requests": "a b"}, "a b"),
                              ({"requests": "reseal-results"}, "same queue"),
                              ({"database": "none/hub.db"}, "none/hub.db"),
                              ({"api_token": "file:short"}, "at least 16"),
                              ({"public_url": "reseal.example.org"}, "public_url"),
                              ({"public_url": "https://a b"}, "public_url"),
                              ({"nonsense": "1"}, "nonsense")):
            write_private(os.path.join(hub.folder, "short"), "abc\n")
            hub.settings = {**good, **change}
            hub.write_config()
            status, said = self.run_hub(hub)
            with self.subTest(change=change):
                self.assertIn(status, (1, 2), said)
                self.assertIn(words, said)
        with open(os.path.join(hub.folder, "hub.db"), "r+b") as file:
            file.write(b"scribble" * 100)
        hub.settings = good
        hub.write_config()
        status, said = self.run_hub(hub)
        self.assertEqual(status, 1)
        self.assertIn("backup", said)

    def test_the_files_are_for_the_owner_only(self):
        hub = self.start()
        for name in ("hub.db", "hub.db-wal"):
            self.assertEqual(os.stat(os.path.join(hub.folder, name)).st_mode & 0o777, 0o600)


if __name__ == "__main__":
    unittest.main()
