# SPDX-License-Identifier: Apache-2.0
"""Every sealing key x padding x password on each token: what the device opens is, byte for byte,
what was sealed. openssl seals and openssl opens; nothing of ours judges its own work."""
import base64
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import HASHES, LONG, StageTest, room, together, tool  # noqa: E402

KEYS = {"k2048": 2048, "k3072": 3072, "k4096": 4096}
ASCII = b"correct horse battery staple 0123456789 "
BEYOND_BMP = "\U0001f511\U0001d11e\u4e16\u00e9\U0001f9f7".encode()
MARKUP = b"<&>]]\"'"


def of_length(pattern, length):
    """Exactly `length` bytes that are still whole characters: the rest is filled with dots."""
    text = (pattern * (length // len(pattern) + 1))[:length].decode(errors="ignore").encode()
    return text + b"." * (length - len(text))


def passwords(bits, padding, longest, patterns):
    most = min(room(bits, padding), longest)
    lengths = (0, 1, 15, 16, 17, most)
    found = {of_length(pattern, length) for length in lengths for pattern in patterns}
    # A token that pads with zero bytes, or strips them, shows here.
    found |= {b"\0" * 16, b"ends in zeros\0\0\0", "\U0001f511".encode(), MARKUP}
    return sorted(found, key=lambda password: (len(password), password))


class Matrix:
    options = {"keys": KEYS}
    longest = 512  # bytes of a password that the token takes, whatever the key
    patterns = (ASCII, BEYOND_BMP, MARKUP)

    @classmethod
    def prepare(cls):
        cls.device = cls.stage.ca.issue("laptop")
        cls.connector = cls.stage.connector()

    def run_key(self, name):
        bits = KEYS[name]
        cases = [(padding, password) for padding in HASHES
                 for password in passwords(bits, padding, self.longest, self.patterns)]

        def begin(case):
            padding, password = case
            return self.stage.api.deliver(self.stage.escrow(password, name, padding), self.device)

        def end(delivery):
            outcome = self.stage.api.outcome(delivery)
            return outcome, outcome["state"] == "resealed" and self.device.open(outcome["payload"])

        deliveries = together(begin, cases)
        for (padding, password), (outcome, opened) in zip(cases, together(end, deliveries)):
            with self.subTest(padding=padding, length=len(password), password=password[:40]):
                self.assertEqual(outcome["state"], "resealed", outcome.get("error"))
                self.assertEqual(outcome["custody"], self.stage.custody)
                self.assertEqual(outcome["resultsEffective"], 1)
                self.assertEqual(opened, password)
        self.assertGreaterEqual(len(cases), 3 * (20 if len(self.patterns) == 3 else 8))

    def test_rsa_2048_every_padding_and_password(self):
        self.run_key("k2048")

    def test_rsa_3072_every_padding_and_password(self):
        self.run_key("k3072")

    def test_rsa_4096_every_padding_and_password(self):
        self.run_key("k4096")


class Devices:
    """What is made for the device, by the kind of its key."""
    options = {"keys": {"sealing": 2048}}
    PASSWORD = BEYOND_BMP + MARKUP

    @classmethod
    def prepare(cls):
        cls.devices = {bits: cls.stage.ca.issue(f"rsa-{bits}", f"rsa:{bits}")
                       for bits in (2048, 3072, 4096)}

    def structure(self, payload):
        return tool("openssl", "cms", "-cmsout", "-print", "-inform", "DER",
                    data=base64.b64decode(payload)).decode()

    def run_transport(self, transport, shown):
        connector = self.stage.connector(f"by-{transport}", connector={"key_transport": transport})
        for bits, device in self.devices.items():
            for password in (b"", self.PASSWORD):
                with self.subTest(bits=bits, password=password):
                    outcome = self.stage.api.outcome(
                        self.stage.api.deliver(self.stage.escrow(password), device))
                    self.opens(device, outcome, password)
                    structure = self.structure(outcome["payload"])
                    self.assertIn(f"algorithm: {shown} ", structure)
                    self.assertIn("issuerAndSerialNumber", structure)
                    self.assertIn("aes-256-cbc", structure)
        connector.stop()

    def test_rsa_devices_by_pkcs1(self):
        self.run_transport("pkcs1", "rsaEncryption")

    def test_rsa_devices_by_oaep_sha256(self):
        self.run_transport("oaepSha256", "rsaesOaep")

    def deliver_to_ec(self, curve):
        connector = self.stage.connector("for-" + curve.lower())
        device = self.stage.ca.issue("phone-" + curve.lower(), "ec:" + curve)
        outcome = self.stage.api.outcome(
            self.stage.api.deliver(self.stage.escrow(self.PASSWORD), device))
        connector.stop()
        return device, outcome

    def test_ec_devices_are_served_by_key_agreement(self):
        for curve, kdf in (("P-256", "dhSinglePass-stdDH-sha256kdf-scheme"),
                           ("P-384", "dhSinglePass-stdDH-sha384kdf-scheme")):
            with self.subTest(curve=curve):
                device, outcome = self.deliver_to_ec(curve)
                self.opens(device, outcome, self.PASSWORD)
                self.assertEqual(outcome["custody"], self.custody)
                structure = self.structure(outcome["payload"])
                for part in ("d.kari", "issuerAndSerialNumber", kdf, "id-aes256-wrap", "aes-256-cbc"):
                    self.assertIn(part, structure)


class MatrixOnSofthsm(Matrix, StageTest):
    kind = "softhsm"


class MatrixOnNss(Matrix, StageTest):
    kind = "nss"
    longest = 256  # softokn's MAX_KEY_LEN: no secret key object is longer

    def test_a_password_that_the_token_cannot_hold_gets_a_final_answer(self):
        for length in (self.longest + 1, room(4096, "oaepSha256")):
            with self.subTest(length=length):
                record_id = self.stage.escrow(b"x" * length, "k4096", "oaepSha256")
                outcome = self.stage.api.outcome(self.stage.api.deliver(record_id, self.device))
                self.assertIn(outcome["state"], ("failed", "refused"))
                self.assertFalse(outcome["error"]["retryable"])


class MatrixOnOpencryptoki(Matrix, StageTest):
    kind = "opencryptoki"
    patterns = Matrix.patterns if LONG else (BEYOND_BMP,)


class DevicesOnSofthsm(Devices, StageTest):
    kind = "softhsm"
    custody = "host"


class DevicesOnNss(Devices, StageTest):
    kind = "nss"
    custody = "token"

    def test_a_curve_that_no_token_is_asked_for_is_refused_where_only_the_token_may_see_the_password(self):
        _, outcome = self.deliver_to_ec("P-521")
        self.assertEqual(outcome["state"], "refused")
        self.assertEqual(outcome["error"]["code"], 4006)
        self.assertEqual(outcome["error"]["name"], "NotSupported")
        self.assertFalse(outcome["error"]["retryable"])
        self.assertIn("custody token is required", outcome["error"]["message"])
        self.assertIsNone(outcome.get("payload"))


if __name__ == "__main__":
    unittest.main()
