# SPDX-License-Identifier: Apache-2.0
"""The connector's way to its queue through a proxy that wants a password."""
import os
import secrets
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import StageTest, stable_port, write_secret  # noqa: E402
from proxies import TlsFront, Tinyproxy  # noqa: E402


class ThroughProxy(StageTest):
    @classmethod
    def prepare(cls):
        folder = cls.stage.folder
        cls.password = secrets.token_hex(12)
        cls.stage.secrets.append(cls.password)
        cls.proxy = Tinyproxy(f"{folder}/proxy", "connector", cls.password)
        cls.addClassCleanup(cls.proxy.stop)
        cls.tls_hub = TlsFront(f"{folder}/tls-hub", cls.stage.port)
        cls.tls_proxy = TlsFront(f"{folder}/tls-proxy", cls.proxy.port)
        for front in (cls.tls_hub, cls.tls_proxy):
            cls.addClassCleanup(front.stop)
        cls.good = f"{folder}/proxy-credentials"
        write_secret(cls.good, f"connector:{cls.password}\n")
        cls.device = cls.stage.ca.issue("laptop")

    def section(self, **more):
        return {"proxy": f"http://127.0.0.1:{self.proxy.port}",
                "proxy_credentials": f"file:{self.good}", "wait": 1,
                # A proxy may keep up the receive of a connector that has gone: what the hub still
                # hands out there is back when its lease ends.
                "lease": 10, **more}

    def tls(self, **more):
        return self.section(endpoint=f"https://127.0.0.1:{self.tls_hub.port}",
                            ca_file=self.tls_hub.ca, **more)

    def delivers(self, name, queue):
        """A connector with that way to the queue does a delivery; only it runs meanwhile."""
        connector = self.stage.connector(name, queue=queue)
        password = name.encode()
        outcome = self.stage.api.outcome(
            self.stage.api.deliver(self.stage.escrow(password), self.device))
        self.opens(self.device, outcome, password)
        connector.stop()

    def doctor_says(self, name, queue, *wanted):
        done = self.stage.reseal("doctor", config=self.stage.config(name, queue=queue))
        self.assertEqual(done.returncode, 5, done.stdout + done.stderr)
        for text in wanted:
            self.assertIn(text, done.stdout + done.stderr)

    def test_http_through_the_proxy(self):
        self.delivers("plain", self.section())
        self.assertTrue(self.proxy.said(f"POST http://127.0.0.1:{self.stage.port}/"))

    def test_https_through_a_tunnel(self):
        before = self.tls_hub.connections
        self.delivers("tunnel", self.tls())
        self.assertTrue(self.proxy.said(f"CONNECT 127.0.0.1:{self.tls_hub.port}"))
        self.assertGreater(self.tls_hub.connections, before)

    def test_a_proxy_that_speaks_tls_itself(self):
        both = f"{self.stage.folder}/both.pem"
        with open(both, "w") as out:
            for front in (self.tls_hub, self.tls_proxy):
                with open(front.ca) as file:
                    out.write(file.read())
        before = self.tls_proxy.connections
        self.delivers("tls-proxy", self.tls() | {
            "proxy": f"https://127.0.0.1:{self.tls_proxy.port}", "ca_file": both})
        self.assertGreater(self.tls_proxy.connections, before)

    def test_what_no_proxy_names_is_reached_without(self):
        nobody = f"http://127.0.0.1:{stable_port()}"
        for i, hosts in enumerate(("127.0.0.1", "example.org, 127.0.0.0/8")):
            self.delivers(f"without-{i}", {"proxy": nobody, "no_proxy": hosts})

    def test_a_refusal_of_the_proxy_is_told_as_one(self):
        write_secret(f"{self.stage.folder}/wrong", "connector:wrong\n")
        wrong = {"proxy_credentials": f"file:{self.stage.folder}/wrong"}
        answers = f"the proxy http://127.0.0.1:{self.proxy.port} answers with status"
        self.doctor_says("wrong", self.tls(**wrong), answers, "user and password that")
        self.doctor_says("none", self.tls(proxy_credentials=None), f"{answers} 407",
                         "set proxy_credentials of [queue]")
        # This proxy closes the connection on a body that it will not pass on.
        self.doctor_says("wrong-plain", self.section(**wrong), "proxy_credentials", "proxy http")

    def test_a_proxy_that_is_away_is_told_by_its_name(self):
        port = stable_port()
        self.doctor_says("away", self.section(proxy=f"http://127.0.0.1:{port}"), f"{port}")

    def test_credentials_that_are_mended_are_taken_without_a_restart(self):
        path = f"{self.stage.folder}/mended"
        write_secret(path, "connector:outdated\n")
        connector = self.stage.connector("mended",
                                         queue=self.tls(proxy_credentials=f"file:{path}"))
        connector.wait_event(lambda event: event.get("event") == 2203)
        write_secret(path, f"connector:{self.password}\n")
        connector.wait_event(lambda event: event.get("message") == "requests can be received again")
        connector.stop()

    def test_a_password_in_the_proxys_url_is_refused(self):
        config = self.stage.config(
            "in-url", queue={"proxy": f"http://connector:{self.password}@127.0.0.1:3128"})
        done = self.stage.reseal("doctor", config=config)
        self.assertEqual(done.returncode, 5, done.stdout + done.stderr)
        self.assertIn("must not carry a user or password", done.stdout + done.stderr)


if __name__ == "__main__":
    unittest.main()
