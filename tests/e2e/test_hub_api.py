# SPDX-License-Identifier: Apache-2.0
"""Records, deliveries and plain HTTP of reseal-hub from outside."""
import contextlib
import hashlib
import http.client
import json
import os
import secrets
import signal
import socket
import sys
import threading
import time
import unittest
import urllib.parse
import uuid

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from hub_support import RECORDS, SLOW, HubTest, b64, order, record, result, sign  # noqa: E402


class Records(HubTest):
    def add(self, **fields):
        answer = self.hub.api("POST", RECORDS, record(**fields))
        self.assertEqual(answer.status, 201, answer)
        return answer.json

    def list(self, **query):
        path = RECORDS + ("?" + urllib.parse.urlencode(query, quote_via=urllib.parse.quote)
                          if query else "")
        answer = self.hub.api("GET", path)
        self.assertEqual(answer.status, 200, answer)
        return answer.json

    def test_a_record_is_kept_and_its_secrets_never_come_back(self):
        fields = record(upn="Secret@Example.org", thumbprint="AB" * 20)
        added = self.hub.api("POST", RECORDS, fields)
        self.assertEqual(added.status, 201, added)
        user = hashlib.sha256(b"secret@example.org").hexdigest()[:32]
        self.assertEqual(added.json["id"], f"{user}-{'ab' * 20}")
        path = f"{RECORDS}/{added.json['id']}"
        for answer in (added, self.hub.api("GET", path)):
            shown = answer.json
            self.assertEqual((shown["encryptedPfxBlob"], shown["encryptedPfxPassword"]), ("AA==", ""))
            for name in ("userPrincipalName", "keyName", "providerName", "paddingScheme",
                         "intendedPurpose"):
                self.assertEqual(shown[name], fields[name])
            self.assertEqual(shown["expirationDateTime"][:19], fields["expirationDateTime"][:19])
            self.assertTrue(shown["createdDateTime"] and shown["lastModifiedDateTime"])
            self.assertTrue(answer.headers["request-id"])

    def test_a_record_is_found_by_each_form_of_its_address(self):
        identity = self.add()["id"]
        for form in (f"/{identity}", f"('{identity}')", f"(%27{identity}%27)",
                     f"%28%27{identity}%27%29", f"/{identity.replace('-', '%2D')}"):
            self.assertEqual(self.hub.api("GET", RECORDS + form).json["id"], identity, form)
        gone = self.hub.api("DELETE", f"{RECORDS}('{identity}')")
        self.assertEqual((gone.status, gone.body), (204, b""))
        for method in ("GET", "DELETE"):
            self.denied(self.hub.api(method, f"{RECORDS}/{identity}"), 404, 4004)

    def test_the_same_certificate_of_the_same_user_is_a_conflict(self):
        first = self.add(upn="twice@example.org", thumbprint="cd" * 20)
        again = self.hub.api("POST", RECORDS, record(upn="TWICE@example.org", thumbprint="CD" * 20))
        self.denied(again, 409, 4005)
        self.assertEqual(self.hub.api("DELETE", f"{RECORDS}/{first['id']}").status, 204)
        self.add(upn="twice@example.org", thumbprint="cd" * 20)

    def test_filters_narrow_the_list(self):
        one = self.add(upn="o'brien+x@example.org")
        two = self.add(upn="o'brien+x@example.org")
        self.add(upn="other@example.org", thumbprint=one["thumbprint"])
        name = "userPrincipalName eq 'o''brien+x@example.org'"
        folded = "tolower(userPrincipalName) eq 'o''brien+x@example.org'"
        print_ = f"tolower(thumbprint) eq '{one['thumbprint'].lower()}'"
        for text, count in ((name, 2), (folded, 2), (print_, 2), (f"{folded} and {print_}", 1),
                            (f"{print_} and {name}", 1), ("userPrincipalName eq 'nobody'", 0),
                            ("userPrincipalName eq 'O''BRIEN+X@example.org'", 2),
                            ("thumbprint eq 'x' and thumbprint eq 'y'", 0)):
            self.assertEqual(len(self.list(**{"$filter": text})["value"]), count, text)
        ids = {item["id"] for item in self.list(**{"$filter": name})["value"]}
        self.assertEqual(ids, {one["id"], two["id"]})

    def test_lists_are_paged_to_the_end_without_gaps(self):
        upn = "many@example.org"
        connection = http.client.HTTPConnection("127.0.0.1", self.hub.port, timeout=SLOW)
        for _ in range(230):
            self.hub.api("POST", RECORDS, record(upn=upn), connection=connection)
        connection.close()
        for size, pages in ((None, 3), (50, 5), (1000, 3), (230, 3)):
            query = {"$filter": f"userPrincipalName eq '{upn}'"}
            if size:
                query["$top"] = size
            page, seen, count = self.list(**query), [], 1
            while True:
                seen += [item["id"] for item in page["value"]]
                link = page.get("@odata.nextLink")
                if not link:
                    break
                address = urllib.parse.urlsplit(link)
                self.assertEqual(address.netloc, f"127.0.0.1:{self.hub.port}")
                page = self.hub.api("GET", f"{address.path}?{address.query}").json
                count += 1
            self.assertEqual((len(seen), len(set(seen)), count), (230, 230, pages))

    def test_bad_queries_are_refused(self):
        for query in ("$filter=x", "$filter=userPrincipalName%20eq%20'a", "$top=0", "$top=x",
                      "$top=-1", "$skiptoken=x", "$filter=%", "$filter=%ff", "$filter=%00",
                      "$orderby=id", "x=1", "$filter=keyName%20eq%20'a'"):
            answer = self.hub.api("GET", f"{RECORDS}?{query}")
            self.assertEqual(answer.status, 400, answer)
            self.assertIn(answer.error["number"], (4002, 4006))
        self.denied(self.hub.api("GET", f"{RECORDS}?$filter={'x' * 8000}"), 414, 4007)

    def test_bad_records_are_refused_by_name(self):
        for change, number in (
                ({"paddingScheme": "pkcs1"}, 4002), ({"paddingScheme": "oaepSha1"}, 4002),
                ({"paddingScheme": "rot13"}, 4002), ({"thumbprint": "zz"}, 4002),
                ({"thumbprint": 7}, 4002), ({"keyName": None}, 4002), ({"keyName": ""}, 4002),
                ({"keyName": "a\nb"}, 4002), ({"userPrincipalName": "x" * 400}, 4007),
                ({"intendedPurpose": "smime"}, 4002), ({"startDateTime": "yesterday"}, 4002),
                ({"expirationDateTime": "2020-01-01T00:00:00Z"}, 4002),
                ({"encryptedPfxBlob": ""}, 4002), ({"encryptedPfxBlob": "!!!!"}, 4002),
                ({"encryptedPfxBlob": b64(bytes(65537))}, 4007),
                ({"encryptedPfxPassword": b64(bytes(100))}, 4002),
                ({"encryptedPfxPassword": b64(bytes(513))}, 4007)):
            answer = self.hub.api("POST", RECORDS, record(**change))
            with self.subTest(change=str(change)[:60]):
                self.denied(answer, 413 if number == 4007 else 400, number)
                name = list(change)[0].lower().removesuffix("scheme")
                self.assertIn(name, answer.error["message"].lower())
        self.assertEqual(self.hub.api("POST", RECORDS,
                                      record(encryptedPfxBlob=b64(bytes(65536)))).status, 201)

    def test_bodies_that_are_no_record_are_refused(self):
        good = json.dumps(record())
        deep = 20_000
        for raw in (b"", b"x", b"[]", b"7", good[:-1].encode(), good.encode() + b"x",
                    (good[:-1] + ',"keyName":"again"}').encode(), b"[" * deep, b'{"a":' * deep,
                    good.encode().replace(b"sealing", b"\xff"),
                    good.encode().replace(b"sealing", b"\\u0000")):
            with self.subTest(raw=raw[:30]):
                self.denied(self.hub.api("POST", RECORDS, raw), 400, 4001)
        for size in (200_000, 10_000_000):
            self.denied(self.hub.api("POST", RECORDS, b" " * size), 413, 4007)
        self.denied(self.hub.api("POST", RECORDS, good.encode(), Content_Type="text/plain"), 415,
                    4001)

    def test_only_the_bearer_token_opens(self):
        token = self.hub.token
        for header in (None, "", "Bearer", "Bearer ", f"Bearer {token}x", f"Bearer {token[:-1]}",
                       f"Basic {token}", token, "Bearer " + "0" * len(token)):
            for method, path in (("GET", RECORDS), ("POST", RECORDS), ("GET", "/v1/status"),
                                 ("DELETE", RECORDS + "/x"), ("GET", "/v1/deliveries/x"),
                                 ("POST", "/v1/deliveries")):
                headers = {} if header is None else {"Authorization": header}
                answer = self.hub.call(method, path, b"{}" if method == "POST" else None, headers)
                self.denied(answer, 401, 4103)
                self.assertEqual(answer.headers["WWW-Authenticate"], "Bearer")
        self.assertEqual(self.hub.call("GET", "/healthz").json, {"status": "ok"})

    def test_wrong_methods_and_paths_are_told(self):
        for method, path, allow in (("PUT", RECORDS, "GET, HEAD, POST"),
                                    ("PUT", RECORDS + "/x", "GET, HEAD, DELETE, PATCH"),
                                    ("POST", "/healthz", "GET, HEAD"), ("GET", "/", "POST"),
                                    ("DELETE", "/v1/deliveries/x", "GET, HEAD")):
            answer = self.hub.api(method, path)
            self.denied(answer, 405, 4006)
            self.assertEqual(answer.headers["Allow"], allow)
        for path in ("/nothing", "/v1/deliveries/", "/v1", RECORDS.lower()):
            self.denied(self.hub.api("GET", path), 404, 4006)
        for path in (RECORDS + "/", RECORDS + "x", RECORDS + "('')", RECORDS + "/a/b",
                     RECORDS + "/%ff"):
            self.denied(self.hub.api("GET", path), 404, 4004)


class Deliveries(HubTest):
    def order(self, **more):
        added = self.hub.api("POST", RECORDS, record(**more)).json["id"]
        answer = self.hub.api("POST", "/v1/deliveries", order(added))
        self.assertEqual(answer.status, 202, answer)
        return added, answer.json

    def show(self, delivery, wait=0):
        answer = self.hub.api("GET", f"/v1/deliveries/{delivery}?wait={wait}")
        self.assertEqual(answer.status, 200, answer)
        return answer.json

    def take_request(self, delivery):
        """Receives until the request of this delivery comes; deletes all that come."""
        while True:
            for message in self.hub.receive("reseal-requests", WaitTimeSeconds=10,
                                            MaxNumberOfMessages=10):
                self.hub.sqs("DeleteMessage", QueueUrl=self.hub.url("reseal-requests"),
                             ReceiptHandle=message["ReceiptHandle"])
                request = json.loads(message["Body"])
                if request["id"] == delivery:
                    return request

    def test_a_delivery_is_a_request_and_then_a_result(self):
        blob, sealed = secrets.token_bytes(2000), secrets.token_bytes(384)
        added, delivery = self.order(encryptedPfxBlob=b64(blob), encryptedPfxPassword=b64(sealed))
        self.assertEqual((delivery["state"], delivery["recordId"]), ("pending", added))
        request = self.take_request(delivery["id"])
        self.assertEqual((request["source"], request["type"]), ("urn:reseal:hub", "reseal.request.v1"))
        data = request["data"]
        self.assertEqual((data["encryptedPfxBlob"], data["encryptedPfxPassword"]),
                         (b64(blob), b64(sealed)))
        self.assertEqual((data["device"]["id"], data["device"]["platform"], data["format"]),
                         ("phone", "ios", "cms"))
        self.assertEqual(self.show(delivery["id"])["state"], "pending")
        sent = self.hub.send("reseal-results", result(delivery["id"], b"payload"))
        self.assertEqual(sent.status, 200, sent)
        shown = self.show(delivery["id"])
        self.assertEqual((shown["state"], shown["custody"], shown["connector"], shown["error"]),
                         ("resealed", "host", "one", None))
        self.assertEqual((shown["payload"], shown["encryptedPfxBlob"]), (b64(b"payload"), b64(blob)))
        self.assertEqual((shown["resultsReceived"], shown["resultsEffective"]), (1, 1))
        self.assertEqual(self.hub.waiting("reseal-results"), (0, 0))

    def test_only_the_first_result_counts(self):
        _, delivery = self.order()
        failed = {"outcome": "failed", "connector": "two", "error":
                  {"code": 4100, "name": "Service", "retryable": True, "message": "not now"}}
        batch = [result(delivery["id"], b"first"), result(delivery["id"], b"second"),
                 result(delivery["id"], **failed)]
        entries = [{"Id": str(i), "MessageBody": body} for i, body in enumerate(batch)]
        sent = self.hub.sqs("SendMessageBatch", QueueUrl=self.hub.url("reseal-results"),
                            Entries=entries)
        self.assertEqual(len(sent.json["Successful"]), 3, sent)
        shown = self.show(delivery["id"])
        self.assertEqual((shown["state"], shown["payload"]), ("resealed", b64(b"first")))
        self.assertEqual((shown["resultsReceived"], shown["resultsEffective"]), (3, 1))

    def test_refusals_and_failures_carry_their_error(self):
        for outcome, code, name, retryable in (("refused", 4002, "ParameterDataInvalid", False),
                                               ("failed", 4003, "Cryptography", False),
                                               ("failed", 4101, "Unavailable", True)):
            _, delivery = self.order()
            self.hub.send("reseal-results", result(delivery["id"], outcome=outcome, connector="one",
                                                   error={"code": code, "name": name,
                                                          "retryable": retryable, "message": "why"}))
            shown = self.show(delivery["id"])
            self.assertEqual(shown["state"], outcome)
            self.assertEqual(shown["error"], {"code": code, "name": name, "retryable": retryable,
                                              "message": "why"})
            self.assertIsNone(shown["payload"])
            self.assertIsNone(shown["encryptedPfxBlob"])

    def test_a_waiting_client_is_answered_by_the_result(self):
        _, delivery = self.order()
        shown = []
        wait = threading.Thread(target=lambda: shown.append(self.show(delivery["id"], wait=20)))
        begun = time.monotonic()
        wait.start()
        for _ in range(20):
            self.show(delivery["id"])
        self.hub.send("reseal-results", result(delivery["id"]))
        wait.join(SLOW)
        self.assertEqual(shown[0]["state"], "resealed")
        self.assertLess(time.monotonic() - begun, 15)

    def test_a_wait_without_result_ends_pending(self):
        _, delivery = self.order()
        begun = time.monotonic()
        self.assertEqual(self.show(delivery["id"], wait=1)["state"], "pending")
        self.assertGreaterEqual(time.monotonic() - begun, 1)

    def order_and_wait(self, added, wait):
        """The answer to a POST that waits, once it is there."""
        answers = []
        thread = threading.Thread(target=lambda: answers.append(self.hub.api(
            "POST", f"/v1/deliveries?wait={wait}", order(added))))
        thread.start()
        return answers, thread

    def test_an_order_that_waits_is_answered_by_its_result(self):
        added = self.hub.api("POST", RECORDS, record()).json["id"]
        self.hub.sqs("PurgeQueue", QueueUrl=self.hub.url("reseal-requests"))
        answers, thread = self.order_and_wait(added, 20)
        message, = self.hub.receive("reseal-requests", WaitTimeSeconds=10)
        self.assertEqual(answers, [], "answered before its result")
        delivery = json.loads(message["Body"])["id"]
        self.assertEqual(self.show(delivery)["state"], "pending")
        self.hub.send("reseal-results", result(delivery, b"payload"))
        thread.join(SLOW)
        self.assertEqual(answers[0].status, 200, answers)
        self.assertEqual(answers[0].json, self.show(delivery))
        self.assertEqual((answers[0].json["state"], answers[0].json["payload"]),
                         ("resealed", b64(b"payload")))

    def test_an_order_that_waits_in_vain_can_be_asked_for_later(self):
        added = self.hub.api("POST", RECORDS, record()).json["id"]
        begun = time.monotonic()
        answers, thread = self.order_and_wait(added, 1)
        thread.join(SLOW)
        self.assertGreaterEqual(time.monotonic() - begun, 1)
        self.assertEqual((answers[0].status, answers[0].json["state"]), (202, "pending"))
        self.hub.send("reseal-results", result(answers[0].json["id"], b"later"))
        self.assertEqual(self.show(answers[0].json["id"], wait=20)["payload"], b64(b"later"))

    def test_a_refused_order_does_not_wait(self):
        begun = time.monotonic()
        self.denied(self.hub.api("POST", "/v1/deliveries?wait=20", order("nobody")), 404, 4004)
        for query in ("wait=21", "wait=", "wait=-1", "other=1", "wait=1&wait=x"):
            self.assertEqual(self.hub.api("POST", f"/v1/deliveries?{query}",
                                          order("nobody")).status, 400, query)
        self.assertLess(time.monotonic() - begun, 15)

    def test_results_that_cannot_be_taken_are_kept_as_dead_letters(self):
        _, delivery = self.order()
        bad = ["no JSON", "{}", result(str(uuid.uuid4())), result(delivery["id"], outcome="maybe"),
               result(delivery["id"]).replace('"subject"', '"subject": "x", "subject"')]
        before = self.hub.waiting("reseal-results-dead")[0]
        for body in bad:
            self.assertEqual(self.hub.send("reseal-results", body).status, 200)
        self.assertEqual(self.hub.waiting("reseal-results-dead")[0], before + len(bad))
        self.assertEqual(self.show(delivery["id"])["state"], "pending")

    def test_bad_orders_are_refused(self):
        identity = self.hub.api("POST", RECORDS, record()).json["id"]
        device = order(identity)["device"]
        for change, status, number in (
                ({"recordId": "nobody"}, 404, 4004), ({"recordId": None}, 400, 4002),
                ({"recordId": "x" * 200}, 413, 4007), ({"format": "pkcs7"}, 400, 4002),
                ({"device": None}, 400, 4002), ({"device": {}}, 400, 4002),
                ({"device": {**device, "id": ""}}, 400, 4002),
                ({"device": {**device, "id": "a\x1b"}}, 400, 4002),
                ({"device": {**device, "platform": "plan9"}}, 400, 4002),
                ({"device": {**device, "certificate": ""}}, 400, 4002),
                ({"device": {**device, "certificate": "!"}}, 400, 4002),
                ({"device": {**device, "certificate": b64(b"\x30\x03\x02\x01")}}, 400, 4002),
                ({"device": {**device, "certificate": b64(b"\x30\x03\x02\x01\x05x")}}, 400, 4002),
                ({"device": {**device, "certificate": b64(b"no DER at all")}}, 400, 4002),
                ({"device": {**device, "certificate": b64(bytes(9000))}}, 413, 4007)):
            with self.subTest(change=str(change)[:70]):
                self.denied(self.hub.api("POST", "/v1/deliveries", order(identity, **change)),
                            status, number)
        self.denied(self.hub.api("POST", "/v1/deliveries", b'{"a":1,"a":1}'), 400, 4001)
        for path in ("x", "x" * 36, "%00", "x?wait=21", "x?wait=", "x?wait=-1", "x?wait=1e1",
                     "x?other=1"):
            self.assertIn(self.hub.api("GET", f"/v1/deliveries/{path}").status, (400, 404))

    def test_the_status_counts(self):
        before = self.hub.api("GET", "/v1/status").json
        self.order()
        after = self.hub.api("GET", "/v1/status").json
        self.assertEqual(after["deliveries"]["pending"], before["deliveries"]["pending"] + 1)
        self.assertEqual(after["records"], before["records"] + 1)

        def of(status, name):
            return next(queue for queue in status["queues"] if queue["name"] == name)
        self.assertEqual(of(after, "reseal-requests")["visible"],
                         of(before, "reseal-requests")["visible"] + 1)
        self.assertIn("dead", of(after, "reseal-results"))


class Expiry(HubTest):
    settings = {"request_lifetime": 10}

    def test_a_delivery_that_nobody_answers_fails_by_itself(self):
        added = self.hub.api("POST", RECORDS, record()).json["id"]
        delivery = self.hub.api("POST", "/v1/deliveries", order(added)).json["id"]
        shown = self.hub.api("GET", f"/v1/deliveries/{delivery}?wait=20").json
        self.assertEqual((shown["state"], shown["error"]["code"]), ("failed", 4101), shown)
        self.assertTrue(shown["error"]["retryable"])
        self.assertEqual(self.hub.send("reseal-results", result(delivery)).status, 200)
        shown = self.hub.api("GET", f"/v1/deliveries/{delivery}").json
        self.assertEqual((shown["state"], shown["resultsReceived"], shown["resultsEffective"]),
                         ("failed", 1, 0))


class BehindProxy(HubTest):
    settings = {"public_url": "https://reseal.example.org:8443/hub/"}
    base = "https://reseal.example.org:8443/hub"

    def test_urls_in_answers_are_those_that_clients_can_use(self):
        for _ in range(2):
            added = self.hub.api("POST", RECORDS, record())
            self.assertTrue(added.json["@odata.context"].startswith(self.base + "/beta/"), added)
        page = self.hub.api("GET", RECORDS + "?$top=1").json
        self.assertTrue(page["@odata.nextLink"].startswith(self.base + RECORDS + "?"), page)
        self.assertTrue(page["@odata.context"].startswith(self.base + "/beta/"), page)
        url = f"{self.base}/000000000000/reseal-requests"
        self.assertEqual(self.hub.sqs("GetQueueUrl", QueueName="reseal-requests").json["QueueUrl"], url)
        self.assertEqual(self.hub.sqs("SendMessage", QueueUrl=url, MessageBody="x").status, 200)


class GivenUp(HubTest):
    settings = {"max_receives": 2}

    def test_a_request_that_nobody_can_do_ends_its_delivery(self):
        added = self.hub.api("POST", RECORDS, record()).json["id"]
        delivery = self.hub.api("POST", "/v1/deliveries", order(added)).json["id"]
        for _ in range(2):
            self.assertEqual(len(self.hub.receive("reseal-requests", VisibilityTimeout=0)), 1)
        shown = []
        wait = threading.Thread(target=lambda: shown.append(
            self.hub.api("GET", f"/v1/deliveries/{delivery}?wait=20").json))
        begun = time.monotonic()
        wait.start()
        self.assertEqual(self.hub.receive("reseal-requests"), [])
        wait.join(SLOW)
        self.assertEqual((shown[0]["state"], shown[0]["error"]["code"], shown[0]["error"]["message"]),
                         ("failed", 4101, "given up after 2 tries"))
        self.assertLess(time.monotonic() - begun, 15)
        self.assertEqual(self.hub.waiting("reseal-requests-dead"), (1, 0))


class ManyAtOnce(HubTest):
    EPOLL_BATCH = 128  # events that libmicrohttpd takes at a time

    def answers(self, clients):
        """What comes back when all of them ask at the same moment."""
        request = (f"GET /v1/status HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {self.hub.token}"
                   "\r\n\r\n").encode()
        self.hub.process.send_signal(signal.SIGSTOP)
        try:
            for client in clients:
                client.sendall(request)
        finally:
            self.hub.process.send_signal(signal.SIGCONT)
        return [client.recv(65536)[:15] for client in clients]

    def test_as_many_clients_as_the_server_looks_at_in_one_go_are_answered_at_once(self):
        with contextlib.ExitStack() as open_ones:
            clients = [open_ones.enter_context(socket.create_connection(("127.0.0.1", self.hub.port),
                                                                        SLOW))
                       for _ in range(2 * self.EPOLL_BATCH)]
            begun = time.monotonic()
            for count in (self.EPOLL_BATCH, self.EPOLL_BATCH, self.EPOLL_BATCH + 1,
                          2 * self.EPOLL_BATCH):
                self.assertEqual(self.answers(clients[:count]), [b"HTTP/1.1 200 OK"] * count)
            # The first of all waits that the server may fall into takes a minute.
            self.assertLess(time.monotonic() - begun, 30)


class Http(HubTest):
    """The protocol itself, by hand."""

    def talk(self, data):
        with socket.create_connection(("127.0.0.1", self.hub.port), SLOW) as peer:
            with contextlib.suppress(OSError):
                peer.sendall(data)
            got = b""
            with contextlib.suppress(OSError):
                while piece := peer.recv(65536):
                    got += piece
            return got

    def head(self, method, path, *more):
        lines = [f"{method} {path} HTTP/1.1", "Host: x", "Connection: close",
                 f"Authorization: Bearer {self.hub.token}", "Content-Type: application/json", *more]
        return "\r\n".join(lines + ["", ""]).encode()

    def test_head_is_get_without_its_body(self):
        for path in ("/healthz", RECORDS):
            whole = self.hub.api("GET", path)
            answer = self.hub.api("HEAD", path)
            self.assertEqual((answer.status, answer.body), (200, b""))
            self.assertEqual(answer.headers["Content-Length"], str(len(whole.body)))
        self.assertEqual(self.hub.api("HEAD", RECORDS + "/x").status, 404)
        self.assertEqual(self.hub.call("HEAD", RECORDS).status, 401)

    def test_a_body_in_chunks_is_taken(self):
        body = json.dumps(record()).encode()
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(body[i:i + 700]), body[i:i + 700])
                          for i in range(0, len(body), 700)) + b"0\r\n\r\n"
        got = self.talk(self.head("POST", RECORDS, "Transfer-Encoding: chunked") + chunks)
        self.assertTrue(got.startswith(b"HTTP/1.1 201"), got[:200])

    def test_chunks_without_end_are_cut_off(self):
        chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
        got = self.talk(self.head("POST", RECORDS, "Transfer-Encoding: chunked")
                        + chunk * 10 + b"0\r\n\r\n")
        self.assertTrue(got.startswith(b"HTTP/1.1 413"), got[:200])
        got = self.talk(self.head("POST", RECORDS, "Transfer-Encoding: chunked") + chunk * 400)
        self.assertNotIn(b"HTTP/1.1 2", got[:200])

    def test_a_client_that_asks_before_it_sends_is_answered(self):
        got = self.talk(self.head("POST", RECORDS, "Expect: 100-continue",
                                  "Content-Length: 10000000"))
        self.assertTrue(got.startswith(b"HTTP/1.1 413"), got[:200])
        got = self.talk(self.head("POST", RECORDS, "Content-Length: 99999999"))
        self.assertTrue(got.startswith(b"HTTP/1.1 413"), got[:200])

    def test_what_is_no_http_does_no_harm(self):
        for data in (b"\r\n\r\nno\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
                     b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
                     b"GET /" + b"a" * 200_000, b"GET /healthz HTTP/1.1\r\n" + b"A: b\r\n" * 50_000,
                     b"GET /%zz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"):
            got = self.talk(data)
            self.assertTrue(got == b"" or b" 4" in got[:13] or b" 5" in got[:13], got[:100])
        for data in (b"\0" * 100, os.urandom(3000), b"POST / HT", b"POST / HTTP/1.1\r\nHo",
                     b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc"):
            with socket.create_connection(("127.0.0.1", self.hub.port), SLOW) as peer:
                peer.sendall(data)
        self.assertEqual(self.hub.call("GET", "/healthz").status, 200)

    def test_bodies_that_never_end_do_not_take_all_memory(self):
        body = b" " * 150_000
        head = self.signed_head(1_000_000)
        with contextlib.ExitStack() as stack:
            for _ in range(240):
                peer = stack.enter_context(
                    socket.create_connection(("127.0.0.1", self.hub.port), SLOW))
                peer.sendall(head + body)
            self.assertEqual(self.hub.send("reseal-requests", "x" * 30_000).status, 200)
            refused = self.hub.send("reseal-requests", "x" * 200_000)
            self.assertEqual((refused.status, refused.type), (503, "ServiceUnavailable"), refused)
            self.assertEqual(self.hub.call("GET", "/healthz").status, 200)
        while self.hub.send("reseal-requests", "x" * 200_000).status != 200:
            pass  # until the hub has seen that all of them are gone

    def signed_head(self, length):
        headers = sign("SendMessage", b"", "x", self.hub.key, self.hub.secret)
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()
        return b"POST / HTTP/1.1\r\n" + head + b"Content-Length: %d\r\n\r\n" % length

    def test_bodies_that_are_only_declared_take_no_room(self):
        with contextlib.ExitStack() as stack:
            peers = [stack.enter_context(
                socket.create_connection(("127.0.0.1", self.hub.port), SLOW)) for _ in range(100)]
            for peer in peers:
                peer.sendall(self.signed_head(1_000_000) + b"x")
            begun = time.monotonic()
            self.assertEqual(self.hub.send("reseal-requests", "x" * 200_000).status, 200)
            self.assertEqual(self.hub.api("POST", RECORDS, record()).status, 201)
            for peer in peers:  # and they are not waited for
                self.assertEqual(peer.recv(1), b"")
            self.assertLess(time.monotonic() - begun, 20)

    def test_a_body_that_trickles_in_is_ended_in_time(self):
        with socket.create_connection(("127.0.0.1", self.hub.port), SLOW) as peer:
            peer.sendall(self.signed_head(1_000_000))
            begun = time.monotonic()
            peer.settimeout(2)
            with contextlib.suppress(ConnectionError, BrokenPipeError):
                while time.monotonic() - begun < SLOW:
                    peer.sendall(b"x")
                    try:
                        self.assertEqual(peer.recv(1), b"")
                        break
                    except TimeoutError:
                        pass
            took = time.monotonic() - begun
        self.assertGreater(took, 20)
        self.assertLess(took, 45)

    def test_connections_without_a_request_neither_last_nor_lock_others_out(self):
        with contextlib.ExitStack() as stack:
            peers = [stack.enter_context(
                socket.create_connection(("127.0.0.1", self.hub.port), SLOW)) for _ in range(700)]
            for peer in peers:
                with contextlib.suppress(OSError):  # the first of them are gone already
                    peer.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nA: ")
            begun = time.monotonic()
            self.assertEqual(self.hub.api("GET", "/v1/status").status, 200)
            self.assertLess(time.monotonic() - begun, 5)
            for peer in peers:
                with contextlib.suppress(ConnectionError):
                    while peer.recv(4096):
                        pass
            self.assertLess(time.monotonic() - begun, 30)

    def test_a_known_client_may_be_idle_for_longer_than_a_stranger(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.hub.port, timeout=SLOW)
        self.assertEqual(self.hub.api("POST", RECORDS, record(), connection=connection).status, 201)
        with socket.create_connection(("127.0.0.1", self.hub.port), SLOW) as stranger:
            self.assertEqual(stranger.recv(1), b"")
        port = connection.sock.getsockname()[1]
        self.assertEqual(self.hub.api("GET", "/v1/status", connection=connection).status, 200)
        self.assertEqual(connection.sock.getsockname()[1], port)
        connection.close()

    def test_a_body_whose_end_is_given_twice_ends_the_connection(self):
        good = json.dumps(record()).encode()
        chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(good), good)
        smuggled = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
        length = f"Content-Length: {len(good)}"
        for fields in ((length, "Transfer-Encoding: chunked"), ("Transfer-Encoding: chunked", length),
                       (length, length), (length, "Content-Length: 5"), ("Transfer-Encoding: xchunked",),
                       ("Transfer-Encoding: gzip, chunked",)):
            body = chunked if "chunked" in "".join(fields) else good
            got = self.talk(self.head("POST", RECORDS, *fields).replace(b"close", b"keep-alive")
                            + body + smuggled)
            with self.subTest(fields=fields):
                self.assertTrue(got.startswith(b"HTTP/1.1 400"), got[:200])
                self.assertEqual(got.count(b"HTTP/1.1 "), 1)

    def test_a_header_that_steers_the_request_is_given_once(self):
        target = "X-Amz-Target: AmazonSQS.ListQueues"
        self.assertTrue(self.talk(self.head("GET", RECORDS)).startswith(b"HTTP/1.1 200"))
        for more in (("Host: y",), (f"Authorization: Bearer {self.hub.token}",),
                     ("content-type: application/json",), (target, target.lower()),
                     ("X-Amz-Date: 1", "X-Amz-Date: 1")):
            for method, path in (("GET", RECORDS), ("POST", "/")):
                with self.subTest(more=more, path=path):
                    got = self.talk(self.head(method, path, *more))
                    self.assertTrue(got.startswith(b"HTTP/1.1 400"), got[:200])
                    name = more[0].split(":")[0].lower().encode()
                    self.assertIn(b"the header " + name + b" is given more than once", got.lower())

    def test_a_connection_serves_many_requests(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.hub.port, timeout=SLOW)
        for _ in range(50):
            self.assertEqual(self.hub.api("GET", "/v1/status", connection=connection).status, 200)
            self.assertEqual(self.hub.api("GET", "/nothing", connection=connection).status, 404)
        connection.close()


if __name__ == "__main__":
    unittest.main()
