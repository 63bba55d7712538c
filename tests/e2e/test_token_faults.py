# SPDX-License-Identifier: Apache-2.0
"""A connector and its helper, with a token that hangs, dies, forgets its login, refuses the PIN, goes
and comes back elsewhere, or runs out of sessions: each request is delivered, once."""
import json
import os
import secrets
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from fault_support import Fault  # noqa: E402
from harness import StageTest, children, together  # noqa: E402


class TokenFaults(StageTest):
    kind = "nss"

    @classmethod
    def prepare(cls):
        cls.fault = Fault(cls.stage)
        cls.device = cls.stage.ca.issue("laptop")
        cls.password = b"good " + secrets.token_hex(8).encode()
        cls.stage.secrets.append(cls.password.decode())
        cls.record = cls.stage.escrow(cls.password)

    def start(self, **connector):
        self.fault.forget()
        self.connector = self.stage.connector(token=self.fault.token, connector=connector)
        self.addCleanup(self.end)
        self.helper, = children(self.connector.pid)
        self.assertEqual(self.fault.answers("C_Login"), ["CKR_OK"])
        return self.connector

    def end(self):
        self.fault.set()
        if self.connector.alive():
            self.connector.stop()

    def ask(self):
        return self.stage.api.deliver(self.record, self.device)

    def delivered(self, delivery):
        outcome = self.stage.api.outcome(delivery)
        self.opens(self.device, outcome, self.password)
        self.assertEqual(outcome["resultsReceived"], 1, outcome)

    def helper_is_replaced(self, rule):
        connector = self.start(helper_deadline=2)
        self.fault.set(rule)
        deliveries = [self.ask() for _ in range(3)]
        for delivery in deliveries:
            self.delivered(delivery)
        connector.wait_event(lambda event: event.get("event") == 1002)  # the helper was lost
        self.assertTrue(connector.alive())
        self.assertNotIn(self.helper, children(connector.pid))
        # One login for each helper, and none by the one that was lost.
        logins = self.fault.calls("C_Login")
        self.assertEqual([answer for _, answer in logins], ["CKR_OK"] * 2)
        self.assertEqual(len({pid for pid, _ in logins}), 2)

    def test_a_module_that_hangs_costs_its_helper_and_no_request(self):
        self.helper_is_replaced("C_UnwrapKey 1 hang once")

    def test_a_module_that_ends_its_process_costs_its_helper_and_no_request(self):
        self.helper_is_replaced("C_UnwrapKey 1 die once")

    def test_a_module_that_aborts_after_its_work_costs_its_helper_and_no_request(self):
        self.helper_is_replaced("C_UnwrapKey 1 abort late once")

    def test_a_module_that_is_lost_for_good_is_started_anew(self):
        connector = self.start()
        # In each process of its own, and at first where a worker opens its session anew.
        self.fault.set("C_UnwrapKey 1 return CKR_SESSION_CLOSED close once",
                       "C_OpenSession 1 return CKR_CRYPTOKI_NOT_INITIALIZED once")
        self.delivered(self.ask())
        self.assertNotIn(self.helper, children(connector.pid))
        self.assertEqual(self.fault.answers("C_Login"), ["CKR_OK"] * 2)

    def test_a_login_that_is_lost_is_made_again_once(self):
        connector = self.start(workers=1)
        self.fault.set("C_UnwrapKey 1 after CKR_USER_NOT_LOGGED_IN logout once")
        self.delivered(self.ask())
        self.assertEqual(children(connector.pid), [self.helper])
        self.assertEqual(self.fault.answers("C_Login"), ["CKR_OK"] * 2)
        self.assertTrue(any("logged in again" in event.get("message", "")
                            for event in connector.since()))

    def test_a_pin_that_is_refused_is_tried_once_and_a_person_is_told(self):
        connector = self.start(workers=2)
        self.fault.set("C_UnwrapKey 1 after CKR_USER_NOT_LOGGED_IN logout",
                       "C_Login * return CKR_PIN_INCORRECT")
        deliveries = [self.ask() for _ in range(4)]
        event = connector.wait_event(lambda event: "PIN was refused" in event.get("message", ""))
        self.assertIn("CKR_PIN_INCORRECT", event["text"])
        said = self.stage.reseal("status", "--json", config=connector.config)
        status = json.loads(said.stdout)
        self.assertNotEqual(status["state"], "serving")
        self.assertEqual(status["helper"]["error"]["kind"], "pin")
        self.assertIn("CKR_PIN_INCORRECT", status["helper"]["error"]["text"])
        self.assertIn("start reseald anew", status["helper"]["error"]["hint"])
        doctor = self.stage.reseal("doctor", config=connector.config)
        self.assertNotEqual(doctor.returncode, 0, doctor.stdout)
        self.assertIn("CKR_PIN_INCORRECT", doctor.stdout + doctor.stderr)
        # More requests, and nobody asks the token again. Nothing was refused for it either; one may
        # have come through while the login still held.
        deliveries.append(self.ask())
        states = [self.stage.api.delivery(delivery, wait=0)["state"] for delivery in deliveries]
        self.assertLessEqual(set(states), {"pending", "resealed"})
        self.assertEqual(states[-1], "pending")
        self.assertEqual(self.fault.answers("C_Login"), ["CKR_OK", "CKR_PIN_INCORRECT"])
        # A person has put it right and starts the connector again.
        connector.stop()
        self.fault.set()
        connector.start()
        for delivery in deliveries:
            self.delivered(delivery)
        self.assertEqual(self.fault.answers("C_Login"), ["CKR_OK", "CKR_PIN_INCORRECT", "CKR_OK"])

    def test_a_token_that_goes_and_comes_back_in_another_slot_is_served_again(self):
        connector = self.start()
        self.delivered(self.ask())
        self.fault.set("gone")
        deliveries = [self.ask() for _ in range(6)]
        connector.wait_event(lambda event: "token is away" in event.get("message", ""))
        self.assertEqual({self.stage.api.delivery(delivery, wait=0)["state"]
                          for delivery in deliveries}, {"pending"})
        self.fault.set("slot +1000")
        for delivery in deliveries:
            self.delivered(delivery)
        self.assertTrue(connector.alive())
        self.assertEqual(set(self.fault.answers("C_Login")), {"CKR_OK"})

    def test_a_token_with_few_sessions_is_served_with_these(self):
        # One of the start, one for the login, and two of the four workers.
        self.fault.set("sessions-max 4")
        connector = self.start(workers=4)
        ready = self.stage.wait_ready(connector)
        self.assertEqual(int(ready["sessions"]), 2)
        self.assertTrue(any("CKR_SESSION_COUNT" in json.dumps(event) for event in connector.since()))
        for delivery in together(lambda _: self.ask(), range(12)):
            self.delivered(delivery)
        self.assertEqual(children(connector.pid), [self.helper])


if __name__ == "__main__":
    unittest.main()
