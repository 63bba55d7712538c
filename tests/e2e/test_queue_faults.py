# SPDX-License-Identifier: Apache-2.0
"""Three connectors at one queue, a proxy between them that does what networks and queue engines do
(tests/fault/queue_proxy.py), and every second a kill -9 of a random process (reseald, reseal-hsm,
reseal-hub): every delivery ends in exactly one effective result, none is lost, none is stuck, nothing
lies among the dead letters, and the devices open what they got.

RESEAL_SEED repeats the plan of the faults and the choice of the victims (what coincides is the
machine's timing); RESEAL_DELIVERIES says how many, otherwise 300, or 10,000 with RESEAL_LONG=1.
"""
import collections
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import (LONG, PATIENCE, SOURCE, StageTest, children, process_exists,  # noqa: E402
                     stable_port, together, wait_until)

sys.path.insert(0, f"{SOURCE}/tests/fault")
from queue_proxy import ALWAYS, RATE, RECEIVED, Plan  # noqa: E402

DELIVERIES = int(os.environ.get("RESEAL_DELIVERIES") or (10_000 if LONG else 300))
CONNECTORS = 3
LOADERS = 6
MORE_ROUNDS = 20  # of 50 deliveries, until every fault has happened at least once
STUCK = 5 * PATIENCE  # seconds without any delivery that ends
AWAY = (OSError, http.client.HTTPException)  # what a hub that was just killed looks like


class Proxy:
    """The proxy's process; one port for each connector."""

    def __init__(self, seed, upstream, log):
        self.ports, self.log = [stable_port() for _ in range(CONNECTORS)], log
        self.process = subprocess.Popen(
            [sys.executable, "-B", f"{SOURCE}/tests/fault/queue_proxy.py", "--seed", seed,
             "--upstream", str(upstream), "--listen", ",".join(map(str, self.ports)), "--log", log],
            stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "listening\n"

    def counts(self, calm=False):
        """How many of each fault there were; `calm` ends them."""
        self.process.send_signal(signal.SIGUSR1 if calm else signal.SIGUSR2)
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


class Orders:
    """Asks for deliveries, as devices do, and waits until each has ended."""

    def __init__(self, api, records, devices, count):
        self.api, self.records, self.devices = api, records, devices
        self.left = count
        self.taken = {}  # delivery -> device, password
        self.ended = {}  # delivery -> how
        self.failures = []
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.order, daemon=True) for _ in range(LOADERS)]
        self.watcher = threading.Thread(target=self.watch, daemon=True)
        for thread in [*self.threads, self.watcher]:
            thread.start()

    def order(self):
        while True:
            with self.lock:
                if self.left == 0:
                    return
                self.left -= 1
                record_id, password = self.records[self.left % len(self.records)]
                device = self.devices[self.left % len(self.devices)]
            while True:
                try:
                    answer = self.api.order(record_id, device)
                except AWAY:  # perhaps it was taken: then there is one delivery more than we know
                    time.sleep(0.05)
                    continue
                if answer.status != 503:
                    break
                time.sleep(0.05)
            with self.lock:
                if answer.status == 202:
                    self.taken[answer.json["id"]] = (device, password)
                else:
                    self.failures.append(f"an order was answered with {answer}")

    def watch(self):
        """Waits for one after the other: in the end, all have been waited for."""
        while True:
            with self.lock:
                waiting = [delivery for delivery in self.taken if delivery not in self.ended]
                over = self.left == 0 and not any(t.is_alive() for t in self.threads)
            if not waiting and over:
                return
            for delivery in waiting:
                self.wait_for(delivery)
            if not waiting:
                time.sleep(0.05)

    def wait_for(self, delivery):
        while True:
            try:
                answer = self.api.call("GET", f"/v1/deliveries/{delivery}?wait=5")
            except AWAY:
                time.sleep(0.05)
                continue
            if answer.status == 404:
                self.failures.append(f"delivery {delivery} was taken and is gone")
                with self.lock:
                    self.ended[delivery] = {"state": "gone"}
                return
            if answer.status == 200 and answer.json["state"] != "pending":
                with self.lock:
                    self.ended[delivery] = answer.json
                return

    def finished(self):
        return not self.watcher.is_alive()


class QueueFaults(StageTest):
    kind = "nss"

    @classmethod
    def setUpClass(cls):
        cls.options = {"lease": 3, "port": stable_port()}
        super().setUpClass()

    @classmethod
    def prepare(cls):
        cls.seed = os.environ.get("RESEAL_SEED") or str(random.SystemRandom().randrange(10**9))
        print(f"RESEAL_SEED={cls.seed}, {DELIVERIES} deliveries", file=sys.stderr)
        cls.devices = [cls.stage.ca.issue(f"device-{number}") for number in range(5)]
        passwords = [f"password {number}".encode() for number in range(12)]
        cls.records = [(cls.stage.escrow(password), password) for password in passwords]
        cls.give_dead_letters_a_queue()
        cls.proxy = Proxy(cls.seed, cls.stage.port, f"{cls.stage.folder}/faults.log")
        cls.addClassCleanup(cls.proxy.close)
        cls.connectors = [
            cls.stage.connector(f"connector-{number}", ready=False, connector={"attempts": 100},
                                queue={"endpoint": f"http://127.0.0.1:{port}", "wait": 2})
            for number, port in enumerate(cls.proxy.ports)]
        cls.killed, cls.by_itself = collections.Counter(), []

    @classmethod
    def give_dead_letters_a_queue(cls):
        queues = cls.stage.api.call("GET", "/v1/status").json["queues"]
        [cls.dead] = [queue["deadLetterQueue"] for queue in queues
                      if queue["name"] == "reseal-requests"]
        assert cls.dead, queues

    # -- kills --

    def start_again(self, daemon):
        daemon.start()
        if daemon is self.stage.hub:
            self.assertEqual(self.stage.hub_port(), self.stage.port)

    def strike(self, chance, owed=()):
        """Kills one process out of all, each as likely as the other, but those that are owed first."""
        daemons = [*self.connectors, self.stage.hub]
        victims = [(daemon.program, daemon.pid, daemon) for daemon in daemons if daemon.alive()]
        for connector in self.connectors:
            victims += [("reseal-hsm", helper, None) for helper in children(connector.pid)]
        name, pid, daemon = chance.choice([one for one in victims if one[0] in owed] or victims)
        self.killed[name] += 1
        if daemon is not None:
            daemon.kill()
            self.start_again(daemon)
            return
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:  # its parent was killed a second ago
            self.killed[name] -= 1

    def keep_running(self):
        """What ended by itself is started again, and told at the end. A connector whose helper was
        killed just as it logged in may end so: it does not try the PIN again by itself."""
        for daemon in (*self.connectors, self.stage.hub):
            if daemon.alive():
                continue
            status = daemon.wait_exit()
            if status == 4 and "ended while it logged in" in daemon.tail(8):
                self.killed["reseal-hsm at its login"] += 1
            else:
                self.by_itself.append(f"{daemon.program} ended with {status}\n{daemon.tail(8)}")
            self.start_again(daemon)

    def ended(self):
        """Deliveries that are no longer pending, as far as the hub tells now."""
        try:
            answer = self.stage.api.call("GET", "/v1/status")
        except AWAY:
            return 0
        states = answer.json["deliveries"] if answer.status == 200 else {}
        return sum(count for state, count in states.items() if state != "pending")

    def run_under_kills(self, orders, owed=()):
        chance = random.Random(f"{self.seed}/kills")
        done, changed = 0, time.monotonic()
        while not orders.finished():
            time.sleep(1)  # a kill every second is what is asked for
            self.keep_running()
            self.strike(chance, owed)
            ended = self.ended()
            if ended > done:
                done, changed = ended, time.monotonic()
            if time.monotonic() - changed > STUCK:
                self.fail(f"nothing ends any more after {done} deliveries\n{self.stage.hub.tail()}"
                          + "".join(connector.tail(20) for connector in self.connectors))

    # -- the test --

    def test_every_delivery_has_exactly_one_effective_result(self):
        begun = time.monotonic()
        orders = Orders(self.stage.api, self.records, self.devices, DELIVERIES)
        self.run_under_kills(orders)
        rounds = [orders]
        while self.missing() and len(rounds) < MORE_ROUNDS:
            rounds.append(Orders(self.stage.api, self.records, self.devices, 50))
            self.run_under_kills(rounds[-1], owed=self.missing())
        under_faults = time.monotonic() - begun
        self.assertEqual(self.missing(), [], "these did not happen")
        counts = self.proxy.counts(calm=True)
        self.assertEqual(self.by_itself, [])
        self.check_plan_was_followed()
        for orders in rounds:
            self.assertEqual(orders.failures, [])
            self.check_outcomes(orders)
        self.check_queues_empty()
        ended = [outcome for orders in rounds for outcome in orders.ended.values()]
        repeated = sum(outcome["resultsReceived"] > 1 for outcome in ended)
        print(f"{len(ended)} deliveries in {under_faults:.0f} s, {repeated} answered more than once, at "
              f"most {max(outcome['resultsReceived'] for outcome in ended)} times; "
              f"killed {dict(self.killed)}; faults {counts}", file=sys.stderr)

    def check_plan_was_followed(self):
        """What happened to each request follows from the seed, and so replays."""
        plan = Plan(self.seed, RATE)
        with open(self.proxy.log) as log:
            happened = [json.loads(line) for line in log]
        for line in happened:
            self.assertEqual(plan.at(line["client"], line["number"], line["operation"])[0],
                             line["fault"], line)
        self.assertGreater(len(happened), len(ALWAYS))
        self.assertNotEqual([plan.at(0, number, "")[0] for number in range(200)],
                            [Plan("another", RATE).at(0, number, "")[0] for number in range(200)])

    def missing(self):
        """Faults and kills that have not happened yet."""
        counts = self.proxy.counts()
        return [fault for fault in (*ALWAYS, *RECEIVED) if not counts.get(fault)] + \
            [program for program in ("reseald", "reseal-hsm", "reseal-hub") if not self.killed[program]]

    def check_outcomes(self, orders):
        final = dict(zip(orders.taken, together(self.stage.api.outcome, orders.taken)))
        for delivery, outcome in final.items():
            self.assertEqual(outcome["state"], "resealed", outcome)
            self.assertEqual(outcome["resultsEffective"], 1, outcome)
            self.assertGreaterEqual(outcome["resultsReceived"], 1)
            self.assertEqual(outcome["payload"], orders.ended[delivery]["payload"],
                             "a second result changed something")
        chance = random.Random(f"{self.seed}/sample")
        for delivery in chance.sample(sorted(final), min(len(final), 200 if LONG else 40)):
            device, password = orders.taken[delivery]
            self.assertEqual(device.open(final[delivery]["payload"]), password)
        orders.ended.update(final)

    def check_queues_empty(self):
        """Deliveries that the hub took without an answer reaching us have ended, too."""
        sqs, api = self.stage.sqs, self.stage.api
        for name in ("reseal-requests", "reseal-results"):
            url = sqs.url(name)
            wait_until(lambda: self.keep_running() or sqs.counts(url) == (0, 0), f"{name} is empty")
        self.assertEqual(sqs.counts(sqs.url(self.dead)), (0, 0), "dead letters")
        deliveries = api.call("GET", "/v1/status").json["deliveries"]
        self.assertEqual((deliveries["pending"], deliveries["refused"], deliveries["failed"]),
                         (0, 0, 0), deliveries)
        self.assertGreaterEqual(deliveries["resealed"], DELIVERIES)  # and all that were taken: above
        for connector in self.connectors:
            connector.stop()
        for pid in [helper for connector in self.connectors for helper in children(connector.pid)]:
            wait_until(lambda p=pid: not process_exists(p), "helpers end with their connector")


if __name__ == "__main__":
    unittest.main()
