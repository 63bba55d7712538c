# SPDX-License-Identifier: Apache-2.0
"""Whom a hub with TLS and client certificates lets in, and what it does not start with."""
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import unittest
import warnings

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from hub_support import HUB, Hub, sign, write_private  # noqa: E402
from peer import PATIENCE  # noqa: E402
from sqs_support import SdkTest  # noqa: E402
from tls_support import PAST, SETTINGS, TlsCa, context, make_pki  # noqa: E402


class Clients(SdkTest):
    """Whom the hub lets in."""
    settings = {**SETTINGS, "client_ca": "ca/clients-ca.pem", "client_crl": "ca/clients.crl"}

    @staticmethod
    def prepare(folder):
        make_pki(folder)
        TlsCa.at(f"{folder}/ca").openssl("ca", "-config", "ca.conf", "-gencrl", "-crldays", "30", "-out",
                                         "clients.crl")
        shutil.copy(f"{folder}/ca/ca.pem", f"{folder}/ca/clients-ca.pem")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.folder = cls.hub.folder
        cls.ca = TlsCa.at(f"{cls.folder}/ca")
        cls.hub.tls = context(cls.folder)

    def get(self, tls):
        with socket.create_connection(("127.0.0.1", self.hub.port), PATIENCE) as plain, \
                tls.wrap_socket(plain, server_hostname="127.0.0.1") as peer:
            peer.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answer = b""
            while piece := peer.recv(4096):
                answer += piece
            return answer, peer.version(), peer.getpeercert()

    def refused(self, tls, reason):
        """The handshake fails with this alert; the end of it reaches a client of TLS 1.3 late."""
        with self.assertRaises(ssl.SSLError) as caught:
            self.get(tls)
        self.assertIn(reason, str(caught.exception).replace("_", " ").lower())

    def test_a_client_of_the_right_ca_is_let_in_by_1_2_and_1_3(self):
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            tls = context(self.folder)
            tls.minimum_version = tls.maximum_version = version
            answer, spoken, _ = self.get(tls)
            self.assertTrue(answer.startswith(b"HTTP/1.1 200"), answer)
            self.assertEqual(spoken, version.name.replace("_", "."))

    def test_others_are_not(self):
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            def of(certificate=None):
                tls = context(self.folder, client=None)
                if certificate:
                    tls.load_cert_chain(certificate + ".pem", certificate + ".key")
                tls.minimum_version = tls.maximum_version = version
                return tls
            with self.subTest(version=version):
                self.refused(of(), "certificate required")
                self.refused(of(f"{self.folder}/other/client"), "unknown ca")
                self.refused(of(self.ca.client(f"late {version}", **PAST)), "certificate expired")
                self.refused(of(f"{self.folder}/ca/server"), "bad certificate")  # no client's

    def test_old_versions_and_plain_http_are_refused(self):
        tls = context(self.folder)
        tls.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            tls.minimum_version = ssl.TLSVersion.TLSv1
            tls.maximum_version = ssl.TLSVersion.TLSv1_1
        with self.assertRaises((ssl.SSLError, ConnectionError)):
            self.get(tls)
        with socket.create_connection(("127.0.0.1", self.hub.port), PATIENCE) as peer:
            peer.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            self.assertNotIn(b"HTTP/1.1", peer.recv(4096))

    def test_a_renewed_certificate_is_served_at_once(self):
        def serial():
            return self.get(context(self.folder))[2]["serialNumber"]
        first = serial()
        keep = {}
        for name in ("server.pem", "server.key"):
            with open(f"{self.ca.folder}/{name}") as file:
                keep[name] = file.read()
        fresh = self.ca.certificate("fresh")
        # In the order in which it is done by hand: for a moment they do not belong together.
        os.replace(fresh + ".key", f"{self.ca.folder}/server.key")
        self.assertEqual(serial(), first)
        os.replace(fresh + ".pem", f"{self.ca.folder}/server.pem")
        second = serial()
        self.assertNotEqual(second, first)
        write_private(f"{self.ca.folder}/server.pem", "no certificate")
        self.assertEqual(serial(), second)
        for name, text in keep.items():
            write_private(f"{self.ca.folder}/{name}", text)
        self.assertEqual(serial(), first)

    def crl(self, days="30"):
        """What the CA has revoked, put in its place as a person would."""
        self.ca.openssl("ca", "-config", "ca.conf", "-gencrl", *days.split(), "-out", "fresh.crl")
        os.replace(f"{self.ca.folder}/fresh.crl", f"{self.ca.folder}/clients.crl")

    def test_a_client_that_is_revoked_is_let_in_no_more(self):
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            name = f"leaver {version.name}"
            leaver = self.ca.client(name)
            tls = context(self.folder, client=name)
            tls.minimum_version = tls.maximum_version = version
            self.get(tls)
            self.ca.openssl("ca", "-config", "ca.conf", "-revoke", leaver + ".pem")
            self.get(tls)  # until the hub is told
            self.crl("-crldays 30")
            self.refused(tls, "certificate revoked")
            self.get(context(self.folder))  # the others are let in

    def test_a_crl_that_is_no_good_changes_nothing_and_one_that_runs_out_lets_nobody_in(self):
        path = f"{self.ca.folder}/clients.crl"
        with open(path) as file:
            good = file.read()
        for text in ("no CRL", ""):
            write_private(path, text)
            self.get(context(self.folder))
        # As written by a CA that the hub does not know.
        other = TlsCa.at(f"{self.folder}/other")
        other.openssl("ca", "-config", "ca.conf", "-gencrl", "-crldays", "1", "-out", "their.crl")
        shutil.copy(f"{other.folder}/their.crl", path)
        self.get(context(self.folder))
        self.crl("-crlsec 2")
        self.get(context(self.folder))
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.get(context(self.folder))
            except ssl.SSLError:
                break
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.1)
        write_private(path, good)
        self.get(context(self.folder))

    def test_a_signal_has_all_files_read_again(self):
        count = sum("read again" in line for line in self.hub.log)
        self.hub.process.send_signal(signal.SIGHUP)
        end = time.monotonic() + PATIENCE
        while sum("read again" in line for line in self.hub.log) < count + 2:
            self.get(context(self.folder))
            self.assertLess(time.monotonic(), end)

    def test_a_ca_that_is_added_is_known_at_once(self):
        path = f"{self.ca.folder}/clients-ca.pem"
        tls = context(self.folder, client=None)
        tls.load_cert_chain(f"{self.folder}/other/client.pem", f"{self.folder}/other/client.key")
        self.refused(tls, "unknown ca")
        with open(path) as file:
            alone = file.read()
        with open(f"{self.folder}/other/ca.pem") as file:
            write_private(path, alone + file.read())
        self.get(tls)
        self.get(context(self.folder))
        write_private(path, alone)
        self.refused(tls, "unknown ca")

    def test_a_client_that_goes_away_is_not_given_a_message(self):
        queue = self.hub.new_queue()
        for _ in range(3):
            connection = self.hub.connect()
            connection.connect()
            self.poll(connection, queue)
            connection.close()
        self.hub.send(queue, "for who is there")
        self.assertEqual(self.hub.receive(queue)[0]["Attributes"]["ApproximateReceiveCount"], "1")

    def poll(self, connection, queue):
        """Sends a long poll and does not wait for its answer; the hub has it when others are
        answered that came later."""
        body = json.dumps({"QueueUrl": self.hub.url(queue), "WaitTimeSeconds": 20}).encode()
        headers = sign("ReceiveMessage", body, f"127.0.0.1:{self.hub.port}", self.hub.key,
                       self.hub.secret)
        connection.request("POST", "/", body, headers)
        for _ in range(20):
            self.hub.waiting(queue)

    def test_the_sdk_comes_in_with_its_certificate(self):
        paths = {name: {"ca": f"{self.folder}/{name}/ca.pem",
                        "cert": f"{self.folder}/{name}/client.pem",
                        "key": f"{self.folder}/{name}/client.key"} for name in ("ca", "other")}
        self.passes("tls.cjs", 2, tls=paths["ca"], other=paths["other"])


class Start(unittest.TestCase):
    """What a hub does not start with."""

    @classmethod
    def setUpClass(cls):
        cls.hub = Hub(make_pki)
        cls.hub.kill()
        cls.addClassCleanup(shutil.rmtree, cls.hub.folder)

    def start(self, **settings):
        self.hub.settings = {"listen": "127.0.0.1:0", "database": "hub.db", "api_token": "file:token",
                             "credentials": "credentials", **settings}
        self.hub.write_config()
        return subprocess.run([HUB, "--config", self.hub.config], text=True, capture_output=True,
                              timeout=PATIENCE)

    def test_what_other_machines_reach_wants_tls(self):
        for listen in ("0.0.0.0:0", "[::]:0"):
            done = self.start(listen=listen)
            self.assertEqual(done.returncode, 3, done.stderr)
            self.assertIn("there is no TLS", done.stderr)
            self.assertIn("cleartext = yes", done.stderr)

    def test_incomplete_or_wrong_settings_are_named(self):
        folder = self.hub.folder
        for settings, said in (
                ({"tls_certificate": "ca/server.pem"}, "tls_key"),
                ({"client_ca": "ca/ca.pem"}, "tls_certificate"),
                ({**SETTINGS, "tls_key": "file:other/server.key"}, "not the key"),
                ({**SETTINGS, "tls_certificate": "token"}, "no chain"),
                ({**SETTINGS, "tls_key": "file:token"}, "no private key"),
                ({**SETTINGS, "client_ca": "token"}, "no certificates"),
                ({**SETTINGS, "client_crl": "token"}, "client_ca"),
                ({**SETTINGS, "client_ca": "ca/ca.pem", "client_crl": "token"}, "no CRLs"),
                ({**SETTINGS, "client_ca": "nowhere"}, "nowhere")):
            with self.subTest(settings=settings):
                done = self.start(**settings)
                self.assertIn(done.returncode, (1, 2), done.stderr)
                self.assertIn(said, done.stderr)
        os.chmod(f"{folder}/ca/server.key", 0o644)
        done = self.start(**SETTINGS)
        self.assertEqual(done.returncode, 3, done.stderr)


if __name__ == "__main__":
    unittest.main()
