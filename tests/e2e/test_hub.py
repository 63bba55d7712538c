# SPDX-License-Identifier: Apache-2.0
"""The queue of reseal-hub from outside: every operation of the SQS dialect, and its signatures."""
import hashlib
import json
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from hub_support import SLOW, HubTest, sign, write_private  # noqa: E402


class Queue(HubTest):
    def test_a_message_goes_through_its_whole_life(self):
        hub, queue = self.hub, self.hub.new_queue()
        text = 'a "quoted" line\n\ttab \\ é \U0001f600 \u2028'
        sent = hub.send(queue, text)
        self.assertEqual(sent.status, 200)
        md5 = hashlib.md5(text.encode()).hexdigest()
        self.assertEqual(sent.json["MD5OfMessageBody"], md5)
        self.assertTrue(sent.headers["x-amzn-RequestId"])
        [message] = hub.receive(queue, VisibilityTimeout=60)
        self.assertEqual((message["Body"], message["MD5OfBody"]), (text, md5))
        self.assertEqual(message["MessageId"], sent.json["MessageId"])
        self.assertEqual(message["Attributes"]["ApproximateReceiveCount"], "1")
        self.assertLess(abs(int(message["Attributes"]["SentTimestamp"]) / 1000 - time.time()), 60)
        self.assertEqual(hub.waiting(queue), (0, 1))
        where = {"QueueUrl": hub.url(queue), "ReceiptHandle": message["ReceiptHandle"]}
        self.assertEqual(hub.sqs("ChangeMessageVisibility", VisibilityTimeout=0, **where).status, 200)
        [message] = hub.receive(queue)
        self.assertEqual(message["Attributes"]["ApproximateReceiveCount"], "2")
        self.refused(hub.sqs("DeleteMessage", **where), 404, "ReceiptHandleIsInvalid")
        where["ReceiptHandle"] = message["ReceiptHandle"]
        for _ in range(2):  # the second finds nothing, which is as good
            self.assertEqual(hub.sqs("DeleteMessage", **where).status, 200)
        self.assertEqual(hub.waiting(queue), (0, 0))
        self.refused(hub.sqs("ChangeMessageVisibility", VisibilityTimeout=9, **where), 400,
                     "InvalidParameterValue")

    def test_an_ended_lease_cannot_be_extended(self):
        hub, queue = self.hub, self.hub.new_queue()
        hub.send(queue, "x")
        [message] = hub.receive(queue, VisibilityTimeout=0)
        answer = hub.sqs("ChangeMessageVisibility", QueueUrl=hub.url(queue), VisibilityTimeout=9,
                         ReceiptHandle=message["ReceiptHandle"])
        self.refused(answer, 400, "MessageNotInflight")

    def test_batches_answer_each_entry(self):
        hub, queue = self.hub, self.hub.new_queue()
        entries = [{"Id": f"e{i}", "MessageBody": f"body {i}"} for i in range(9)]
        entries.insert(4, {"Id": "bad", "MessageBody": "nul is \x08 not XML"})
        sent = hub.sqs("SendMessageBatch", QueueUrl=hub.url(queue), Entries=entries).json
        self.assertEqual([entry["Id"] for entry in sent["Successful"]], [f"e{i}" for i in range(9)])
        [failed] = sent["Failed"]
        self.assertEqual((failed["Id"], failed["Code"], failed["SenderFault"]),
                         ("bad", "InvalidMessageContents", True))
        messages = hub.receive(queue, MaxNumberOfMessages=10)
        self.assertEqual([message["Body"] for message in messages], [f"body {i}" for i in range(9)])
        handles = [{"Id": f"h{i}", "ReceiptHandle": message["ReceiptHandle"]}
                   for i, message in enumerate(messages)] + [{"Id": "no", "ReceiptHandle": "no"}]
        changed = hub.sqs("ChangeMessageVisibilityBatch", QueueUrl=hub.url(queue),
                          Entries=[dict(entry, VisibilityTimeout=90) for entry in handles]).json
        self.assertEqual(len(changed["Successful"]), 9)
        self.assertEqual(changed["Failed"][0]["Code"], "ReceiptHandleIsInvalid")
        deleted = hub.sqs("DeleteMessageBatch", QueueUrl=hub.url(queue), Entries=handles).json
        self.assertEqual((len(deleted["Successful"]), len(deleted["Failed"])), (9, 1))
        self.assertEqual(hub.waiting(queue), (0, 0))

    def test_bad_batches_are_refused_as_a_whole(self):
        hub, queue = self.hub, self.hub.new_queue()

        def batch(entries):
            return hub.sqs("SendMessageBatch", QueueUrl=hub.url(queue), Entries=entries)

        def entry(name, body="x"):
            return {"Id": name, "MessageBody": body}

        self.refused(batch([]), 400, "EmptyBatchRequest")
        self.refused(batch([entry(f"e{i}") for i in range(11)]), 400, "TooManyEntriesInBatchRequest")
        self.refused(batch([entry("a"), entry("b"), entry("a")]), 400, "BatchEntryIdsNotDistinct")
        for name in ("", "a b", "x" * 81, "é"):
            self.refused(batch([entry(name)]), 400, "InvalidBatchEntryId")
        self.refused(batch([entry(f"e{i}", "x" * 110_000) for i in range(10)]), 400,
                     "BatchRequestTooLong")
        for wrong in ("x", {"Id": "a"}, 7, [7], ["x"], [None], [[]]):
            self.refused(batch(wrong), 400, "InvalidParameterValue", "EmptyBatchRequest")
        self.assertEqual(hub.waiting(queue), (0, 0))

    def test_a_long_poll_ends_with_the_message_that_comes(self):
        hub, queue = self.hub, self.hub.new_queue()
        got = []
        poll = threading.Thread(target=lambda: got.append(hub.receive(queue, WaitTimeSeconds=20)))
        begun = time.monotonic()
        poll.start()
        self.wait_parked(queue)
        hub.send(queue, "at last")
        poll.join(SLOW)
        self.assertEqual(got[0][0]["Body"], "at last")
        self.assertLess(time.monotonic() - begun, 15)

    def wait_parked(self, queue):
        """Until a poll that was sent before is with the hub: what is sent later is answered later."""
        for _ in range(20):
            self.hub.waiting(queue)

    def test_a_long_poll_gets_a_message_whose_lease_ends(self):
        hub, queue = self.hub, self.hub.new_queue()
        hub.send(queue, "again")
        [first] = hub.receive(queue, VisibilityTimeout=1)
        begun = time.monotonic()
        [second] = hub.receive(queue, WaitTimeSeconds=20)
        self.assertLess(time.monotonic() - begun, 15)
        self.assertEqual(second["Attributes"]["ApproximateReceiveCount"], "2")
        self.assertEqual(first["MessageId"], second["MessageId"])

    def test_a_delayed_message_comes_when_its_time_has_come(self):
        hub, queue = self.hub, self.hub.new_queue()
        hub.send(queue, "later", DelaySeconds=1)
        self.assertEqual(hub.receive(queue), [])
        self.assertEqual(hub.attributes(queue)["ApproximateNumberOfMessagesDelayed"], "1")
        [message] = hub.receive(queue, WaitTimeSeconds=20)
        self.assertEqual(message["Body"], "later")

    def test_a_poll_that_ends_empty_takes_its_time_and_says_nothing(self):
        hub, queue = self.hub, self.hub.new_queue()
        begun = time.monotonic()
        answer = hub.sqs("ReceiveMessage", QueueUrl=hub.url(queue), WaitTimeSeconds=1)
        self.assertEqual((answer.status, answer.json), (200, {}))
        self.assertGreaterEqual(time.monotonic() - begun, 1)
        patient = hub.new_queue(ReceiveMessageWaitTimeSeconds="1")
        begun = time.monotonic()
        self.assertEqual(hub.receive(patient), [])
        self.assertGreaterEqual(time.monotonic() - begun, 1)
        self.assertEqual(hub.receive(patient, WaitTimeSeconds=0), [])

    def test_nothing_is_leased_to_a_client_that_has_gone(self):
        hub, queue = self.hub, self.hub.new_queue()
        body = json.dumps({"QueueUrl": hub.url(queue), "WaitTimeSeconds": 20}).encode()
        headers = sign("ReceiveMessage", body, f"127.0.0.1:{hub.port}", hub.key, hub.secret)
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", hub.port)) as peer:
                peer.sendall(f"POST / HTTP/1.1\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode()
                             + body)
                self.wait_parked(queue)
        hub.send(queue, "for the living")
        self.assertEqual(hub.waiting(queue), (1, 0))
        [message] = hub.receive(queue)
        self.assertEqual(message["Attributes"]["ApproximateReceiveCount"], "1")

    def test_many_pollers_get_each_message_once(self):
        hub, queue = self.hub, self.hub.new_queue()
        got, lock = [], threading.Lock()

        def poll():
            while True:
                messages = hub.receive(queue, WaitTimeSeconds=5, MaxNumberOfMessages=3)
                with lock:
                    got.extend(message["Body"] for message in messages)
                if not messages or len(got) >= 60:
                    return

        pollers = [threading.Thread(target=poll) for _ in range(8)]
        for poller in pollers:
            poller.start()
        for i in range(60):
            hub.send(queue, str(i))
        for poller in pollers:
            poller.join(SLOW)
        self.assertEqual(sorted(got, key=int), [str(i) for i in range(60)])

    def test_a_message_received_too_often_goes_to_the_dead_letter_queue(self):
        hub = self.hub
        dead = hub.new_queue()
        arn = hub.attributes(dead)["QueueArn"]
        queue = hub.new_queue(RedrivePolicy=json.dumps({"deadLetterTargetArn": arn,
                                                        "maxReceiveCount": "2"}))
        hub.send(queue, "poison")
        for _ in range(2):
            self.assertEqual(len(hub.receive(queue, VisibilityTimeout=0)), 1)
        self.assertEqual(hub.receive(queue), [])
        [message] = hub.receive(dead)
        self.assertEqual(message["Body"], "poison")

    def test_dead_letters_never_come_back_by_a_circle(self):
        hub = self.hub
        first = hub.new_queue()

        def policy(target):
            return {"RedrivePolicy": json.dumps({
                "deadLetterTargetArn": hub.attributes(target)["QueueArn"], "maxReceiveCount": 2})}
        second = hub.new_queue(**policy(first))
        third = hub.new_queue(**policy(second))
        for queue, target in ((first, second), (first, third), (second, third), (first, first)):
            self.refused(hub.sqs("SetQueueAttributes", QueueUrl=hub.url(queue),
                                 Attributes=policy(target)), 400, "InvalidAttributeValue")
        self.assertNotIn("RedrivePolicy", hub.attributes(first))
        self.assertEqual(hub.sqs("SetQueueAttributes", QueueUrl=hub.url(third),
                                 Attributes=policy(first)).status, 200)

    def test_attributes_of_queues(self):
        hub = self.hub
        queue = hub.new_queue(VisibilityTimeout="7", DelaySeconds="0",
                              MessageRetentionPeriod="3600")
        found = hub.attributes(queue)
        self.assertEqual((found["VisibilityTimeout"], found["MessageRetentionPeriod"]), ("7", "3600"))
        self.assertEqual(found["QueueArn"], f"arn:aws:sqs:local:000000000000:{queue}")
        self.assertLess(abs(int(found["CreatedTimestamp"]) - time.time()), 60)
        where = {"QueueUrl": hub.url(queue)}
        self.assertEqual(hub.sqs("SetQueueAttributes", Attributes={"VisibilityTimeout": "9"},
                                 **where).status, 200)
        self.assertEqual(hub.attributes(queue)["VisibilityTimeout"], "9")
        some = hub.sqs("GetQueueAttributes", AttributeNames=["VisibilityTimeout"], **where)
        self.assertEqual(some.json["Attributes"], {"VisibilityTimeout": "9"})
        same = hub.sqs("CreateQueue", QueueName=queue, Attributes={"VisibilityTimeout": "9"})
        self.assertEqual(same.json["QueueUrl"], hub.url(queue))
        self.refused(hub.sqs("CreateQueue", QueueName=queue, Attributes={"VisibilityTimeout": "8"}),
                     400, "QueueNameExists")
        for bad in ({"VisibilityTimeout": "43201"}, {"VisibilityTimeout": "-1"},
                    {"VisibilityTimeout": 7}, {"DelaySeconds": "x"}, {"RedrivePolicy": "{"},
                    {"RedrivePolicy": "{}"}, {"RedrivePolicy": json.dumps(
                        {"deadLetterTargetArn": "arn:aws:sqs:local:0:nothing",
                         "maxReceiveCount": 3})}, {"RedrivePolicy": json.dumps(  # they are taken there as results
                        {"deadLetterTargetArn": "arn:aws:sqs:local:0:reseal-results",
                         "maxReceiveCount": 3})}):
            self.refused(hub.sqs("SetQueueAttributes", Attributes=bad, **where), 400,
                         "InvalidAttributeValue")
        for bad in ({"QueueArn": "x"}, {"Nonsense": "1"}):
            self.refused(hub.sqs("SetQueueAttributes", Attributes=bad, **where), 400,
                         "InvalidAttributeName")
        self.refused(hub.sqs("GetQueueAttributes", AttributeNames=["Nonsense"], **where), 400,
                     "InvalidAttributeName")

    def test_the_queues_of_the_configuration_are_there(self):
        for name, receives in (("reseal-requests", 50), ("reseal-results", 10)):
            answer = self.hub.sqs("GetQueueUrl", QueueName=name)
            self.assertEqual(answer.json["QueueUrl"], self.hub.url(name))
            policy = json.loads(self.hub.attributes(name)["RedrivePolicy"])
            self.assertTrue(policy["deadLetterTargetArn"].endswith(f":{name}-dead"))
            self.assertEqual(policy["maxReceiveCount"], receives)

    def test_parameters_out_of_bounds_are_refused(self):
        hub, queue = self.hub, self.hub.new_queue()
        where = {"QueueUrl": hub.url(queue)}
        for operation, members in (
                ("ReceiveMessage", {"MaxNumberOfMessages": 11}),
                ("ReceiveMessage", {"MaxNumberOfMessages": 0}),
                ("ReceiveMessage", {"WaitTimeSeconds": 21}),
                ("ReceiveMessage", {"WaitTimeSeconds": "5"}),
                ("ReceiveMessage", {"VisibilityTimeout": 43201}),
                ("SendMessage", {"MessageBody": "x", "DelaySeconds": 901}),
                ("SendMessage", {"MessageBody": 7}),
                ("SendMessage", {"MessageBody": "x" * (256 * 1024 + 1)}),
                ("ChangeMessageVisibility", {"ReceiptHandle": "x", "VisibilityTimeout": -1}),
                ("ChangeMessageVisibility", {"ReceiptHandle": "x"}),
                ("DeleteMessage", {"ReceiptHandle": None}),
                ("DeleteMessage", {})):
            with self.subTest(operation=operation, members=str(members)[:60]):
                self.refused(hub.sqs(operation, **where, **members), 400, "InvalidParameterValue")
        self.refused(hub.sqs("SendMessage", MessageBody="", **where), 400, "MissingParameter")
        self.refused(hub.sqs("SendMessage", MessageBody="x"), 400, "MissingParameter")
        self.refused(hub.sqs("SendMessage", MessageBody="\ufffe", **where), 400,
                     "InvalidMessageContents")
        largest = "x" * (256 * 1024)
        self.assertEqual(hub.send(queue, largest).status, 200)
        self.assertEqual(hub.receive(queue)[0]["Body"], largest)

    def test_queues_and_operations_that_do_not_exist(self):
        hub = self.hub
        for url in (hub.url("nothing"), "nothing", "", "http://x/", "http://x/a b", "http://x/é"):
            self.refused(hub.sqs("SendMessage", QueueUrl=url, MessageBody="x"), 400,
                         "QueueDoesNotExist")
        self.refused(hub.sqs("GetQueueUrl", QueueName="nothing"), 400, "QueueDoesNotExist")
        for name in ("a.fifo", "", "x" * 81, "a/b"):
            self.refused(hub.sqs("CreateQueue", QueueName=name), 400, "InvalidParameterValue")
        for operation in ("TagQueue", "", "sendMessage"):
            self.refused(hub.sqs(operation, QueueUrl=hub.url("x")), 400, "UnknownOperation")

    def test_bodies_that_are_no_request_are_refused(self):
        deep = 100_000
        for raw in (b"", b" ", b"x", b"[]", b"null", b'{"QueueUrl":', b'{"a":1,"a":2}',
                    b'{"QueueUrl":"\xff"}', b'{"QueueUrl":"\\ud800"}', b"[" * deep,
                    b'{"a":' * deep, b"[" + b"0," * deep + b"0]", b"\xef\xbb\xbf{}"):
            with self.subTest(raw=raw[:20]):
                self.refused(self.hub.sqs("SendMessage", raw=raw), 400, "SerializationException")
        self.refused(self.hub.sqs("SendMessage", raw=b" " * 10_000_000), 413, "RequestTooLarge")

    def test_curl_signs_what_the_hub_accepts(self):
        hub, queue = self.hub, self.hub.new_queue()
        user = os.path.join(hub.folder, "curl")
        write_private(user, f'user = "{hub.key}:{hub.secret}"\n')

        def curl(operation, **members):
            body = json.dumps({"QueueUrl": hub.url(queue), **members})
            done = subprocess.run(
                ["curl", "-sS", "-K", user, "--aws-sigv4", "aws:amz:eu-west-1:sqs", "-H",
                 f"X-Amz-Target: AmazonSQS.{operation}", "-H",
                 "Content-Type: application/x-amz-json-1.0", "--data-binary", body,
                 f"http://127.0.0.1:{hub.port}/"], capture_output=True, check=True, text=True)
            return json.loads(done.stdout)

        self.assertIn("MessageId", curl("SendMessage", MessageBody="from curl é"))
        [message] = curl("ReceiveMessage")["Messages"]
        self.assertEqual(message["Body"], "from curl é")
        self.assertEqual(curl("DeleteMessage", ReceiptHandle=message["ReceiptHandle"]), {})
        arn = curl("GetQueueAttributes", AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        self.assertEqual(arn, f"arn:aws:sqs:eu-west-1:000000000000:{queue}")


class Signatures(HubTest):
    def setUp(self):
        self.body = json.dumps({"QueueUrl": self.hub.url("reseal-requests"),
                                "MessageBody": "x"}).encode()

    def post(self, body=None, change=None, path="/", **signing):
        hub = self.hub
        wanted = {"host": f"127.0.0.1:{hub.port}", "key": hub.key, "secret": hub.secret, **signing}
        headers = sign("SendMessage", self.body, path=path, **wanted)
        headers.update(change or {})
        headers = {name: value for name, value in headers.items() if value is not None}
        return hub.call("POST", path, self.body if body is None else body, headers)

    def tearDown(self):
        self.assertEqual(self.hub.waiting("reseal-requests"), (0, 0))
        super().tearDown()

    def test_a_wrong_secret_does_not_match(self):
        answer = self.post(secret="wrong")
        self.refused(answer, 403, "SignatureDoesNotMatch")

    def test_a_changed_request_does_not_match(self):
        self.refused(self.post(self.body[:-1] + b" }"), 403, "SignatureDoesNotMatch")
        self.refused(self.post(b""), 403, "SignatureDoesNotMatch")
        for name, value in (("X-Amz-Target", "AmazonSQS.DeleteMessage"), ("Host", "127.0.0.1"),
                            ("Content-Type", "application/x-amz-json-1.1")):
            self.refused(self.post(change={name: value}), 403, "SignatureDoesNotMatch")

    def test_an_unknown_key_is_named_as_such(self):
        self.refused(self.post(key="AKNOBODY"), 403, "InvalidClientTokenId")

    def test_an_unsigned_request_is_refused(self):
        self.refused(self.post(change={"Authorization": None}), 403, "MissingAuthenticationToken")
        self.refused(self.post(change={"Authorization": f"Bearer {self.hub.token}"}), 400,
                     "IncompleteSignature")
        self.refused(self.post(change={"X-Amz-Date": None}), 400, "IncompleteSignature")

    def test_a_skewed_clock_is_named(self):
        late = self.post(shift=-1000)
        self.refused(late, 400, "RequestExpired")
        self.assertRegex(late.json["message"], r"\b(99\d|100\d) seconds behind")
        early = self.post(shift=1000)
        self.refused(early, 400, "RequestInTheFuture")
        self.assertRegex(early.json["message"], r"\b(99\d|100\d) seconds ahead")

    def test_a_query_and_strange_paths_are_refused(self):
        self.refused(self.post(path="/?Action=SendMessage"), 400, "IncompleteSignature")
        self.assertEqual(self.post(path="/elsewhere").status, 404)


if __name__ == "__main__":
    unittest.main()
