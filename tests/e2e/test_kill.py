# SPDX-License-Identifier: Apache-2.0
"""kill -9 of reseald, reseal-hsm and reseal-hub at random moments under load: every delivery that
the hub has taken ends in exactly one effective result, and none is lost.

RESEAL_SEED repeats a run's choices (the machine's timing stays its own); RESEAL_LONG=1 kills 300
times each, of which RESEAL_PART=2/4 takes a quarter.
"""
import http.client
import os
import random
import signal
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import (LONG, PATIENCE, StageTest, children, process_exists,  # noqa: E402
                     stable_port, together, wait_until)

LOADERS = 6
PART, PARTS = (int(number) for number in os.environ.get("RESEAL_PART", "1/1").split("/"))
AWAY = (OSError, http.client.HTTPException)  # what a hub that was just killed looks like


class Load:
    """Devices that ask and wait, again and again, whatever happens to the hub meanwhile."""

    def __init__(self, api, records, device):
        self.api, self.records, self.device = api, records, device
        self.outcomes = {}  # delivery -> (password, what the device saw first)
        self.taken = {}     # delivery -> password
        self.failures = []
        self.progress = threading.Condition()
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(number,), daemon=True)
                        for number in range(LOADERS)]
        for thread in self.threads:
            thread.start()

    def run(self, number):
        turn = number
        while not self.over.is_set():
            record_id, password = self.records[turn % len(self.records)]
            turn += 1
            try:
                answer = self.api.order(record_id, self.device)
            except AWAY:
                self.over.wait(0.05)
                continue
            if answer.status != 202:
                self.failures.append(f"a delivery was answered with {answer}")
                self.over.wait(0.5)
                continue
            delivery = answer.json["id"]
            with self.progress:
                self.taken[delivery] = password
            self.wait_for(delivery, password)

    def wait_for(self, delivery, password):
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                state = self.api.delivery(delivery, wait=5)
            except AWAY:
                time.sleep(0.05)
                continue
            except AssertionError as lost:
                self.failures.append(f"a delivery that was taken is gone: {lost}")
                return
            if state["state"] != "pending":
                with self.progress:
                    self.outcomes[delivery] = (password, state)
                    self.progress.notify_all()
                return
        self.failures.append(f"delivery {delivery} is still pending")

    def done(self):
        with self.progress:
            return len(self.outcomes)

    def wait_progress(self, done, keep_running):
        """Until more than `done` deliveries are over."""
        end = time.monotonic() + PATIENCE
        while self.done() <= done:
            keep_running()
            if time.monotonic() > end:
                raise AssertionError("no delivery comes to its end any more")
            with self.progress:
                self.progress.wait(0.1)

    def finish(self):
        self.over.set()
        for thread in self.threads:
            thread.join(2 * PATIENCE)


class Killed:
    # Short leases: what a killed connector had in hand comes back soon.
    options = {"lease": 2}
    times = 20
    # SoftHSM writes its token.object in place at each C_Login: a process that is killed just then
    # leaves a token that nobody can open any more. That is not ours to mend, so a helper on
    # SoftHSM is killed at any moment but this one.
    spare_logins = False

    @classmethod
    def setUpClass(cls):
        cls.options = dict(cls.options, port=stable_port())
        super().setUpClass()

    @classmethod
    def prepare(cls):
        cls.device = cls.stage.ca.issue("laptop")
        passwords = [f"password {number}".encode() for number in range(12)]
        cls.records = [(cls.stage.escrow(password), password) for password in passwords]
        cls.connector = cls.stage.connector(connector={"attempts": 100})
        cls.helpers, cls.ended = set(), []

    def kill_helper(self):
        """Kills the helper as soon as there is one."""
        self.keep_running()
        helpers = children(self.connector.pid)
        self.helpers.update(helpers)
        if self.spare_logins:
            ready = {event.get("pid") for event in self.connector.since() if event.get("event") == 1001}
            helpers = [helper for helper in helpers if helper in ready]
        try:
            return [os.kill(helper, signal.SIGKILL) for helper in helpers]
        except ProcessLookupError:  # the last one, reaped at this moment
            return []

    def keep_running(self):
        """What ended by itself is started again, as a service manager would. Two helpers in a row that are killed while
        they log in may have cost two tries of the PIN: the connector tries no third, and a person does what it says."""
        if any(event.get("event") == 1003 and "PIN" in event.get("message", "") for event in self.connector.since()):
            self.ended.append("the PIN was left alone")
            self.connector.kill()
            self.connector.start()
        for daemon in (self.connector, self.stage.hub):
            if not daemon.alive():
                self.ended.append(f"{daemon.program} ended with {daemon.process.wait()}")
                daemon.start()

    def keep_until(self, stop):
        while not stop.wait(0.1):
            self.keep_running()

    def strike(self, victim):
        if victim == "reseal-hsm":
            wait_until(self.kill_helper, "there is a helper to kill")
            return
        daemon = {"reseald": self.connector, "reseal-hub": self.stage.hub}[victim]
        self.helpers.update(children(daemon.pid) if victim == "reseald" else [])
        daemon.kill()
        daemon.start()  # as a service manager would
        if victim == "reseal-hub":
            self.assertEqual(self.stage.hub_port(), self.stage.port)

    def run_kills(self, victims):
        seed = os.environ.get("RESEAL_SEED") or str(random.SystemRandom().randrange(10**9))
        print(f"RESEAL_SEED={seed} ({self.stage.kind})", file=sys.stderr)
        chance = random.Random(seed)
        times = range(300 if LONG else self.times)[PART - 1::PARTS]
        order = [victim for victim in victims for _ in times]
        chance.shuffle(order)
        load = Load(self.stage.api, self.records, self.device)
        try:
            for count, victim in enumerate(order):
                before = load.done()
                if chance.random() < 0.8:  # otherwise while everything still starts
                    load.wait_progress(before, self.keep_running)
                time.sleep(chance.uniform(0, 0.3))
                self.strike(victim)
            load.wait_progress(load.done(), self.keep_running)
        except AssertionError as failure:
            self.fail(f"after {count} kills: {failure}\n{self.stage.hub.tail()}\n"
                      f"{self.connector.tail(60)}")
        finally:
            stop = threading.Event()
            keeper = threading.Thread(target=self.keep_until, args=(stop,))
            keeper.start()
            load.finish()
            stop.set()
            keeper.join()
        self.assertEqual(load.failures, [])
        self.check(load, chance)

    def check(self, load, chance):
        self.assertEqual(set(load.outcomes), set(load.taken))
        self.assertGreater(len(load.taken), len(self.records))
        final = dict(zip(load.taken, together(self.stage.api.outcome, load.taken)))
        for delivery, (_, seen) in load.outcomes.items():
            now = final[delivery]
            self.assertEqual(now["state"], "resealed", now)
            self.assertEqual(now["resultsEffective"], 1, now)
            self.assertGreaterEqual(now["resultsReceived"], 1)
            self.assertEqual(now["payload"], seen["payload"], "a second result changed something")
        sample = chance.sample(sorted(final), min(len(final), 200 if LONG else 40))
        for delivery in sample:
            self.assertEqual(self.device.open(final[delivery]["payload"]), load.taken[delivery])
        url = self.stage.sqs.url("reseal-requests")
        wait_until(lambda: self.stage.sqs.counts(url) == (0, 0), "every request leaves the queue")
        wait_until(lambda: self.stage.api.call("GET", "/healthz").status == 200, "hub is well")
        wait_until(lambda: not any(process_exists(helper) for helper in
                                   self.helpers - set(children(self.connector.pid))),
                   "no helper outlives its connector")
        repeated = sum(outcome["resultsReceived"] > 1 for outcome in final.values())
        print(f"{len(final)} deliveries, {repeated} answered more than once, "
              f"ended by themselves: {self.ended}", file=sys.stderr)


class KilledOnSofthsm(Killed, StageTest):
    kind = "softhsm"
    spare_logins = True

    def test_each_program_killed_at_random(self):
        self.run_kills(["reseald", "reseal-hsm", "reseal-hub"])


class KilledOnNss(Killed, StageTest):
    kind = "nss"
    times = 5

    def test_each_program_killed_at_random(self):
        self.run_kills(["reseald", "reseal-hsm", "reseal-hub"])


if __name__ == "__main__":
    unittest.main()
