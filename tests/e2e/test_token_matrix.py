# SPDX-License-Identifier: Apache-2.0
"""`reseal token matrix` on each of the three tokens: what it says is what these tokens are known to do,
as JSON and as a table, and nothing is left on the token.

Of any other token the table is printed, and whatever it says is the finding:

    RESEAL_BIN=build/release/bin reseal token matrix --module MODULE.so --label TOKEN --pin file:PIN
"""
import json
import os
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from token_support import BIN, TokenTest  # noqa: E402

FORMS = ("rsaPkcs1", "rsaOaepSha256", "ecP256", "ecP384")
PADDINGS = ("oaepSha256", "oaepSha384", "oaepSha512")


class TokenMatrix(TokenTest):
    def reseal(self, token, *arguments):
        done = subprocess.run([f"{BIN}/reseal", *arguments, *token.options()], env=token.env,
                              capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn(token.pin, done.stdout + done.stderr)
        return done.stdout

    def matrix(self, token):
        found = json.loads(self.reseal(token, "token", "matrix", "--json"))
        self.assertEqual([size["bits"] for size in found["sizes"]], [2048, 3072, 4096])
        for size in found["sizes"]:
            self.assertEqual([each["padding"] for each in size["paddings"]], list(PADDINGS))
        table = self.reseal(token, "token", "matrix")
        rows = [line for line in table.splitlines() if line.startswith("| RSA-")]
        self.assertEqual(len(rows), 9)
        for row, size in zip(rows[::3], found["sizes"]):
            self.assertIn(f"| RSA-{size['bits']} | oaepSha256 |", row)
            for custody in size["paddings"][0]["custody"].values():
                self.assertIn(f"| {custody} |", row)
        self.assertEqual(json.loads(self.reseal(token, "key", "list", "--json"))["keys"], [])
        return found, table

    def assert_all(self, found, custody):
        for size in found["sizes"]:
            for padding in size["paddings"]:
                self.assertEqual(padding["custody"], dict.fromkeys(FORMS, custody))

    def test_softhsm_reaches_custody_host_as_its_oaep_has_sha1_only(self):
        found, table = self.matrix(self.softhsm())
        self.assert_all(found, "host")
        for size in found["sizes"]:
            for padding in size["keyForToken"]["paddings"]:
                self.assertEqual((padding["call"], padding["ckRv"]),
                                 ("C_UnwrapKey(CKM_RSA_PKCS_OAEP)", "CKR_ARGUMENTS_BAD"))
                self.assertIn("SHA-1 only", padding["advice"])
            for padding in size["keyForHost"]["paddings"]:
                self.assertIn("raw RSA in the token", padding["quirk"])
        self.assertIn("C_UnwrapKey(CKM_RSA_PKCS_OAEP): CKR_ARGUMENTS_BAD", table)

    def test_nss_reaches_custody_token_for_every_kind_of_device_key(self):
        found, _ = self.matrix(self.nss())
        self.assert_all(found, "token")
        for size in found["sizes"]:
            for padding in size["keyForToken"]["paddings"]:
                self.assertIsNone(padding["call"])
                self.assertIsNone(padding["advice"])
                self.assertEqual(padding["affixes"], 65536)

    def test_opencryptoki_claims_custody_token_and_reaches_host_as_its_secrets_can_be_read(self):
        found, table = self.matrix(self.opencryptoki())
        self.assert_all(found, "host")
        for size in found["sizes"]:
            for padding in size["keyForToken"]["paddings"]:
                self.assertTrue(padding["call"].startswith("C_GetAttributeValue("), padding["call"])
                self.assertIn("does not keep an unwrapped secret sensitive", padding["advice"])
        self.assertIn("C_GetAttributeValue(", table)


if __name__ == "__main__":
    unittest.main()
