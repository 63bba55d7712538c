# SPDX-License-Identifier: Apache-2.0
"""Seals of reseal-hub from outside: who reads sealed passwords, and how they are replaced."""
import base64
import json
import os
import secrets
import sys
import threading
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from hub_support import RECORDS, Hub, HubTest, b64, order, record, write_private  # noqa: E402


class Seals(HubTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.rotation = secrets.token_hex(16)
        write_private(os.path.join(cls.hub.folder, "rotation"), cls.rotation + "\n")
        cls.hub.settings["rotation_token"] = "file:rotation"
        cls.hub.restart()
        cls.pid = cls.hub.process.pid

    def setUp(self):
        self.key = "key-" + secrets.token_hex(6)

    def add(self, **fields):
        answer = self.hub.api("POST", RECORDS, record(**{"keyName": self.key, **fields}))
        self.assertEqual(answer.status, 201, answer)
        return answer.json["id"]

    def bearer(self, token):
        return {"Authorization": f"Bearer {token}"}

    def seals(self, query="", token=None):
        return self.hub.call("GET", f"/v1/seals?keyName={self.key}{query}",
                             headers=self.bearer(token or self.rotation))

    def patch(self, identity, tag, token=None, **fields):
        change = {"keyName": self.key + "-new", "paddingScheme": "oaepSha256",
                  "encryptedPfxPassword": b64(b"n" * 384), **fields}
        headers = {"Content-Type": "application/json", **self.bearer(token or self.rotation)}
        if tag is not None:
            headers["If-Match"] = tag
        return self.hub.call("PATCH", f"{RECORDS}/{identity}", json.dumps(change).encode(), headers)

    def test_sealed_passwords_are_for_the_holder_of_the_rotation_token(self):
        self.add()
        self.denied(self.seals(token=self.hub.token), 403, 4103)
        self.denied(self.seals(token="x" * 32), 401, 4103)
        self.denied(self.hub.call("GET", f"/v1/seals?keyName={self.key}"), 401, 4103)
        self.assertEqual(self.seals().status, 200)
        # ... who can do nothing else.
        for path in (RECORDS, "/v1/status", "/v1/deliveries/x"):
            self.denied(self.hub.call("GET", path, headers=self.bearer(self.rotation)), 401, 4103)

    def test_pages_give_every_seal_under_the_key_and_no_other(self):
        wanted = {}
        for number in range(7):
            sealed = secrets.token_bytes(256)
            wanted[self.add(encryptedPfxPassword=b64(sealed))] = sealed
            self.add(keyName="another")
        found, query = {}, "&$top=3"
        while query is not None:
            page = self.seals(query).json
            self.assertLessEqual(len(page["value"]), 3)
            self.assertEqual("records" in page, "skiptoken" not in query)
            for seal in page["value"]:
                found[seal["id"]] = base64.b64decode(seal["encryptedPfxPassword"])
            query = f"&$top=3&$skiptoken={page['skipToken']}" if "skipToken" in page else None
        self.assertEqual(found, wanted)
        self.assertEqual(self.seals().json["records"], 7)

    def test_a_seal_is_replaced_as_a_whole_and_only_if_it_is_the_one_that_was_read(self):
        identity = self.add()
        seal = self.seals().json["value"][0]
        tag = seal["@odata.etag"]
        shown = self.hub.api("GET", f"{RECORDS}/{identity}").json
        self.assertEqual(shown["@odata.etag"], tag)
        done = self.patch(identity, tag, providerName="elsewhere")
        self.assertEqual(done.status, 200, done)
        self.assertEqual((done.json["keyName"], done.json["paddingScheme"], done.json["providerName"],
                          done.json["encryptedPfxPassword"]),
                         (self.key + "-new", "oaepSha256", "elsewhere", ""))
        self.assertNotEqual(done.json["@odata.etag"], tag)
        self.assertGreater(done.json["lastModifiedDateTime"], shown["lastModifiedDateTime"])
        for name in ("thumbprint", "userPrincipalName", "createdDateTime", "startDateTime"):
            self.assertEqual(done.json[name], shown[name])
        self.denied(self.patch(identity, tag, keyName="late"), 412, 4005)
        self.assertEqual(self.hub.api("GET", f"{RECORDS}/{identity}").json["keyName"],
                         self.key + "-new")
        self.assertEqual(self.seals().json["value"], [])
        # The delivery that is asked for from now on carries the new seal.
        self.hub.api("POST", "/v1/deliveries", order(identity))
        message = self.hub.receive("reseal-requests")[0]
        data = json.loads(message["Body"])["data"]
        self.assertEqual((data["keyName"], data["encryptedPfxPassword"]),
                         (self.key + "-new", b64(b"n" * 384)))

    def test_of_many_that_replace_the_same_seal_one_wins(self):
        identity = self.add()
        tag = self.seals().json["value"][0]["@odata.etag"]
        answers = []
        workers = [threading.Thread(target=lambda n=n: answers.append(
            self.patch(identity, tag, encryptedPfxPassword=b64(bytes([n]) * 256)).status))
            for n in range(8)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        self.assertEqual(sorted(answers), [200] + [412] * 7)

    def test_requests_that_wait_under_a_key_are_counted(self):
        identity = self.add()
        self.assertEqual(self.seals().json["requests"], 0)
        for _ in range(3):
            self.assertEqual(self.hub.api("POST", "/v1/deliveries", order(identity)).status, 202)
        self.hub.send("reseal-requests", "no JSON at all")
        self.assertEqual(self.seals().json["requests"], 3)
        tag = self.seals().json["value"][0]["@odata.etag"]
        self.assertEqual(self.patch(identity, tag).status, 200)
        page = self.seals().json
        self.assertEqual((page["records"], page["requests"]), (0, 3))

    def test_what_is_no_change_of_a_seal_is_refused(self):
        identity = self.add()
        tag = self.seals().json["value"][0]["@odata.etag"]
        self.denied(self.patch(identity, None), 428, 4002)
        self.denied(self.patch(identity, "W/\"0\""), 412, 4005)
        self.denied(self.patch(identity, tag, token="x" * 32), 401, 4103)
        self.denied(self.patch("nobody", "*"), 404, 4004)
        for fields in ({"keyName": ""}, {"keyName": "k" * 129}, {"keyName": "a\nb"},
                       {"paddingScheme": "pkcs1"}, {"paddingScheme": None},
                       {"encryptedPfxPassword": ""}, {"encryptedPfxPassword": b64(b"n" * 513)},
                       {"encryptedPfxPassword": "?"}):
            self.assertEqual(self.patch(identity, tag, **fields).status // 100, 4, fields)
        self.denied(self.patch(identity, tag, thumbprint="ab" * 20), 400, 4006)
        self.denied(self.patch(identity, tag, encryptedPfxBlob=b64(b"p")), 400, 4006)
        self.assertEqual(self.seals().json["value"][0]["@odata.etag"], tag)
        # An importer with the other token may replace a seal, too, as it may post one.
        self.assertEqual(self.patch(identity, "*", token=self.hub.token).status, 200)
        for query in ("&$top=x", "&$skiptoken=-1", "&what=1"):
            self.denied(self.seals(query), 400, 4002)
        self.denied(self.hub.call("GET", "/v1/seals", headers=self.bearer(self.rotation)), 400, 4002)


class WithoutToken(HubTest):
    def test_without_a_rotation_token_nobody_reads_a_sealed_password(self):
        for token, status in ((self.hub.token, 403), ("x" * 32, 401)):
            self.denied(self.hub.call("GET", "/v1/seals?keyName=sealing",
                                      headers={"Authorization": f"Bearer {token}"}), status, 4103)


class Tokens(unittest.TestCase):
    def test_one_token_for_both_is_refused(self):
        hub = Hub()
        self.addCleanup(hub.close)
        hub.stop()
        hub.settings["rotation_token"] = "file:token"
        with self.assertRaisesRegex(AssertionError, "one token"):
            hub.start()
        hub.process.wait()
        hub.process.stderr.close()


if __name__ == "__main__":
    unittest.main()
