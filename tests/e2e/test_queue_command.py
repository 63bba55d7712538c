# SPDX-License-Identifier: Apache-2.0
"""`reseal queue stat|peek|redrive|purge` and what `reseal status` says of the queues, with a real hub
and nobody else at the queues."""
import json
import os
import pty
import select
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import BIN, PATIENCE, StageTest, wait_until  # noqa: E402


class QueueCommands(StageTest):
    kind = "nss"
    serial = 0

    @classmethod
    def prepare(cls):
        cls.device = cls.stage.ca.issue("laptop")
        cls.conf = cls.stage.config("person")
        cls.record = cls.stage.escrow(b"a password")
        cls.sqs = cls.stage.sqs

    def queues(self, receives=1):
        """A queue with a dead-letter queue, both new."""
        QueueCommands.serial += 1
        name, dead = f"work-{self.serial}", f"work-{self.serial}-dead"
        self.sqs.create(dead)
        arn = f"arn:aws:sqs:local:000000000000:{dead}"
        url = self.sqs.create(name, RedrivePolicy=json.dumps(
            {"deadLetterTargetArn": arn, "maxReceiveCount": receives}))
        return name, dead, url

    def give_up(self, url, count):
        """Lets `count` messages go to the dead-letter queue."""
        for number in range(count):
            self.sqs.send(url, f"letter {number}")
        while self.sqs.receive(url, wait=0, lease=0):
            pass

    def says(self, *words, config=None, **more):
        return self.stage.succeeds("queue", *words, config=config or self.conf, **more)

    def data(self, *words, **more):
        return json.loads(self.says(*words, "--json", **more).stdout)

    def fails(self, status, *words, config=None):
        done = self.stage.reseal("queue", *words, config=config or self.conf)
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertTrue(done.stderr.startswith("reseal: ") or "\nreseal: " in done.stderr)
        return done.stderr

    def look(self, name, *more):
        [found] = self.data("stat", name, *more)["queues"]
        return found

    # -- stat --

    def test_stat_counts_by_hub_and_by_queue_service(self):
        name, dead, url = self.queues(receives=1)
        self.give_up(url, 2)
        for number in range(3):
            self.sqs.send(url, f"text {number}")
        self.sqs.receive(url, count=1)
        self.sqs.does("SendMessage", QueueUrl=url, MessageBody="later", DelaySeconds=600)
        wanted = {"name": name, "visible": 2, "inFlight": 1, "delayed": 1,
                  "deadLetterQueue": dead, "dead": 2}
        for way in ((), ("--service",)):
            found = self.look(name, *way)
            self.assertEqual({key: found[key] for key in wanted}, wanted, way)
        self.assertIn(self.look(name)["oldestAgeSeconds"], range(PATIENCE))
        table = self.says("stat", name).stdout.splitlines()
        self.assertEqual(table[0].split(), "QUEUE WAITING IN FLIGHT DELAYED OLDEST DEAD LETTERS".split())
        self.assertEqual(table[1].split()[:4], [name, "2", "1", "1"])
        self.assertTrue(table[1].endswith(f"2 in {dead}"), table)

    def test_stat_without_a_name_shows_those_of_the_connector(self):
        names = [queue["name"] for queue in self.data("stat", "--service")["queues"]]
        self.assertEqual(names, ["reseal-requests", "reseal-results"])
        names = {queue["name"] for queue in self.data("stat")["queues"]}
        self.assertLessEqual({"reseal-requests", "reseal-results"}, names)

    def test_what_is_not_there_or_not_allowed_has_its_exit_status(self):
        self.assertIn("no-such-queue", self.fails(1, "stat", "no-such-queue"))
        self.assertIn("no-such-queue", self.fails(1, "stat", "no-such-queue", "--service"))
        refused = self.fails(1, "peek", "no-such-queue")
        self.assertIn("`reseal queue stat` names", refused)
        self.assertIn("QueueDoesNotExist", refused)
        for method in ("GET", "DELETE"):
            answer = self.stage.api.call(method, "/v1/queues/no-such-queue/messages")
            self.assertEqual(answer.status, 404)
            error = answer.json["error"]
            self.assertEqual((error["code"], error["number"]), ("QueueDoesNotExist", 4008))
        self.assertIn("no section [other]", self.fails(2, "redrive", "q", "--profile", "other"))
        away = self.stage.config("away", queue={"endpoint": "http://127.0.0.1:1"})
        self.fails(5, "stat", "--service", config=away)
        self.fails(2, "peek", "q", "--count", "0")
        self.fails(2, "peek", "q", "--count", "11", "--body")

    # -- peek --

    def deliver(self):
        delivery = self.stage.api.deliver(self.record, self.device)
        [message] = [m for m in self.data("peek", "reseal-requests", "--count", "100")["messages"]
                     if m["id"] == delivery]
        return delivery, message

    def test_peek_at_the_hub_shows_facts_and_changes_nothing(self):
        delivery, message = self.deliver()
        for _ in range(3):
            done = self.says("peek", "reseal-requests", "--count", "100")
            self.assertIn(delivery, done.stdout)
        self.assertEqual(done.stderr, "")
        self.assertNotIn("encryptedPfx", done.stdout)
        again = self.deliver()[1]
        self.assertEqual(message["type"], "reseal.request.v1")
        self.assertEqual((message["receiveCount"], again["receiveCount"]), (0, 0))
        self.assertEqual(message["state"], "visible")
        self.assertEqual(message["holds"], {"sealedPassword": True, "pfx": True,
                                            "deviceCertificate": True, "payload": False})
        self.assertNotIn("body", message)
        self.assertGreater(message["size"], 1000)
        self.assertGreater(message["expires"], message["time"])

    def test_peek_with_body_shows_it_and_says_what_it_holds(self):
        name, _, url = self.queues(receives=9)
        request = {"specversion": "1.0", "type": "reseal.request.v1", "id": "7", "source": "s",
                   "data": {"encryptedPfxPassword": "c2VhbGVk", "encryptedPfxBlob": "cGZ4"}}
        body = json.dumps(request)
        self.sqs.send(url, body)
        self.sqs.send(url, "no JSON \u202e at all")
        for way in ((), ("--service",)):
            self.assertNotIn("c2VhbGVk", self.says("peek", name, *way).stdout)
            wait_until(lambda: self.sqs.counts(url) == (2, 0), "the messages are back")
            self.assertNotIn("cGZ4", json.dumps(self.data("peek", name, *way)))
            wait_until(lambda: self.sqs.counts(url) == (2, 0), "the messages are back")
            shown = self.says("peek", name, "--body", *way).stdout
            self.assertIn("holds a sealed password, a PFX behind its password\n" + body, shown)
            self.assertIn("unreadable", shown)
            self.assertNotIn("\u202e", shown)
            wait_until(lambda: self.sqs.counts(url) == (2, 0), "the messages are back")
            messages = self.data("peek", name, "--body", *way)["messages"]
            self.assertEqual({m["body"] for m in messages}, {body, "no JSON \u202e at all"})

    def test_peek_shows_as_many_bodies_as_one_answer_takes(self):
        name = "large"
        url = self.sqs.create(name, MaximumMessageSize=str(1 << 20))
        for letter in "abcde":
            self.sqs.send(url, letter * 900_000)
        for _ in range(2):
            self.sqs.send(url, '"' * 1_000_000)
        found = self.data("peek", name, "--body")
        self.assertEqual([m["body"][0] for m in found["messages"]], ["a", "b", "c"])
        self.assertIs(found["cut"], True)
        done = self.says("peek", name, "--body", "--count", "3")
        self.assertNotIn("as many as one answer takes", done.stderr)
        self.assertIn("as many as one answer takes", self.says("peek", name, "--body").stderr)
        found = self.data("peek", name)
        self.assertEqual((len(found["messages"]), found["cut"]), (7, False))
        self.says("purge", name, "--yes")
        self.sqs.send(url, '"' * 1_000_000)  # twice as long in JSON
        [message] = self.data("peek", name, "--body")["messages"]
        self.assertEqual(len(message["body"]), 1_000_000)

    def test_peek_at_a_queue_service_counts_says_so_and_gives_back(self):
        name, dead, url = self.queues(receives=3)
        self.sqs.send(url, "text")
        done = self.says("peek", name, "--service")
        self.assertIn(f"received 3 times goes to queue {dead}", done.stderr)
        wait_until(lambda: self.sqs.counts(url) == (1, 0), "the message is back")
        found = self.data("peek", name, "--service")
        self.assertEqual((found["counted"], found["messages"][0]["receiveCount"]), (True, 2))
        wait_until(lambda: self.sqs.counts(url) == (1, 0), "the message is back")
        found = self.data("peek", name)
        self.assertEqual((found["counted"], found["messages"][0]["receiveCount"]), (False, 2))

    # -- redrive --

    def test_redrive_moves_dead_letters_back_and_loses_none(self):
        name, dead, url = self.queues()
        self.give_up(url, 25)
        self.assertEqual((self.look(name)["visible"], self.look(name)["dead"]), (0, 25))
        self.assertEqual(self.data("redrive", name, "--count", "3"),
                         {"queue": name, "from": dead, "moved": 3})
        self.assertEqual((self.look(name)["visible"], self.look(name)["dead"]), (3, 22))
        done = self.says("redrive", name)
        self.assertEqual(done.stdout, "22\n")
        self.assertIn(f"22 messages moved from {dead}", done.stderr)
        found = set()
        while messages := self.sqs.receive(url, wait=0, lease=600):
            found.update(message["Body"] for message in messages)
        self.assertEqual(found, {f"letter {number}" for number in range(25)})
        self.assertEqual(self.look(dead)["visible"], 0)
        self.assertEqual(self.says("redrive", name).stdout, "0\n")

    def test_redrive_wants_to_know_where_from(self):
        url = self.sqs.create("alone")
        self.assertIn("--from", self.fails(1, "redrive", "alone"))
        self.fails(2, "redrive", "alone", "--from", "alone")
        other = self.sqs.create("another")
        self.sqs.send(other, "text")
        self.assertEqual(self.says("redrive", "alone", "--from", "another").stdout, "1\n")
        self.assertEqual((self.sqs.counts(url), self.sqs.counts(other)), ((1, 0), (0, 0)))

    # -- purge --

    def on_terminal(self, typed, *words):
        """Runs the command with a terminal of its own, and types when it asks."""
        main, terminal = pty.openpty()
        process = subprocess.Popen(
            ["setsid", "--ctty", "--wait", f"{BIN}/reseal", "queue", *words, "--config", self.conf],
            stdin=terminal, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self.stage.env)
        os.close(terminal)
        asked = b""
        while b"go on: " not in asked:
            self.assertTrue(select.select([main], [], [], PATIENCE)[0], asked)
            asked += os.read(main, 1000)
        os.write(main, typed.encode() + b"\n")
        out, err = process.communicate(timeout=PATIENCE)
        os.close(main)
        return process.returncode, out.decode(), err.decode(), asked.decode()

    def test_purge_wants_the_name_typed_or_yes(self):
        name, _, url = self.queues(receives=9)
        for number in range(23):
            self.sqs.send(url, f"text {number}")
        self.assertIn("--yes", self.fails(2, "purge", name))
        status, _, err, asked = self.on_terminal("y", "purge", name)
        self.assertEqual(status, 3, err)
        self.assertIn("23 now", asked)
        self.assertEqual(self.sqs.counts(url), (23, 0))
        status, out, err, _ = self.on_terminal(name, "purge", name)
        self.assertEqual((status, out), (0, "23\n"), err)
        self.assertEqual(self.sqs.counts(url), (0, 0))

    def test_purge_at_a_queue_service_leaves_what_somebody_works_on(self):
        name, _, url = self.queues(receives=9)
        for number in range(13):
            self.sqs.send(url, f"text {number}")
        [held] = self.sqs.receive(url, count=1)
        done = self.says("purge", name, "--yes", "--service")
        self.assertEqual(done.stdout, "12\n")
        self.assertIn("1 messages are still there", done.stderr)
        self.sqs.delete(url, held["ReceiptHandle"])
        self.assertEqual(self.data("purge", name, "--yes", "--service"),
                         {"queue": name, "deleted": 0})

    def test_purge_at_the_hub_takes_all(self):
        name, _, url = self.queues(receives=9)
        self.sqs.send(url, "first")
        [held] = self.sqs.receive(url)
        self.sqs.send(url, "second")
        self.sqs.does("SendMessage", QueueUrl=url, MessageBody="later", DelaySeconds=600)
        self.assertEqual(self.data("purge", name, "--yes"), {"queue": name, "deleted": 3})
        self.assertEqual(self.sqs.counts(url), (0, 0))
        self.sqs.send(url, "after the purge")
        self.assertEqual(self.sqs.counts(url), (1, 0))
        denied = self.stage.api.call("DELETE", f"/v1/queues/{name}/messages", Authorization="Bearer x")
        self.assertEqual(denied.status, 401)
        self.assertEqual(self.sqs.counts(url), (1, 0))

    # -- status --

    def test_status_tells_depth_age_and_dead_letters(self):
        name, dead, url = self.queues()
        results = self.sqs.create(f"{name}-results")
        self.give_up(url, 2)
        self.sqs.send(results, "one that nobody takes")
        connector = self.stage.connector("asked", queue={"requests": name,
                                                         "results": f"{name}-results"})
        config = connector.config
        found = json.loads(self.stage.succeeds("status", "--json", config=config).stdout)
        self.assertEqual(found["connector"], "asked")
        requests, answers = found["queues"]
        self.assertEqual((requests["name"], requests["dead"], requests["deadLetterQueue"]),
                         (name, 2, dead))
        self.assertEqual((answers["visible"], answers["dead"]), (1, None))
        self.assertIn(answers["oldestAgeSeconds"], range(PATIENCE))
        text = self.stage.succeeds("status", config=config).stdout
        self.assertIn(f"queue {name}: 0 waiting, 0 in flight", text)
        self.assertIn(f"queue {dead}: 2 dead letters", text)
        self.assertIn(f"queue {name}-results: 1 waiting", text)
        connector.stop()

    def test_status_without_queues_says_why(self):
        connector = self.stage.connector("alone", queue={"requests": "gone", "results": "gone"},
                                         connector={}, ready=True)
        found = json.loads(self.stage.succeeds("status", "--json", config=connector.config).stdout)
        self.assertIsNone(found["queues"])
        self.assertIn("gone", found["queuesError"])
        self.assertIn("is not known: ", self.stage.succeeds("status", config=connector.config).stdout)
        connector.stop()


if __name__ == "__main__":
    unittest.main()
