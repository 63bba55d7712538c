# SPDX-License-Identifier: Apache-2.0
"""A network HSM that dies and comes back, for real: the token's process is killed under load, and
in the middle of each kind of call. The connector lives on, requests wait, and when the token is
back everything is delivered by the same processes.

RESEAL_SEED repeats a run's choices; RESEAL_LONG=1 kills a hundred times under load, and at 120
moments of each kind.
"""
import os
import random
import signal
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import test_kill  # noqa: E402
from harness import LONG, StageTest, children, together, wait_until  # noqa: E402
from remote_support import RemoteStage  # noqa: E402

KILLS = 100 if LONG else 3
MOMENTS = 120 if LONG else 3  # of all calls


class TokenGone(StageTest):
    kind, stage_class = "nss", RemoteStage

    @classmethod
    def prepare(cls):
        cls.device = cls.stage.ca.issue("laptop")
        cls.records = [(cls.stage.escrow(password), password)
                       for password in (f"password {number}".encode() for number in range(8))]
        cls.connector = cls.stage.connector()

    def setUp(self):
        self.processes = (self.connector.pid, children(self.connector.pid), self.stage.hub.pid)

    def tearDown(self):
        self.assertTrue(self.connector.alive(), self.connector.tail())
        if not self.stage.server.alive():
            self.stage.server.start()
        self.deliver()
        # Neither reseald nor its helper had to be started anew for it.
        self.assertEqual((self.connector.pid, children(self.connector.pid), self.stage.hub.pid),
                         self.processes, self.connector.tail())

    @staticmethod
    def chance():
        seed = os.environ.get("RESEAL_SEED") or str(random.SystemRandom().randrange(10**9))
        print(f"RESEAL_SEED={seed}", file=sys.stderr)
        return random.Random(seed)

    def deliver(self):
        record_id, password = self.records[0]
        api = self.stage.api
        self.opens(self.device, api.outcome(api.deliver(record_id, self.device)), password)

    def wait_trouble(self, mark):
        """Until a request was given to a token that is gone."""
        self.connector.wait_event(
            lambda event: "CKR_DEVICE_REMOVED" in event.get("text", ""), since=mark)

    def check(self, load):
        self.assertEqual(load.failures, [])
        self.assertEqual(set(load.outcomes), set(load.taken))
        final = dict(zip(load.taken, together(self.stage.api.outcome, load.taken)))
        for delivery, outcome in final.items():
            self.assertEqual(outcome["state"], "resealed", outcome)
            self.assertEqual(outcome["resultsEffective"], 1, outcome)
        for delivery in list(final)[-20:]:
            self.assertEqual(self.device.open(final[delivery]["payload"]), load.taken[delivery])
        url = self.stage.sqs.url("reseal-requests")
        wait_until(lambda: self.stage.sqs.counts(url) == (0, 0), "every request leaves the queue")

    def keep_running(self):
        self.assertTrue(self.connector.alive(), self.connector.tail())

    def test_a_token_that_is_killed_under_load_costs_no_delivery(self):
        chance = self.chance()
        load = test_kill.Load(self.stage.api, self.records, self.device)
        try:
            for _ in range(KILLS):
                load.wait_progress(load.done() + chance.randrange(20), self.keep_running)
                mark = self.connector.mark()
                self.stage.server.kill()
                # It is away for so long that requests wait, for a moment, or not that anybody sees.
                away = chance.choice(["the token is away", "CKR_DEVICE_REMOVED", ""])
                self.connector.wait_event(lambda event: away in str(event), since=mark)
                self.stage.server.start()
            load.wait_progress(load.done(), self.keep_running)
        finally:
            load.finish()
        self.check(load)
        print(f"{len(load.taken)} deliveries, {KILLS} kills", file=sys.stderr)

    def moments(self, calls):
        """When to die, and whether it is back before its client has seen it."""
        chance = self.chance()
        every = [(moment, unseen) for moment in range(len(calls)) for unseen in (False, True)]
        return sorted(chance.sample(every, min(MOMENTS, len(every))))

    def die(self, connector, unseen):
        """Kills the token, and starts it again."""
        helper = children(connector.pid)[0]
        if unseen:
            os.kill(helper, signal.SIGSTOP)
        self.stage.server.kill()
        self.stage.server.start()
        if unseen:
            os.kill(helper, signal.SIGCONT)

    def test_a_token_may_die_at_any_call_of_its_return_and_of_a_job(self):
        api, server, (record_id, password) = self.stage.api, self.stage.server, self.records[0]
        server.kill()
        with server.start(hold="*") as control:
            delivery = api.deliver(record_id, self.device)
            calls = control.step_until(lambda: api.delivery(delivery)["state"] != "pending")
        for function in ("C_OpenSession", "C_Login", "C_FindObjects", "C_GetAttributeValue",
                         "C_CreateObject", "C_GenerateKey", "C_UnwrapKey", "C_WrapKey"):
            self.assertIn(function, calls)
        for moment, unseen in self.moments(calls):
            with self.subTest(moment=moment, function=calls[moment], unseen=unseen):
                server.kill()
                with server.start(hold="*") as control:
                    delivery = api.deliver(record_id, self.device)
                    control.step(moment)
                    self.die(self.connector, unseen)
                self.opens(self.device, api.outcome(delivery), password)

    def test_a_job_whose_token_dies_when_it_cleans_up_is_done(self):
        api, (record_id, password) = self.stage.api, self.records[0]
        with self.stage.server.control() as control:
            control.hold("C_DestroyObject")
            delivery = api.deliver(record_id, self.device)
            control.wait_held()  # the device's public key, before the password is unwrapped
            control.next()
            control.wait_held()  # the password: nothing is asked of the token any more
            self.stage.server.kill()
        self.opens(self.device, api.outcome(delivery), password)

    def test_a_connector_that_starts_without_its_token_waits_for_it(self):
        self.stage.server.kill()
        late = self.stage.connector("late", ready=False)
        late.wait_event(lambda event: "CKR_DEVICE_REMOVED" in event.get("text", ""))
        self.stage.server.start()
        self.stage.wait_ready(late)
        late.stop()

    def test_a_token_may_die_at_any_call_of_a_connectors_start(self):
        # In its first login too: that says nothing of the PIN, which may be tried again.
        server = self.stage.server
        server.kill()
        with server.start(hold="*") as control:
            starting = self.stage.connector("starting", ready=False)
            calls = control.step_until(lambda: any(event.get("event") == 1001
                                                   for event in starting.since()))
        starting.stop()
        self.assertIn("C_Login", calls)
        self.assertIn("C_DeriveKey", calls)
        login = calls.index("C_Login")
        first = [(login, False), (calls.index("C_OpenSession", login), True)]
        for moment, unseen in first + self.moments(calls):
            with self.subTest(moment=moment, function=calls[moment], unseen=unseen):
                server.kill()
                with server.start(hold="*") as control:
                    starting.start()
                    control.step(moment)
                    self.die(starting, unseen)
                self.stage.wait_ready(starting)
                starting.stop()

    def test_a_connector_ends_in_good_order_while_its_token_is_gone(self):
        late = self.stage.connector("ending")
        self.stage.server.kill()
        mark = self.connector.mark()
        delivery = self.stage.api.deliver(self.records[0][0], self.device)
        self.wait_trouble(mark)
        late.stop()
        self.stage.server.start()
        self.opens(self.device, self.stage.api.outcome(delivery), self.records[0][1])


class TokenHangs(StageTest):
    """The other way in which a network HSM is away: it takes calls and does not answer."""
    kind, stage_class = "nss", RemoteStage

    def test_a_token_that_hangs_costs_a_helper_and_no_delivery(self):
        api, device = self.stage.api, self.stage.ca.issue("laptop")
        record_id = self.stage.escrow(b"patience")
        connector = self.stage.connector(connector={"helper_deadline": 1})
        helper = children(connector.pid)
        os.kill(self.stage.server.pid, signal.SIGSTOP)
        delivery = api.deliver(record_id, device)
        connector.wait_event(lambda event: "did not answer request" in event.get("text", ""))
        os.kill(self.stage.server.pid, signal.SIGCONT)
        self.opens(device, api.outcome(delivery), b"patience")
        self.assertNotEqual(children(connector.pid), helper)
        self.assertTrue(connector.alive())


if __name__ == "__main__":
    unittest.main()
