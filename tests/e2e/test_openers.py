# SPDX-License-Identifier: Apache-2.0
"""Every form of message, made on both tokens, opens byte for byte with every program that knows the
form, and with at least three that share no code with each other."""
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import StageTest, seal, tool  # noqa: E402
from helper_peer import HelperPeer, reseal_body  # noqa: E402
from openers import OPENERS, BouncyCastle, Gpgsm, Nss, OpenSsl, Reader, Refused  # noqa: E402

PADDING, PADDING_NUMBER = "oaepSha512", 5
# key_transport in the configuration -> its number, and the forms that are made under it
TRANSPORTS = {"pkcs1": (0, ("rsaPkcs1", "ecP256", "ecP384")), "oaepSha256": (1, ("rsaOaepSha256",))}

# form -> device, and how openssl makes a message of that form
FORMS = {
    "rsaPkcs1": ("rsa-device", []),
    "rsaOaepSha256": ("rsa-device", ["rsa_padding_mode:oaep", "rsa_oaep_md:sha256",
                                     "rsa_mgf1_md:sha256"]),
    "ecP256": ("p256-device", ["ecdh_kdf_md:sha256"]),
    "ecP384": ("p384-device", ["ecdh_kdf_md:sha384"]),
}
DEVICES = {"rsa-device": "rsa:2048", "p256-device": "ec:P-256", "p384-device": "ec:P-384"}

# What a release of an opener may lack, with what it then says. It counts only where that release says
# the same of openssl's own message of that form.
NO_OAEP = "gpgsm 2.2.40 and 2.4.7 have no RSAES-OAEP key transport"
GAPS = {
    (Nss, "rsaOaepSha256"): ("SEC_ERROR_UNSUPPORTED_KEYALG",
                             "NSS 3.87 has no RSAES-OAEP key transport; 3.110 has it"),
    (Nss, "ecP256"): ("SEC_ERROR_BAD_DER", "NSS 3.87 has no key agreement; 3.110 has it"),
    (Nss, "ecP384"): ("SEC_ERROR_BAD_DER", "NSS 3.87 has no key agreement; 3.110 has it"),
    (Gpgsm, "rsaOaepSha256"): ("error getting encrypted session key", NO_OAEP),
    (Gpgsm, "ecP256"): ("Invalid session key", "gpgsm 2.2.40 has no key agreement; 2.4.7 has it"),
    (Gpgsm, "ecP384"): ("Invalid session key", "gpgsm 2.2.40 has no key agreement; 2.4.7 has it"),
}

TEXT_MOST = 64 * 1024
SIXTEEN = b"exactly 16 bytes"
BEYOND = "\U0001f511\U0001d11e\u4e16<&>]]\"'".encode()


def profile(length):
    """Text as around a password in a profile, with all kinds of line ends."""
    line = b"<string><![CDATA[<&>]]]]><![CDATA[>\"' \xc3\xa9\xf0\x9f\x94\x91]]></string>\r\n\n\r\t"
    return (line * (length // len(line) + 1))[:length]


# name -> prefix, password, suffix
CONTENTS = {
    "an empty password": (b"", b"", b""),
    "16 bytes": (b"", SIXTEEN, b""),
    "beyond the BMP, and markup": (b"", BEYOND, b""),
    "64 KiB of text around": (profile(TEXT_MOST // 2 - 9) + b"<![CDATA[", BEYOND,
                              b"]]>" + profile(TEXT_MOST // 2 - 3)),
    "text in front": (b"<![CDATA[", BEYOND, b""),
    "text behind": (b"", SIXTEEN, b"]]>\r\n"),
    "text around nothing": (b"<![CDATA[", b"", b"]]>"),
}


def reference(device, options):
    """A message of openssl's own making."""
    chosen = [word for option in options for word in ("-keyopt", option)]
    return tool("openssl", "cms", "-encrypt", "-binary", "-aes256", "-outform", "DER", "-recip",
                device.certificate, *chosen, data=SIXTEEN)


class Openers:
    options = {"keys": {"sealing": 2048}}

    @classmethod
    def prepare(cls):
        cls.devices = {name: cls.stage.ca.issue(name, key) for name, key in DEVICES.items()}
        references = {form: reference(cls.devices[name], options)
                      for form, (name, options) in FORMS.items()}
        messages = cls.make_messages()
        work = [(cls.devices[FORMS[form][0]], der) for form, der in references.items()]
        work += [(cls.devices[FORMS[form][0]], der) for (form, _), der in messages.items()]
        cls.references, cls.results = {}, {}
        for kind in OPENERS:
            answers = cls.take_in(kind).open_all(work)
            cls.references[kind] = dict(zip(references, answers))
            cls.results[kind] = dict(zip(messages, answers[len(references):]))

    @classmethod
    def take_in(cls, kind):
        opener = kind(f"{cls.stage.folder}/{kind.__name__}", cls.devices.values())
        cls.addClassCleanup(opener.end)
        return opener

    @classmethod
    def make_messages(cls):
        messages = {}
        for transport, (number, forms) in TRANSPORTS.items():
            helper = HelperPeer(cls.stage, f"by-{transport}",
                                connector={"key_transport": transport})
            messages |= {(form, name): cls.reseal(helper, number, form, *content)
                         for form in forms for name, content in CONTENTS.items()}
            if helper.end() != 0:
                raise AssertionError(helper.daemon.tail())
        return messages

    @classmethod
    def reseal(cls, helper, transport, form, prefix, password, suffix):
        sealed = seal(cls.stage.public_keys["sealing"], password, PADDING)
        device = cls.devices[FORMS[form][0]]
        custody, der = helper.reseal(reseal_body("sealing", PADDING_NUMBER, sealed, device.der,
                                                 prefix, suffix, transport))
        if custody != cls.stage.custody:
            raise AssertionError(f"{form} was made in custody {custody}")
        return der

    def knows(self, kind, form):
        """Whether this release knows the form, by a message that is not ours."""
        answer = self.references[kind][form]
        if not isinstance(answer, Refused):
            self.assertEqual(answer, SIXTEEN)
            return True
        if (kind, form) not in GAPS:
            self.fail(f"{kind.title} refuses openssl's own message in {form}: {answer}")
        self.assertIn(GAPS[kind, form][0], str(answer))
        return False

    def opens_what_it_knows(self, kind):
        for (form, name), answer in self.results[kind].items():
            with self.subTest(form=form, content=name):
                if self.knows(kind, form):
                    self.assertEqual(answer, b"".join(CONTENTS[name]))
                else:
                    self.assertIsInstance(answer, Refused)
                    self.assertIn(GAPS[kind, form][0], str(answer))
        self.assertEqual(len(self.results[kind]), len(FORMS) * len(CONTENTS))

    def test_openssl_opens_every_form(self):
        self.assertTrue(all(self.knows(OpenSsl, form) for form in FORMS))
        self.opens_what_it_knows(OpenSsl)

    def test_nss_opens_every_form_that_it_knows(self):
        self.assertTrue(self.knows(Nss, "rsaPkcs1"))
        self.opens_what_it_knows(Nss)

    def test_gpgsm_opens_every_form_that_it_knows(self):
        self.assertTrue(self.knows(Gpgsm, "rsaPkcs1"))
        self.opens_what_it_knows(Gpgsm)

    def test_bouncy_castle_opens_every_form_and_finds_it_der(self):
        self.assertTrue(all(self.knows(BouncyCastle, form) for form in FORMS))
        self.opens_what_it_knows(BouncyCastle)

    def test_a_reader_that_is_as_strict_as_the_rfcs_opens_every_form(self):
        self.assertTrue(all(self.knows(Reader, form) for form in FORMS))
        self.opens_what_it_knows(Reader)

    def test_each_form_is_opened_by_three_that_share_no_code(self):
        print(self.table(), file=sys.stderr)
        for form in FORMS:
            for name, content in CONTENTS.items():
                opened = [kind.title for kind in OPENERS
                          if self.results[kind][form, name] == b"".join(content)]
                self.assertGreaterEqual(len(opened), 3, f"{form}, {name}: {opened}")

    def table(self):
        """Form x opener, for people."""
        lines = ["", f"custody {self.stage.custody} | " + " | ".join(k.title for k in OPENERS)]
        for form in FORMS:
            cells = ["opens" if self.knows(kind, form) else "gap" for kind in OPENERS]
            lines.append(f"{form} | " + " | ".join(cells))
        return "\n".join(lines + [f"gap: {reason}" for reason in self.gaps()])

    def gaps(self):
        return sorted({reason for (kind, form), (_, reason) in GAPS.items()
                       if not self.knows(kind, form)})


class OpenersOnSofthsm(Openers, StageTest):
    kind = "softhsm"


class OpenersOnNss(Openers, StageTest):
    kind = "nss"


if __name__ == "__main__":
    unittest.main()
