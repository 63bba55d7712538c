# SPDX-License-Identifier: Apache-2.0
"""kill -9 of the hub at random moments under load: acknowledged means on disk.

Nothing whose sending was acknowledged is lost, nothing whose deletion was acknowledged comes back,
and no message is served more often than its queue allows without going to the dead letters.

RESEAL_SEED repeats a run's choices (the machine's timing stays its own); RESEAL_LONG=1 kills 1,000
times.
"""
import contextlib
import http.client
import os
import random
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from hub_support import SLOW, Hub  # noqa: E402

LONG = bool(os.environ.get("RESEAL_LONG"))
KILLS = 1000 if LONG else 20
WORKERS = 6
RECEIVES = 3
AWAY = (OSError, http.client.HTTPException)  # what a hub that was just killed looks like


class Ledger:
    """What clients were told, in the order in which they were told it."""

    def __init__(self):
        self.lock = threading.Lock()
        self.sent = set()      # acknowledged
        self.deleting = set()  # asked for, perhaps done
        self.deleted = set()   # acknowledged
        self.served = {}       # text -> the receive counts with which the queue has handed it out
        self.faults = []
        self.operations = 0

    def received(self, message, deleted_before, dead):
        text = message["Body"][:60]
        count = int(message["Attributes"]["ApproximateReceiveCount"])
        with self.lock:
            self.operations += 1
            if text in deleted_before:
                self.faults.append(f"{text} was deleted and came back")
            if dead:
                return text
            counts = self.served.setdefault(text, set())
            if count in counts or not 1 <= count <= RECEIVES:  # a receive was forgotten, or is one too many
                self.faults.append(f"{text} was served for the {count}. time after {sorted(counts)}")
            counts.add(count)
        return text


class Worker:
    def __init__(self, hub, ledger, queue, number, chance):
        self.hub, self.ledger, self.queue, self.number, self.chance = hub, ledger, queue, number, chance
        self.count = 0

    def run(self, over):
        while not over.is_set():
            try:
                self.chance.choice((self.send, self.send_batch, self.work, self.work))()
            except AWAY:
                over.wait(0.01)

    def text(self):
        self.count += 1
        filling = "x" * self.chance.choice((10, 3000, 20_000))
        return f"{self.number}/{self.count}".ljust(60) + filling

    def sent(self, texts):
        with self.ledger.lock:
            self.ledger.sent.update(text[:60] for text in texts)
            self.ledger.operations += len(texts)

    def send(self):
        text = self.text()
        if self.hub.send(self.queue, text).status == 200:
            self.sent([text])

    def send_batch(self):
        texts = [self.text() for _ in range(self.chance.randint(2, 5))]
        entries = [{"Id": str(n), "MessageBody": text} for n, text in enumerate(texts)]
        answer = self.hub.sqs("SendMessageBatch", QueueUrl=self.hub.url(self.queue), Entries=entries)
        if answer.status == 200:
            self.sent([texts[int(entry["Id"])] for entry in answer.json["Successful"]])

    def work(self):
        """Takes some; extends some leases; deletes some, gives some back, and forgets some."""
        with self.ledger.lock:
            before = frozenset(self.ledger.deleted)
        messages = self.hub.receive(self.queue, MaxNumberOfMessages=5, VisibilityTimeout=self.chance.choice((0, 1, 30)))
        texts = [self.ledger.received(message, before, False) for message in messages]
        for message, text in zip(messages, texts):
            handle = {"QueueUrl": self.hub.url(self.queue), "ReceiptHandle": message["ReceiptHandle"]}
            choice = self.chance.random()
            if choice < 0.2:
                self.hub.sqs("ChangeMessageVisibility", VisibilityTimeout=self.chance.choice((0, 30)), **handle)
            elif choice < 0.8:
                with self.ledger.lock:
                    self.ledger.deleting.add(text)
                if self.hub.sqs("DeleteMessage", **handle).status == 200:
                    with self.ledger.lock:
                        self.ledger.deleted.add(text)
                        self.ledger.operations += 1


class Killed(unittest.TestCase):
    def test_what_was_acknowledged_outlives_every_kill(self):
        seed = os.environ.get("RESEAL_SEED") or str(random.SystemRandom().randrange(10**9))
        print(f"RESEAL_SEED={seed}", file=sys.stderr)
        chance = random.Random(seed)
        self.hub = hub = Hub()
        self.addCleanup(hub.close)
        self.dead = hub.new_queue()
        self.queue = hub.new_queue(RedrivePolicy='{"deadLetterTargetArn":"arn:aws:sqs:local:000000000000:%s",'
                                                 '"maxReceiveCount":"%d"}' % (self.dead, RECEIVES))
        self.ledger = ledger = Ledger()
        over = threading.Event()
        workers = [threading.Thread(target=Worker(hub, ledger, self.queue, n, random.Random(f"{seed}/{n}")).run,
                                    args=(over,)) for n in range(WORKERS)]
        for worker in workers:
            worker.start()
        try:
            for _ in range(KILLS):
                goal = ledger.operations + chance.randint(1, 60)
                end = time.monotonic() + SLOW
                while ledger.operations < goal:  # work goes on between two kills
                    self.assertLess(time.monotonic(), end, "nothing goes on any more")
                    time.sleep(0.001)
                hub.restart()
        finally:
            over.set()
            for worker in workers:
                worker.join(SLOW)
        self.check()

    def drain(self, queue, dead):
        """What the queue still has, to the last message, once."""
        found = set()
        before = frozenset(self.ledger.deleted)
        end = time.monotonic() + SLOW
        while sum(self.hub.waiting(queue)) > 0:
            self.assertLess(time.monotonic(), end, "the queue does not run empty")
            for message in self.hub.receive(queue, MaxNumberOfMessages=10, VisibilityTimeout=60, WaitTimeSeconds=1):
                found.add(self.ledger.received(message, before, dead))
                self.hub.sqs("DeleteMessage", QueueUrl=self.hub.url(queue), ReceiptHandle=message["ReceiptHandle"])
        return found

    def check(self):
        ledger = self.ledger
        found = self.drain(self.queue, False) | self.drain(self.dead, True)
        self.assertEqual(ledger.faults, [])
        self.assertEqual(ledger.sent - ledger.deleting - found, set(), "acknowledged, and lost")
        self.assertEqual(found & ledger.deleted, set(), "deleted, and back again")
        self.assertGreater(len(ledger.deleted), KILLS // 2)
        print(f"{KILLS} kills, {len(ledger.sent)} messages, {len(ledger.deleted)} deletions and "
              f"{sum(map(len, ledger.served.values()))} receives acknowledged", file=sys.stderr)
        with contextlib.suppress(AssertionError):
            self.hub.stop()


if __name__ == "__main__":
    unittest.main()
