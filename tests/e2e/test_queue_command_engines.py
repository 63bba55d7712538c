# SPDX-License-Identifier: Apache-2.0
"""`reseal queue` at engines that others wrote: fauxqs as Amazon SQS, azurite as Azure Storage Queue."""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from engines import Azurite, Fauxqs  # noqa: E402
from harness import BIN, PATIENCE, wait_until, write_ini, write_secret  # noqa: E402

BODY = json.dumps({"specversion": "1.0", "type": "reseal.request.v1", "id": "4711", "source": "s",
                   "data": {"encryptedPfxPassword": "c2VhbGVk"}})


class Commands:
    """The commands, whatever engine; `fill` sends messages, `waiting` counts them."""
    engine_class = dead = None

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="reseal-e2e-")
        self.addCleanup(shutil.rmtree, self.folder)
        os.mkdir(f"{self.folder}/queue")
        write_secret(f"{self.folder}/queue/access-keys",
                     "[default]\naws_access_key_id = AKTEST\n"
                     "aws_secret_access_key = not checked here\n")
        self.engine = self.engine_class(f"{self.folder}/engine").start()
        self.addCleanup(self.engine.kill)
        self.conf = write_ini(f"{self.folder}/reseal.conf", {"queue": self.engine.section(self)})

    def reseal(self, *words, status=0):
        done = subprocess.run([f"{BIN}/reseal", "queue", *words, "--config", self.conf], text=True,
                              capture_output=True, stdin=subprocess.DEVNULL, start_new_session=True,
                              timeout=2 * PATIENCE, check=False)
        self.assertEqual(done.returncode, status, done.stderr)
        return done

    def data(self, *words):
        return json.loads(self.reseal(*words, "--json").stdout)

    def test_stat(self):
        self.fill("reseal-requests", [BODY, "another"])
        [found] = self.data("stat", "reseal-requests")["queues"]
        self.assertEqual(found["visible"], 2)
        self.assertEqual((found["deadLetterQueue"], found["dead"]), (self.dead, 0))
        self.assertIsNone(found["oldestAgeSeconds"])
        self.assertIn("reseal-requests  2", self.reseal("stat").stdout)

    def peek(self, *words):
        """What a look finds, as soon as the look before has ended."""
        found = []
        wait_until(lambda: found.extend(self.data("peek", "reseal-requests", *words)["messages"]) or
                   found, "messages are back", pause=0.3)
        return found

    def test_peek_leaves_all_where_it_is(self):
        self.fill("reseal-requests", [BODY])
        done = self.reseal("peek", "reseal-requests")
        self.assertIn("a look is a receive", done.stderr)
        self.assertIn("4711", done.stdout)
        self.assertNotIn("c2VhbGVk", done.stdout)
        for count in (2, 3):
            [message] = self.peek("--body")
            self.assertEqual((message["body"], message["receiveCount"]), (BODY, count))
        self.assertEqual(self.engine.waiting("reseal-requests"), 1)

    def test_redrive(self):
        self.fill(self.dead, [f"letter {number}" for number in range(12)])
        self.assertEqual(self.data("redrive"),
                         {"queue": "reseal-requests", "from": self.dead, "moved": 12})
        self.assertEqual(self.engine.waiting(self.dead), 0)
        self.assertEqual(self.engine.waiting("reseal-requests"), 12)
        found = self.peek("--body", "--count", "10")
        self.assertLessEqual({message["body"] for message in found},
                             {f"letter {number}" for number in range(12)})

    def test_purge(self):
        self.fill("reseal-requests", [f"text {number}" for number in range(11)])
        self.assertIn("--yes", self.reseal("purge", "reseal-requests", status=2).stderr)
        self.assertEqual(self.engine.waiting("reseal-requests"), 11)
        self.assertEqual(self.reseal("purge", "reseal-requests", "--yes").stdout, "11\n")
        self.assertEqual(self.engine.waiting("reseal-requests"), 0)

    def test_a_queue_that_is_not_there(self):
        self.assertIn("nowhere", self.reseal("stat", "nowhere", status=1).stderr)


class AtFauxqs(Commands, unittest.TestCase):
    engine_class, dead = Fauxqs, "reseal-dead"

    def setUp(self):
        super().setUp()
        call = self.engine.call
        url = call("CreateQueue", QueueName=self.dead, Attributes={})["QueueUrl"]
        arn = call("GetQueueAttributes", QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
        requests = call("GetQueueUrl", QueueName="reseal-requests")["QueueUrl"]
        call("SetQueueAttributes", QueueUrl=requests, Attributes={"RedrivePolicy": json.dumps(
            {"deadLetterTargetArn": arn["QueueArn"], "maxReceiveCount": "7"})})

    def fill(self, name, bodies):
        url = self.engine.call("GetQueueUrl", QueueName=name)["QueueUrl"]
        for body in bodies:
            self.engine.call("SendMessage", QueueUrl=url, MessageBody=body)


class AtAzurite(Commands, unittest.TestCase):
    engine_class, dead = Azurite, "reseal-requests-poison"

    def fill(self, name, bodies):
        for body in bodies:
            self.engine.sdk("send", name, body=body)


if __name__ == "__main__":
    unittest.main()
