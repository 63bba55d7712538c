# SPDX-License-Identifier: Apache-2.0
"""The formats that Apple's and Windows' own clients take, from a real token through queue and connector, read by
programs that are not ours: openssl, Python's plistlib and ElementTree, libplist."""
import base64
import json
import os
import plistlib
import sys
import unittest
import uuid
import xml.etree.ElementTree as ElementTree

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import StageTest, make_pfx, record, seal, together, tool  # noqa: E402

PASSWORDS = ["", "plain", "Gr\u00fc\u00dfe, \u4e16\u754c \U0001f511 <&>]]\"'", " ]] > &amp; &#65; ",
             "tab\tand\nline", "x" * 126]
NODE = "ClientCertificateInstall/PFXCertInstall"


def read_profile(payload):
    profile = plistlib.loads(payload, fmt=plistlib.FMT_XML)
    return profile, profile["EncryptedPayloadContent"]


def read_syncml(payload):
    """The nodes in their order, by path."""
    atomic = ElementTree.fromstring(payload)
    nodes, commands = {}, [atomic.find("CmdID").text]
    for add in atomic.findall("Add"):
        commands.append(add.find("CmdID").text)
        path = add.find("Item/Target/LocURI").text
        kind = add.find("Item/Meta/{syncml:metinf}Format").text
        nodes[path] = (kind, add.find("Item/Data").text)
    return nodes, commands


class Formats:
    @classmethod
    def prepare(cls):
        stage = cls.stage
        for name, platform, key in (("phone", "ios", "rsa:2048"), ("tablet", "ios", "ec:P-256"),
                                    ("mac", "macos", "rsa:3072"), ("desk", "windows", "rsa:2048")):
            setattr(cls, name, stage.ca.issue(name, key))
            getattr(cls, name).platform = platform
        cls.connector = stage.connector(apple={"organization": "Example & Co"})
        cls.pfx_path, cls.thumbprint = make_pfx(stage.folder, "ann", "plain")
        with open(cls.pfx_path, "rb") as file:
            cls.pfx = file.read()

    def escrow(self, password, pfx=None, **more):
        sealed = seal(self.stage.public_keys["sealing"], password.encode(), "oaepSha512")
        return self.stage.api.add_record(record(sealed, "sealing", pfx=pfx or self.pfx,
                                                user="ann&@example.org", **more))

    def outcome(self, record_id, device, form):
        delivery = self.stage.api.deliver(record_id, device, form=form, platform=device.platform)
        return self.stage.api.outcome(delivery)

    def payload(self, record_id, device, form):
        outcome = self.outcome(record_id, device, form)
        self.assertEqual(outcome["state"], "resealed", outcome)
        self.assertEqual((outcome["custody"], outcome["format"]), (self.stage.custody, form))
        return base64.b64decode(outcome["payload"])

    def opened_profile(self, record_id, device):
        profile, der = read_profile(self.payload(record_id, device, "apple-profile"))
        return profile, device.open(base64.b64encode(der))

    def test_an_apple_profile_has_pfx_and_password_for_the_device_alone(self):
        def go(password):
            profile, content = self.opened_profile(self.escrow(password), self.phone)
            self.assertEqual((profile["PayloadType"], profile["PayloadVersion"], profile["IsEncrypted"]),
                             ("Configuration", 1, True))
            self.assertNotIn("PayloadContent", profile)
            self.assertEqual(profile["PayloadOrganization"], "Example & Co")
            inner, = plistlib.loads(content, fmt=plistlib.FMT_XML)
            self.assertEqual(inner["PayloadType"], "com.apple.security.pkcs12")
            self.assertEqual(inner["PayloadContent"], self.pfx)
            self.assertEqual(inner["Password"], password)
            self.assertNotIn("KeyIsExtractable", inner)
            self.assertEqual(len({uuid.UUID(part["PayloadUUID"]) for part in (profile, inner)}), 2)
            self.assertTrue(inner["PayloadIdentifier"].startswith(profile["PayloadIdentifier"] + "."))
        together(go, PASSWORDS)

    def test_an_apple_profile_for_an_ec_key_and_for_macos(self):
        record_id = self.escrow("plain")
        profile, content = self.opened_profile(record_id, self.tablet)
        inner, = plistlib.loads(content)
        self.assertEqual(inner["Password"], "plain")
        again, content = self.opened_profile(record_id, self.mac)
        inner, = plistlib.loads(content)
        self.assertEqual((inner["Password"], inner["KeyIsExtractable"], inner["AllowAllAppsAccess"]),
                         ("plain", False, False))
        self.assertEqual(again["PayloadUUID"], profile["PayloadUUID"])

    def test_libplist_reads_what_plistlib_reads(self):
        path = f"{self.stage.folder}/profile.plist"
        payload = self.payload(self.escrow(PASSWORDS[2]), self.phone, "apple-profile")
        for text in (payload, self.phone.open(base64.b64encode(read_profile(payload)[1]))):
            with open(path, "wb") as file:
                file.write(text)
            tool("plistutil", "-i", path, "-o", f"{path}.binary", "-f", "bin")
            with open(f"{path}.binary", "rb") as file:
                self.assertEqual(plistlib.load(file, fmt=plistlib.FMT_BINARY), plistlib.loads(text))
            os.unlink(f"{path}.binary")

    def test_windows_gets_the_nodes_of_its_csp_with_the_blob_last(self):
        def go(password):
            payload = self.payload(self.escrow(password, thumbprint=self.thumbprint if password == "plain" else
                                               os.urandom(20).hex()), self.desk, "windows-csp")
            nodes, commands = read_syncml(payload)
            self.assertEqual(commands, [str(number) for number in range(1, len(nodes) + 2)])
            root, = {path.rsplit("/", 1)[0] for path in nodes}
            self.assertRegex(root, rf"^\./User/Vendor/MSFT/{NODE}/[0-9A-F]{{40}}$")
            names = [path.rsplit("/", 1)[1] for path in nodes]
            self.assertEqual(sorted(names), ["KeyLocation", "PFXCertBlob", "PFXCertPassword",
                                             "PFXCertPasswordEncryptionType", "PFXKeyExportable"])
            self.assertEqual(names[-1], "PFXCertBlob")
            self.assertEqual(nodes[f"{root}/KeyLocation"], ("int", "2"))
            self.assertEqual(nodes[f"{root}/PFXCertPasswordEncryptionType"], ("int", "1"))
            self.assertEqual(base64.b64decode(nodes[f"{root}/PFXCertBlob"][1]), self.pfx)
            self.assertEqual(self.desk.open(nodes[f"{root}/PFXCertPassword"][1]), password.encode())
        together(go, PASSWORDS)

    def test_the_command_line_opens_every_format(self):
        stage, folder = self.stage, self.stage.folder
        stage.secrets.append("plain enough")
        pfx, _ = make_pfx(folder, "bob", "plain enough")
        done = stage.succeeds("pfx", "import", "--pfx", pfx, "--user", "bob@example.org", "--password",
                              f"file:{folder}/bob.password", "--public-key", stage.public_keys["sealing"],
                              "--key-name", "sealing", config=self.connector.config)
        record_id = done.stdout.strip()
        os.makedirs(f"{folder}/cli")
        for name in ("device.key", "device.pem"):
            os.symlink(getattr(self.phone, "key" if name.endswith("key") else "certificate"), f"{folder}/cli/{name}")
        for form in ("cms", "apple-profile", "windows-csp"):
            path = f"{folder}/{form}.delivery"
            stage.succeeds("deliver", record_id, "--device", f"{folder}/cli", "--format", form, "--out", path,
                           config=self.connector.config)
            with open(path) as file:
                delivery = json.load(file)
            self.assertEqual((delivery["format"], delivery["custody"]), (form, stage.custody))
            with open(f"{path}.payload", "wb") as file:
                file.write(base64.b64decode(delivery["payload"]))
            for given, more in ((path, ()), (f"{path}.payload", ("--pfx", pfx) if form == "cms" else ())):
                out = f"{given}.opened"
                done = stage.succeeds("device", "open", "--device", f"{folder}/cli", "--delivery", given, "--json",
                                      "--out-password", out, *more)
                self.assertEqual(json.loads(done.stdout)["format"], form)
                with open(out, "rb") as file:
                    self.assertEqual(file.read(), b"plain enough")

    def test_a_large_pfx_fits_up_to_a_bound_and_is_then_refused(self):
        large = os.urandom(45 * 1024)
        _, content = self.opened_profile(self.escrow("plain", pfx=large), self.phone)
        inner, = plistlib.loads(content)
        self.assertEqual((inner["PayloadContent"], inner["Password"]), (large, "plain"))
        larger = self.escrow("plain", pfx=os.urandom(64 * 1024 - 8))
        refused = self.outcome(larger, self.phone, "apple-profile")
        self.assertEqual((refused["state"], refused["error"]["code"]), ("refused", 4007), refused)
        nodes, _ = read_syncml(self.payload(larger, self.desk, "windows-csp"))
        self.assertEqual(len(nodes), 5)

    def test_a_password_that_ends_its_section_is_refused_where_it_can_be_seen(self):
        for password in ("a]]>b", "bell\a", "two\r\nlines"):
            outcome = self.outcome(self.escrow(password), self.phone, "apple-profile")
            if self.stage.custody == "token":  # nobody sees it: the importer warns of it
                self.assertEqual(outcome["state"], "resealed", outcome)
            else:
                self.assertEqual((outcome["state"], outcome["error"]["code"]), ("refused", 4006), outcome)

    def test_a_sealed_password_that_does_not_open_fails_alike_in_every_format(self):
        record_id = self.stage.api.add_record(record(os.urandom(256), "sealing", pfx=self.pfx))
        errors = [self.outcome(record_id, self.phone, form)["error"] for form in
                  ("cms", "apple-profile", "windows-csp")]
        self.assertEqual(errors[0]["code"], 4003)
        self.assertEqual(errors, [errors[0]] * 3)


class FormatsOnSofthsm(Formats, StageTest):
    kind = "softhsm"


class FormatsOnNss(Formats, StageTest):
    kind = "nss"


class FormatsOnOpencryptoki(Formats, StageTest):
    kind = "opencryptoki"


if __name__ == "__main__":
    unittest.main()
