# SPDX-License-Identifier: Apache-2.0
"""Deliveries by a queue engine that is not ours, fauxqs: the hub keeps records and deliveries, and
requests and results go by the engine."""
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from engines import EngineStage, Fauxqs  # noqa: E402
from harness import DeviceCa, StageTest, stable_port, wait_until  # noqa: E402


class ByFauxqs(StageTest):
    stage_class = EngineStage
    options = {"port": stable_port()}

    @classmethod
    def prepare(cls):
        cls.connectors = [cls.stage.connector(f"c{i}") for i in range(2)]
        cls.device = cls.stage.ca.issue("laptop")

    def all_open(self, orders):
        for delivery, password in orders:
            self.opens(self.device, self.stage.api.outcome(delivery, seconds=90), password)

    def order(self, count, prefix):
        orders = []
        for i in range(count):
            password = f"{prefix} {i}".encode()
            record = self.stage.escrow(password)
            orders.append((self.stage.api.deliver(record, self.device), password))
        return orders

    def nothing_is_left(self):
        for name in Fauxqs.queues:
            wait_until(lambda queue=name: self.stage.engine.waiting(queue) == 0,
                       f"nothing is left in {name}", seconds=90, pause=0.2)
        wait_until(lambda: self.stage.sqs_counts("reseal-requests") == (0, 0),
                   "nothing is left in the hub's own queue")

    def engine_status(self):
        return self.stage.api.call("GET", "/v1/status").json["engine"]

    def test_a_whole_delivery(self):
        self.all_open(self.order(1, "by another engine"))
        self.nothing_is_left()
        status = self.engine_status()
        self.assertEqual(status["endpoint"], f"http://127.0.0.1:{self.stage.engine.port}")
        self.assertIsNone(status["error"])
        self.assertTrue(status["lastAnswerAt"])

    def test_many_deliveries_by_two_connectors(self):
        self.all_open(self.order(40, "one of many"))
        self.nothing_is_left()

    def test_a_refusal_comes_back(self):
        other = DeviceCa(f"{self.stage.folder}/other").issue("stranger")
        outcome = self.stage.api.outcome(
            self.stage.api.deliver(self.stage.escrow(b"not for you"), other))
        self.assertEqual(outcome["state"], "refused", outcome)

    def test_an_engine_that_is_killed_and_comes_back_loses_nothing(self):
        orders = self.order(5, "before")
        self.stage.engine.kill()
        orders += self.order(10, "while it is away")
        wait_until(lambda: self.engine_status()["error"], "the hub tells that its engine is away")
        self.stage.engine.start()
        orders += self.order(5, "after")
        self.all_open(orders)
        self.nothing_is_left()

    def test_a_hub_that_is_killed_loses_nothing(self):
        orders = self.order(10, "before the kill")
        self.stage.hub.kill()
        self.stage.hub.start()
        self.stage.hub_port()
        orders += self.order(5, "after the kill")
        self.all_open(orders)
        self.nothing_is_left()

    def test_a_hub_that_stops_gives_back_what_the_engine_has_not_taken(self):
        self.stage.engine.kill()
        orders = self.order(3, "kept")
        wait_until(lambda: self.stage.sqs_counts("reseal-requests") == (0, 3), "they are on their way")
        self.stage.hub.stop()
        self.stage.hub.start()
        self.stage.hub_port()
        self.stage.engine.start()
        self.all_open(orders)
        self.nothing_is_left()

    def test_doctor_finds_the_engine_in_order(self):
        config = self.connectors[0].config
        done = self.stage.reseal("doctor", "--json", config=config)
        self.assertIn("reseal-requests at http://127.0.0.1:", done.stdout)
        self.stage.succeeds("status", config=config)

    def test_doctor_tells_of_a_queue_that_is_not_there(self):
        config = self.stage.config("astray", queue={"requests": "nowhere"})
        done = self.stage.reseal("doctor", config=config)
        self.assertEqual(done.returncode, 5, done.stdout + done.stderr)
        self.assertIn('create the queue "nowhere"', done.stdout + done.stderr)


if __name__ == "__main__":
    unittest.main()
