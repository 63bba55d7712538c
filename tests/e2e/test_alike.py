# SPDX-License-Identifier: Apache-2.0
"""Whatever is wrong with a sealed password, from outside it looks the same (no Manger oracle)."""
import hashlib
import json
import os
import random
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import HASHES, StageTest, modulus, record, seal, together  # noqa: E402


class Alike:
    """Whatever is wrong with a sealed password, from outside it looks the same."""
    options = {"keys": {"sealing": 2048, "other": 2048}}

    @classmethod
    def prepare(cls):
        cls.device = cls.stage.ca.issue("laptop")
        cls.connector = cls.stage.connector()

    def ciphertexts(self):
        key = self.stage.public_keys["sealing"]
        n = modulus(key)
        size = (n.bit_length() + 7) // 8
        good = seal(key, b"password", "oaepSha512")
        number = lambda value: (value % 256 ** size).to_bytes(size, "big")  # noqa: E731
        chance = random.Random(3)
        cases = {"random below n": number(chance.randrange(n)), "0": number(0), "1": number(1),
                 "2": number(2), "n - 1": number(n - 1), "n": number(n), "n + 1": number(n + 1),
                 "all ones": b"\xff" * size,
                 "wrong key": seal(self.stage.public_keys["other"], b"password", "oaepSha512"),
                 "another label": seal(key, b"password", "oaepSha512", label="6c6162656c"),
                 "first bit": bytes([good[0] ^ 0x80]) + good[1:],
                 "last bit": good[:-1] + bytes([good[-1] ^ 1]),
                 "middle bit": good[:100] + bytes([good[100] ^ 4]) + good[101:],
                 "too long by one": good + b"\0", "too long in front": b"\0" + good,
                 "of an RSA-3072": good + good[:128], "of an RSA-4096": good + good}
        for padding, hash_name in HASHES.items():
            if padding != "oaepSha512":
                cases[f"sealed with {hash_name}"] = seal(key, b"password", padding)
        for mgf in ("sha1", "sha256"):
            cases[f"MGF1 with {mgf}"] = seal(key, b"password", "oaepSha512", mgf=mgf)
        # The encoded message itself, with each of its parts wrong (RFC 8017, section 7.1.2): the
        # cases that Manger's attack tells apart.
        for name, encoded in self.encodings(size):
            cases[name] = number(pow(int.from_bytes(encoded, "big"), 65537, n))
        return cases

    @staticmethod
    def encodings(size):
        def mask(seed, length):
            out, counter = b"", 0
            while len(out) < length:
                out += hashlib.sha512(seed + counter.to_bytes(4, "big")).digest()
                counter += 1
            return out[:length]

        def xor(a, b):
            return bytes(x ^ y for x, y in zip(a, b))

        def encode(first=0, label=hashlib.sha512(b"").digest(), mark=b"\1", fill=0):
            message = b"password"
            room = size - 2 * 64 - 1 - len(label) - len(mark) - len(message) + 64
            data = label + bytes([fill]) * room + mark + message
            seed = bytes(range(64))
            masked = xor(data, mask(seed, len(data)))
            return bytes([first]) + xor(seed, mask(masked, 64)) + masked

        yield "first byte 1", encode(first=1)
        yield "wrong hash of the label", encode(label=bytes(64))
        yield "no mark between padding and message", encode(mark=b"\0" * 1, fill=0)[:size]
        yield "padding that is not zero", encode(fill=2)
        yield "PKCS #1 v1.5", b"\0\2" + b"\x55" * (size - 11) + b"\0password"

    def test_every_cause_gives_the_same_error(self):
        api, key = self.stage.api, "sealing"
        cases = self.ciphertexts()
        records = {name: api.add_record(record(sealed, key)) for name, sealed in cases.items()}
        deliveries = {name: api.deliver(made, self.device) for name, made in records.items()}
        outcomes = dict(zip(deliveries, together(api.outcome, deliveries.values())))
        errors = {}
        for name, outcome in outcomes.items():
            with self.subTest(name):
                self.assertEqual(outcome["state"], "failed", outcome)
                self.assertEqual(outcome["resultsEffective"], 1)
                self.assertEqual(outcome["error"]["code"], 4003)
                self.assertIsNone(outcome["custody"])
                self.assertIsNone(outcome["payload"])
            for volatile in ("id", "recordId", "encryptedPfxBlob", "createdDateTime",
                             "completedDateTime", "expiresDateTime"):
                outcome.pop(volatile, None)
            errors.setdefault(json.dumps(outcome, sort_keys=True), []).append(name)
        self.assertEqual(len(errors), 1, errors)
        good = api.outcome(api.deliver(self.stage.escrow(b"password"), self.device))
        self.opens(self.device, good, b"password")


class AlikeOnSofthsm(Alike, StageTest):
    kind = "softhsm"


class AlikeOnNss(Alike, StageTest):
    kind = "nss"


class AlikeOnOpencryptoki(Alike, StageTest):
    kind = "opencryptoki"


if __name__ == "__main__":
    unittest.main()
