# SPDX-License-Identifier: Apache-2.0
"""reseal deliver and reseal device open: to the device and into its hands."""
import base64
import json
import os
import pty
import re
import subprocess
import unittest

from cli_support import PATIENCE, RESEAL, Case, mode_of, openssl, read, write


class Deliver(Case):
    def setUp(self):
        super().setUp()
        self.reseal("device", "new", "--out", self.path("phone"))
        path, source = self.pfx("p\u00e4\U0001f600 horse")
        self.record = self.reseal("pfx", "import", "--pfx", path, "--user", "alice@example.org",
                                  "--password", source)[0].strip()
        self.parcel = self.path("delivery.json")

    def deliver(self, *more, **options):
        return self.reseal("deliver", self.record, "--device", self.path("phone"), *more, **options)

    def open(self, *more, device="phone", **options):
        return self.reseal("device", "open", "--device", self.path(device), *more, **options)

    def test_a_device_opens_what_was_delivered(self):
        for kind in ("rsa:3072", "ec:P-256"):
            with self.subTest(kind=kind):
                device, parcel = self.path(kind), self.path(f"{kind}.json")
                self.reseal("device", "new", "--out", device, "--key", kind, "--ca",
                            self.path("phone"))
                out, _ = self.reseal("deliver", self.record, "--device", device, "--platform",
                                     "ios", "--out", parcel)
                self.assertIn("resealed  custody host  42 ms", out)
                self.assertEqual(mode_of(parcel), 0o600)
                order = list(self.server.deliveries.values())[-1]
                self.assertEqual(order["device"]["id"], kind)
                self.assertEqual(order["device"]["platform"], "ios")
                out, _ = self.reseal("device", "open", "--device", device, "--delivery", parcel)
                self.assertIn("opened: CN=alice, thumbprint ", out)

    def test_what_is_opened_is_byte_for_byte_the_password(self):
        self.deliver("--out", self.parcel)
        target = self.path("opened")
        out, _ = self.open("--delivery", self.parcel, "--out-password", target, "--json")
        self.assertEqual(read(target), "p\u00e4\U0001f600 horse".encode())
        self.assertEqual(mode_of(target), 0o600)
        facts = json.loads(out)
        self.assertIs(facts["opened"], True)
        self.assertEqual(facts["thumbprint"], self.server.records[self.record]["thumbprint"])
        self.open("--delivery", self.parcel, "--out-password", target, status=1)

    def test_the_delivery_is_printed_as_json_and_read_from_standard_input(self):
        out, err = self.deliver("--json")
        self.assertEqual(err, "")
        self.assertEqual(json.loads(out)["state"], "resealed")
        self.open("--delivery", "-", data=out.encode())

    def test_a_certificate_alone_is_enough(self):
        der = self.path("device.der")
        openssl("x509", "-in", self.path("phone/device.pem"), "-outform", "der", "-out", der)
        self.reseal("deliver", self.record, "--certificate", der, "--device-id", "dev-7")
        order = list(self.server.deliveries.values())[-1]
        self.assertEqual(order["device"]["id"], "dev-7")
        self.assertEqual(base64.b64decode(order["device"]["certificate"]), read(der))

    def test_a_bare_cms_message_is_opened_with_the_pfx_beside_it(self):
        out, _ = self.deliver("--json")
        cms = write(self.path("message.der"), base64.b64decode(json.loads(out)["payload"]))
        _, err = self.open("--delivery", cms, status=2)
        self.assertIn("--pfx", err)
        self.open("--delivery", cms, "--pfx", self.path("user.pfx"))

    def test_what_does_not_open_says_so(self):
        self.deliver("--out", self.parcel)
        whole = json.loads(read(self.parcel))
        self.reseal("device", "new", "--out", self.path("tablet"))
        _, err = self.open("--delivery", self.parcel, device="tablet", status=1)
        self.assertIn("does not open with this device's key", err)
        self.assertIn("--device", err.split("hint: ")[1])
        payload = base64.b64decode(whole["payload"])
        broken = {
            "cut": dict(whole, payload=base64.b64encode(payload[:-5]).decode()),
            "flipped": dict(whole, payload=base64.b64encode(
                payload[:-1] + bytes([payload[-1] ^ 1])).decode()),
            "base64": dict(whole, payload="?"),
            "no payload": {key: value for key, value in whole.items() if key != "payload"},
            "refused": dict(whole, state="refused"),
            "format": dict(whole, format="of another kind"),
            "another format": dict(whole, format="apple-profile"),
            "yet another": dict(whole, format="windows-csp"),
            "pfx": dict(whole, encryptedPfxBlob="AAAA"),
            "list": [whole],
        }
        for name, delivery in broken.items():
            with self.subTest(name=name):
                path = write(self.path("broken.json"), json.dumps(delivery).encode())
                self.open("--delivery", path, status=3 if name == "refused" else 2
                          if name == "list" else 1)

    def test_each_end_has_its_exit_status(self):
        for mode, status, words in (("refused", 3, "4002 ParameterDataInvalid: so it is"),
                                    ("failed", 1, "4003 Cryptography"),
                                    ("away", 5, "4101 Unavailable")):
            self.server.mode = mode
            out, err = self.deliver("--json", status=status)
            self.assertIn(words, err)
            self.assertEqual(json.loads(out)["error"]["code"], int(words[:4]))
            out, _ = self.deliver(status=status)
            self.assertEqual(out, "")

    def test_after_the_time_the_delivery_goes_on_and_can_be_waited_for_again(self):
        self.server.mode = "pending"
        _, err = self.deliver("--timeout", "1", status=5)
        key = re.search(r"delivery-\d+", err).group()
        self.assertIn(f"--resume {key}", err)
        self.server.mode = ""
        out, _ = self.reseal("deliver", "--resume", key)
        self.assertIn(key, out)
        self.assertEqual(len(self.server.deliveries), 1)

    def test_a_hub_that_restarts_does_not_end_the_wait(self):
        self.server.mode = "restart"
        self.deliver("--out", self.parcel)
        self.open("--delivery", self.parcel)
        self.assertEqual(len(self.server.deliveries), 1)

    def test_wrong_orders_are_refused_before_anything_is_asked(self):
        write(self.parcel, b"mine")
        asked = len(self.server.heard)
        phone = self.path("phone")
        for words, status in (([self.record], 2), ([self.record, "--device", phone,
                                                    "--certificate", "x"], 2),
                              (["--device", phone], 2),
                              ([self.record, "--device", phone, "--format", "x"], 2),
                              ([self.record, "--device", phone, "--platform", "x"], 2),
                              ([self.record, "--device", phone, "--timeout", "0"], 2),
                              ([self.record, "--device", self.folder], 1),
                              ([self.record, "--certificate", self.config], 1),
                              ([self.record, "--device", phone, "--out", self.parcel], 1)):
            self.reseal("deliver", *words, status=status)
        self.assertEqual(len(self.server.heard), asked)
        self.assertEqual(read(self.parcel), b"mine")

    def test_an_unknown_record_is_told(self):
        _, err = self.reseal("deliver", "other", "--device", self.path("phone"), status=1)
        self.assertIn("CertificateNotFound", err)
        self.reseal("deliver", "--resume", "other", status=1)

    def test_a_file_that_cannot_be_made_is_told_before_anything_is_asked(self):
        asked = len(self.server.heard)
        for path in (self.path("nowhere/z"), self.path("token") + "/z"):
            _, err = self.deliver("--out", path, status=1)
            self.assertIn("nothing was asked for", err)
        self.assertEqual(len(self.server.heard), asked)
        self.assertEqual(self.server.deliveries, {})

    def test_a_file_that_was_possible_leaves_nothing_else_behind(self):
        before = set(os.listdir(self.folder))
        self.deliver("--out", self.parcel)
        self.assertEqual(set(os.listdir(self.folder)) - before, {"delivery.json"})

    def test_each_error_after_the_order_names_the_delivery_and_how_to_resume(self):
        for mode in ("refused", "failed", "away", "garbled", "unauthorised"):
            self.server.mode = mode
            done = subprocess.run([RESEAL, "deliver", self.record, "--device", self.path("phone"),
                                   "--timeout", "1", "--config", self.config],
                                  capture_output=True, timeout=PATIENCE)
            key = f"delivery-{len(self.server.deliveries) - 1}"
            text, hint = done.stderr.decode().split("hint: ")
            self.assertIn(key, text, mode)
            self.assertIn(f"--resume {key}", hint, mode)

    def test_an_unknown_delivery_says_what_to_do(self):
        _, err = self.reseal("deliver", "--resume", "other", status=1)
        self.assertIn("delivery other", err)
        self.assertIn("ask for a new one", err.split("hint: ")[1])

    def test_an_empty_delivery_is_told_as_that(self):
        _, err = self.open("--delivery", write(self.parcel, b""), status=1)
        self.assertIn("the delivery file is empty", err)
        self.assertIn("reseal deliver", err.split("hint: ")[1])

    def test_progress_is_shown_on_a_terminal_only(self):
        main, terminal = pty.openpty()
        done = subprocess.run([RESEAL, "deliver", self.record, "--device", self.path("phone"),
                               "--config", self.config], stdout=subprocess.PIPE, stderr=terminal,
                              timeout=PATIENCE)
        os.close(terminal)
        self.assertEqual(done.returncode, 0)
        self.assertIn(b"waiting for delivery", os.read(main, 4096))
        os.close(main)
        _, err = self.deliver()
        self.assertEqual(err, "")


if __name__ == "__main__":
    unittest.main()
