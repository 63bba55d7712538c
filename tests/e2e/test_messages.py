# SPDX-License-Identifier: Apache-2.0
"""docs/messages.md, held against the programs: its own programs make a request that a real connector
answers, and its tables have what the connector takes and says."""
import base64
import json
import os
import re
import shutil
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import Stage, StageTest, room  # noqa: E402
from peer import PATIENCE, make_pfx  # noqa: E402

SOURCE = os.environ["RESEAL_SOURCE"]
with open(f"{SOURCE}/docs/messages.md") as _file:
    PAGE = _file.read()
PASSWORD = "pässword €5 <&>]]\"'"
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.S)


def source(path):
    with open(f"{SOURCE}/{path}") as file:
        return file.read()


def block(kind, containing):
    text, = [text for found, text in BLOCKS if found == kind and containing in text]
    return text


def shape(value):
    """The same keys and kinds of values."""
    if isinstance(value, dict):
        return {key: shape(member) for key, member in value.items()}
    return type(value).__name__


class OwnService(StageTest):
    """A service of its own: two queues, a connector, and no delivery of the hub."""
    kind = "softhsm"

    @classmethod
    def prepare(cls):
        cls.urls = {name: cls.stage.sqs.create(f"mdm-{name}") for name in ("requests", "results")}
        cls.stage.connector(queue={"requests": "mdm-requests", "results": "mdm-results"},
                            connector={"attempts": 1})
        cls.device = cls.stage.ca.issue("laptop-1")
        cls.folder = f"{cls.stage.folder}/mdm"
        os.mkdir(cls.folder)
        pfx, cls.thumbprint = make_pfx(cls.stage.folder, "ann", PASSWORD)
        shutil.copy(pfx, f"{cls.folder}/user.pfx")
        shutil.copy(cls.stage.public_keys["sealing"], f"{cls.folder}/sealing.pem")
        shutil.copy(cls.device.certificate, f"{cls.folder}/device.pem")
        shutil.copy(cls.device.key, f"{cls.folder}/device.key")
        cls.write("password", PASSWORD.encode())
        cls.run_block("sh", block("sh", "-fingerprint"))
        command, = re.findall(r"\(`(openssl x509 [^`]*)`\)", PAGE)
        cls.run_block("sh", command)

    @classmethod
    def write(cls, name, data):
        with open(f"{cls.folder}/{name}", "wb") as file:
            file.write(data)

    @classmethod
    def run_block(cls, program, text):
        done = subprocess.run([program, "-c", text], cwd=cls.folder, capture_output=True, timeout=PATIENCE)
        if done.returncode != 0:
            raise AssertionError(done.stderr)
        return done.stdout

    def ask(self, **changes):
        request = json.loads(self.run_block(sys.executable, block("python", "reseal.request.v1")))
        request["data"].update(changes)
        self.stage.sqs.send(self.urls["requests"], json.dumps(request))
        for _ in range(PATIENCE // 5):
            for message in self.stage.sqs.receive(self.urls["results"]):
                self.stage.sqs.delete(self.urls["results"], message["ReceiptHandle"])
                result = json.loads(message["Body"])
                if result["subject"] == request["id"]:
                    return result
        raise AssertionError("no result")

    def test_the_programs_of_the_page_go_the_whole_way(self):
        self.run_block("sh", block("sh", "-encrypt"))
        result = self.ask()
        self.assertEqual(shape(result), shape(json.loads(block("json", "reseal.result.v1"))))
        self.assertEqual(result["data"]["outcome"], "resealed", result)
        self.write("payload", base64.b64decode(result["data"]["payload"]))
        self.run_block("sh", block("sh", "cms -decrypt"))
        with open(f"{self.folder}/opened", "rb") as file:
            self.assertEqual(file.read().decode(), PASSWORD)

    def test_the_thumbprint_of_the_page_is_that_of_the_certificate(self):
        request = json.loads(self.run_block(sys.executable, block("python", "reseal.request.v1")))
        self.assertEqual(request["data"]["thumbprint"].lower(), self.thumbprint)

    def test_refusals_have_the_shape_and_the_codes_of_the_page(self):
        self.run_block("sh", block("sh", "-encrypt"))
        expired = self.ask(expires="2020-01-01T00:00:00Z")["data"]
        self.assertEqual(shape(expired), shape(json.loads(block("json", '"refused"'))))
        for code, changes in ((4002, {"expires": "2020-01-01T00:00:00Z"}), (4002, {"paddingScheme": "pkcs1"}),
                              (4002, {"thumbprint": "short"}), (4006, {"keyName": "another"}),
                              (4002, {"format": "apple-profile", "encryptedPfxBlob": ""}),
                              (4003, {"encryptedPfxPassword": base64.b64encode(b"\1" * 256).decode()})):
            error = self.ask(**changes)["data"]["error"]
            row, = re.findall(rf"^\| {error['code']} \| (\w+) \| (\w+) \|", PAGE, re.M)
            self.assertEqual((error["code"], row), (code, (error["name"], "yes" if error["retryable"] else "no")))

    def test_an_apple_profile_opens_with_the_program_of_the_page(self):
        self.write("password", PASSWORD.encode())
        self.run_block("sh", block("sh", "-encrypt"))
        result = self.ask(format="apple-profile")
        self.write("payload", base64.b64decode(result["data"]["payload"]))
        first = self.run_block(sys.executable, block("python", "EncryptedPayloadContent"))
        for ours, theirs in (("user.pfx", "profile.p12"), ("password", "profile.password")):
            with open(f"{self.folder}/{ours}", "rb") as a, open(f"{self.folder}/{theirs}", "rb") as b:
                self.assertEqual(a.read(), b.read())
        self.write("payload", base64.b64decode(self.ask(format="apple-profile")["data"]["payload"]))
        self.assertEqual(self.run_block(sys.executable, block("python", "EncryptedPayloadContent")), first)

    def test_the_nodes_of_windows_are_those_of_the_page(self):
        self.run_block("sh", block("sh", "-encrypt"))
        payload = base64.b64decode(self.ask(format="windows-csp")["data"]["payload"]).decode()
        root, = set(re.findall(r"<LocURI>(.*)/\w+</LocURI>", payload))
        told = PAGE.split("**`windows-csp`**", 1)[1].split("## ", 1)[0]
        self.assertIn(f"`{root.replace(self.thumbprint.upper(), 'THUMBPRINT')}`", told)
        nodes = re.findall(r"/(\w+)</LocURI>", payload)
        self.assertEqual([name for name in re.findall(r"`(\w+)`", told) if name in nodes], nodes)

    def test_what_the_page_lets_out_is_passed_over(self):
        self.run_block("sh", block("sh", "-encrypt"))
        result = self.ask(encryptedPfxBlob="", somethingElse={"of": "yours"})
        self.assertEqual(result["data"]["outcome"], "resealed", result)


class Tables(unittest.TestCase):
    def test_every_code_is_in_the_table(self):
        codes = re.findall(r"^    RESULT_\w+ = (4\d{3}),", source("include/reseal/result.h"), re.M)
        self.assertEqual(re.findall(r"^\| (4\d{3}) \|", PAGE, re.M), codes)

    def test_every_state_of_a_delivery_is_named(self):
        states = re.findall(r"\[DELIVERY_\w+\] = \"(\w+)\"", source("src/hub/store_deliveries.c"))
        told = re.search(r"^`state` is (.*?);", PAGE, re.M | re.S)[1]
        self.assertEqual(re.findall(r"`(\w+)`", told), states)

    def test_the_longest_passwords_are_those_of_the_padding(self):
        rows = re.findall(r"^\| `(oaepSha\d+)` \| SHA-\d+ \| (\d+) / (\d+) / (\d+) bytes \|", PAGE, re.M)
        self.assertEqual(len(rows), 3)
        for padding, *lengths in rows:
            self.assertEqual([int(length) for length in lengths],
                             [room(bits, padding) for bits in (2048, 3072, 4096)])

    def test_every_field_that_is_read_is_named(self):
        wanted = re.findall(r'"(?:data(?:\.device)?)", "(\w+)"', source("src/envelope/request.c"))
        self.assertGreaterEqual(len(wanted), 10)
        table = PAGE.split("| field |", 1)[1].split("\n\n", 1)[0]
        for name in set(wanted) - {"device"}:
            self.assertRegex(table, rf"\.{name}`", name)


if __name__ == "__main__":
    unittest.main()
