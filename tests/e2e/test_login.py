# SPDX-License-Identifier: Apache-2.0
"""Logging in to a record store by OAuth 2.0, at a server that others wrote: with a secret, with a certificate whose
key is in a file or on a token, and as a person with a browser. The store takes tokens of that server alone."""
import base64
import hashlib
import http.client
import json
import os
import re
import secrets
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from engines import HERE, MODULES, NODE, Engine  # noqa: E402
from harness import BIN, StageTest, make_pfx, stable_port, tool, write_secret  # noqa: E402
from peer import PATIENCE  # noqa: E402


def b64url(number):
    return base64.urlsafe_b64encode(number.to_bytes((number.bit_length() + 7) // 8, "big")).rstrip(b"=").decode()


def jwk_of(certificate):
    text = tool("openssl", "x509", "-in", certificate, "-noout", "-modulus").decode()
    der = tool("openssl", "x509", "-in", certificate, "-outform", "DER")
    return {"kty": "RSA", "use": "sig", "alg": "PS256", "e": "AQAB", "n": b64url(int(text.strip().split("=")[1], 16)),
            "x5t#S256": base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()}


class LoginServer(Engine):
    def __init__(self, folder, stage, secret, certificate):
        super().__init__(folder)
        self.store_port = stable_port()
        self.settings = f"{folder}/settings.json"
        with open(f"{stage.folder}/api-token") as file:
            hub_token = file.read().strip()
        write_secret(self.settings, json.dumps({
            "port": self.port, "storePort": self.store_port, "hub": f"127.0.0.1:{stage.port}",
            "hubToken": hub_token, "secret": secret, "jwk": jwk_of(certificate)}))

    def command(self):
        return [NODE, f"{HERE}/login_server.mjs", MODULES, self.settings]

    def call(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        connection.request("GET", path)
        done = connection.getresponse()
        if done.status != 200:
            raise AssertionError(done.read())
        connection.close()

    def person(self, code, answer="yes"):
        self.call(f"/person?code={code}&answer={answer}")


class Login(StageTest):
    kind = "softhsm"

    @classmethod
    def prepare(cls):
        stage, folder = cls.stage, cls.stage.folder
        cls.secret = "a secret of &=+ " + secrets.token_urlsafe(20)
        tool("openssl", "req", "-x509", "-newkey", "rsa:2048", "-noenc", "-keyout", f"{folder}/app.key", "-out",
             f"{folder}/app.pem", "-subj", "/CN=importer", "-days", "30")
        os.chmod(f"{folder}/app.key", 0o600)
        write_secret(f"{folder}/app.secret", cls.secret + "\n")
        stage.secrets.append(cls.secret)
        cls.server = LoginServer(f"{folder}/login", stage, cls.secret, f"{folder}/app.pem")
        cls.addClassCleanup(cls.server.kill)
        cls.server.start()
        cls.pfx, _ = make_pfx(folder, "ann", "a password")
        stage.secrets.append("a password")

    def config(self, **client):
        """A configuration with these keys of [client]."""
        path = f"{self.stage.folder}/client-{secrets.token_hex(4)}.conf"
        values = {"records": f"http://127.0.0.1:{self.server.store_port}/beta", "hub": self.stage.url,
                  "authority": f"http://127.0.0.1:{self.server.port}", "tenant": "example.org",
                  "public_key": self.stage.public_keys["sealing"], "key_name": "sealing", **client}
        with open(path, "w") as file:
            file.write("[client]\n" + "".join(f"{name} = {value}\n" for name, value in values.items() if value))
        return path

    def by_secret(self, **more):
        return self.config(**{"login": "secret", "client_id": "by-secret",
                              "client_secret": f"file:{self.stage.folder}/app.secret", **more})

    def by_certificate(self, **more):
        folder = self.stage.folder
        return self.config(**{"login": "certificate", "client_id": "by-certificate", "login_key": f"file:{folder}/app.key",
                              "login_certificate": f"{folder}/app.pem", **more})

    def fails(self, status, config, *words):
        done = self.stage.reseal("pfx", "list", config=config)
        self.assertEqual(done.returncode, status, done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)
        self.assertIn("hint: ", done.stderr)
        return done.stderr

    def works(self, config):
        """Imports, lists and removes."""
        done = self.stage.succeeds("pfx", "import", "--pfx", self.pfx, "--user", "ann@example.org", "--password",
                                   f"file:{self.stage.folder}/ann.password", config=config)
        record_id = done.stdout.strip()
        listed = json.loads(self.stage.succeeds("pfx", "list", "--json", config=config).stdout)
        self.assertEqual([record["id"] for record in listed["records"]], [record_id])
        self.stage.succeeds("pfx", "remove", record_id, config=config)

    def test_the_store_takes_nobody_without_a_token_of_the_server(self):
        write_secret(f"{self.stage.folder}/forged", secrets.token_urlsafe(32))
        self.fails(5, self.config(records_token=f"file:{self.stage.folder}/forged"), "401", "InvalidAuthenticationToken",
                   "of-the-store")

    def test_the_hubs_token_goes_to_no_other_record_store(self):
        done = self.stage.reseal("pfx", "list", config=self.config(api_token=f"file:{self.stage.folder}/api-token"))
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn("records_token", done.stderr)

    def test_an_application_logs_in_with_its_secret(self):
        self.works(self.by_secret())

    def test_an_application_logs_in_with_its_certificate(self):
        self.works(self.by_certificate())

    def test_the_key_of_the_certificate_may_be_on_a_token(self):
        stage, folder = self.stage, self.stage.folder
        tool("openssl", "pkey", "-in", f"{folder}/app.key", "-out", f"{folder}/app.der", "-outform", "DER")
        options = ["--module", stage.token.module, "--token-label", stage.token.label, "--login", "--pin", stage.token.pin]
        tool("pkcs11-tool", *options, "--write-object", f"{folder}/app.der", "--type", "privkey", "--label", "importer",
             "--id", "77", "--usage-sign", env=stage.env)
        tool("openssl", "pkey", "-in", f"{folder}/app.key", "-pubout", "-out", f"{folder}/app.pub.der", "-outform", "DER")
        tool("pkcs11-tool", *options, "--write-object", f"{folder}/app.pub.der", "--type", "pubkey", "--label", "importer",
             "--id", "77", "--usage-sign", env=stage.env)
        self.works(self.by_certificate(
            login_key=None, login_pin=f"file:{stage.token.pin_file}",
            login_uri=f"pkcs11:token={stage.token.label};object=importer?module-path={stage.token.module}"))

    def test_a_login_that_runs_out_within_a_list_is_renewed(self):
        folder = self.stage.folder
        rows = ["pfx,user,password"]
        for i in range(3):
            pfx, _ = make_pfx(folder, f"member{i}", "a password")
            rows.append(f"{pfx},member{i}@example.org,a password")
        write_secret(f"{folder}/list.csv", "\n".join(rows) + "\n")
        self.server.call("/refuse?count=1")
        done = self.stage.succeeds("pfx", "import", "--list", f"{folder}/list.csv", config=self.by_certificate())
        self.assertIn("3 imported, 0 there already, 0 failed", done.stderr)
        for record_id in done.stdout.split():
            self.stage.succeeds("pfx", "remove", record_id, config=self.by_certificate())

    def test_doctor_logs_in_as_well(self):
        for config, mark, words in ((self.by_certificate(), "ok", "gives us a token for"),
                                    (self.by_secret(client_id="nobody"), "failure", "invalid_client")):
            done = self.stage.reseal("doctor", "--json", config=config)
            lines = [line for line in json.loads(done.stdout)["findings"] if line["area"] == "client"]
            self.assertTrue(any(line["mark"] == mark and words in line["text"] for line in lines), lines)

    def test_what_the_server_refuses_is_said_in_its_words(self):
        folder = self.stage.folder
        wrong = secrets.token_urlsafe(24)
        self.stage.secrets.append(wrong)
        write_secret(f"{folder}/wrong.secret", wrong)
        said = self.fails(5, self.by_secret(client_secret=f"file:{folder}/wrong.secret"), "invalid_client", "client_id")
        self.assertNotIn(wrong, said)
        self.fails(5, self.by_secret(client_id="nobody"), "invalid_client")
        self.fails(5, self.by_secret(scope="https://elsewhere.example/.default"), "InvalidAuthenticationToken")
        tool("openssl", "req", "-x509", "-newkey", "rsa:2048", "-noenc", "-keyout", f"{folder}/other.key", "-out",
             f"{folder}/other.pem", "-subj", "/CN=other", "-days", "30")
        os.chmod(f"{folder}/other.key", 0o600)
        self.fails(5, self.by_certificate(login_key=f"file:{folder}/other.key", login_certificate=f"{folder}/other.pem"),
                   "invalid_client")

    def test_mistakes_in_the_settings_are_told_before_anything_is_sent(self):
        folder = self.stage.folder
        tool("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-keyout",
             f"{folder}/ec.key", "-out", f"{folder}/ec.pem", "-subj", "/CN=ec", "-days", "30")
        os.chmod(f"{folder}/ec.key", 0o600)
        tool("openssl", "genrsa", "-out", f"{folder}/stray.key", "2048")
        os.chmod(f"{folder}/stray.key", 0o600)
        for status, config, word in (
                (2, self.by_secret(tenant=None), "tenant"), (2, self.by_secret(client_id=None), "client_id"),
                (2, self.by_secret(client_secret=None), "client_secret"),
                (2, self.by_certificate(login_key=None), "login_key"),
                (2, self.by_certificate(login_uri="pkcs11:token=x?module-path=/x.so"), "login_uri"),
                (2, self.by_certificate(login_certificate=None), "login_certificate"),
                (1, self.by_certificate(login_certificate=f"{folder}/app.key"), "login_certificate"),
                (1, self.by_certificate(login_key=f"file:{folder}/stray.key"), "app.pem"),
                (1, self.by_certificate(login_key=f"file:{folder}/ec.key", login_certificate=f"{folder}/ec.pem"), "RSA"),
                (2, self.by_secret(authority="ftp://127.0.0.1"), "authority"),
                (2, self.by_secret(authority="http://login.example"), "authority"),
                (2, self.by_secret(records="http://graph.example/beta"), "records"),
                (5, self.by_secret(authority="http://127.0.0.1:1"), "127.0.0.1")):
            with self.subTest(word=word):
                done = self.stage.reseal("pfx", "list", config=config)
                self.assertEqual(done.returncode, status, done.stderr)
                self.assertIn(word, done.stderr)

    def begin(self, out):
        config = self.config(client_id="by-person", scope=f"openid http://127.0.0.1:{self.server.store_port}/.default",
                             records_token=f"file:{out}")
        login = subprocess.Popen([f"{BIN}/reseal", "login", "--out", out, "--json", "--config", config],
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(login.kill)
        said = ""
        while "type this code" not in said:
            line = login.stderr.readline()
            self.assertNotEqual(line, "", said)
            said += line
        return config, login, re.search(r"type this code:\s+(\S+)", said)[1], said

    def test_a_person_logs_in_with_a_browser(self):
        out = f"{self.stage.folder}/person-token"
        config, login, code, said = self.begin(out)
        self.assertIn(f"http://127.0.0.1:{self.server.port}/device", said)
        self.assertIsNone(login.poll())
        self.server.person(code)
        stdout, stderr = login.communicate(timeout=PATIENCE)
        self.assertEqual(login.returncode, 0, stderr)
        self.assertEqual(json.loads(stdout)["file"], out)
        self.assertEqual(os.stat(out).st_mode & 0o777, 0o600)
        with open(out) as file:
            self.assertNotIn(file.read().strip(), stdout + stderr + said)
        self.works(config)

    def test_a_person_who_declines_ends_the_login(self):
        out = f"{self.stage.folder}/declined"
        _, login, code, _ = self.begin(out)
        self.server.person(code, "no")
        _, stderr = login.communicate(timeout=PATIENCE)
        self.assertEqual(login.returncode, 5, stderr)
        self.assertIn("access_denied", stderr)
        self.assertFalse(os.path.exists(out))

    def test_a_server_that_is_away_for_a_moment_does_not_end_a_login(self):
        out = f"{self.stage.folder}/later"
        _, login, code, _ = self.begin(out)
        self.server.call("/away?count=1")
        self.server.person(code)
        _, stderr = login.communicate(timeout=PATIENCE)
        self.assertEqual(login.returncode, 0, stderr)

    def test_login_wants_a_file(self):
        done = self.stage.reseal("login", config=self.config(client_id="by-person"))
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn("--out", done.stderr)
        done = self.stage.reseal("login", "--out", "/nowhere/token", config=self.config(client_id="by-person"))
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("/nowhere/token", done.stderr)
        self.assertNotIn("type this code", done.stderr)


if __name__ == "__main__":
    unittest.main()
