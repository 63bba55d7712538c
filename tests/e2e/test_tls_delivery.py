# SPDX-License-Identifier: Apache-2.0
"""Connectors and commands before a hub that wants TLS and client certificates."""
import os
import secrets
import shutil
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import Stage, StageTest  # noqa: E402
from hub_support import write_private  # noqa: E402
from tls_support import PAST, TlsCa, context, make_pki  # noqa: E402


class TlsStage(Stage):
    """A hub, connectors and commands that speak over TLS with client certificates."""

    def start_hub(self, port, more):
        make_pki(self.folder)
        super().start_hub(port, {"tls_certificate": f"{self.folder}/ca/server.pem",
                                 "tls_key": f"file:{self.folder}/ca/server.key",
                                 "client_ca": f"{self.folder}/ca/ca.pem", **more})
        self.url = f"https://127.0.0.1:{self.port}"
        self.api.tls = self.sqs.tls = context(self.folder)

    def identity(self, ca="ca", name="client", trusted="ca"):
        return {"ca_file": f"{self.folder}/{trusted}/ca.pem",
                "client_certificate": f"{self.folder}/{ca}/{name}.pem",
                "client_key": f"file:{self.folder}/{ca}/{name}.key"}

    def config(self, name="connector", queue=None, client=None, **sections):
        path = super().config(name, queue={**self.identity(), **(queue or {})}, **sections)
        with open(path) as file:
            text = file.read()
        lines = [f"{key} = {value}" for key, value in (client or self.identity()).items() if value]
        with open(path, "w") as out:
            out.write(text.replace("[client]\n", "[client]\n" + "\n".join(lines) + "\n"))
        return path


class Deliveries(StageTest):
    """Our own clients."""
    stage_class = TlsStage

    def test_deliveries_come_through(self):
        """With a key of the connector's own, which may do no more than it needs."""
        stage = self.stage
        key, secret = "AKCONNECTOR", secrets.token_hex(20)
        stage.secrets.append(secret)
        with open(f"{stage.folder}/queue/access-keys", "a") as out:
            out.write(f"[connector]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n"
                      "rights = receive:reseal-requests send:reseal-results\n")
        connector = stage.connector(queue={"profile": "connector"})
        device, password = stage.ca.issue("laptop"), b"over TLS"
        record = stage.escrow(password)
        api = stage.api
        for delivery in [api.deliver(record, device) for _ in range(5)]:
            self.opens(device, api.outcome(delivery), password)
        self.assertNotIn("AccessDenied", connector.tail())

    def test_commands_come_in_with_their_certificate(self):
        listed = self.stage.succeeds("pfx", "list", config=self.stage.config("good"))
        self.assertEqual(listed.returncode, 0)

    def test_a_client_that_should_not_trust_the_hub_does_not(self):
        stage = self.stage
        for identity, said in (({"trusted": "other"}, "certificate"), ({"ca": "other"}, "")):
            config = stage.config("bad", client=stage.identity(**identity))
            done = stage.reseal("pfx", "list", config=config)
            self.assertEqual(done.returncode, 5, done.stderr)
            self.assertIn(said, done.stderr)
        none = {"ca_file": f"{stage.folder}/ca/ca.pem"}
        done = stage.reseal("pfx", "list", config=stage.config("none", client=none))
        self.assertEqual(done.returncode, 5, done.stderr)

    def test_half_an_identity_and_an_open_key_are_refused(self):
        stage = self.stage
        half = {**stage.identity(), "client_key": None}
        done = stage.reseal("pfx", "list", config=stage.config("half", client=half))
        self.assertEqual(done.returncode, 2, done.stderr)
        shutil.copy(f"{stage.folder}/ca/client.key", f"{stage.folder}/open.key")
        os.chmod(f"{stage.folder}/open.key", 0o644)
        known = {**stage.identity(), "client_key": f"file:{stage.folder}/open.key"}
        done = stage.reseal("pfx", "list", config=stage.config("open", client=known))
        self.assertEqual(done.returncode, 3, done.stderr)

    def test_a_hub_of_another_name_or_past_its_time_is_not_trusted(self):
        """Another hub on the same machine, whose certificate is not for it."""
        stage = self.stage
        for name, more in (("elsewhere", {"names": "DNS:hub.example.org"}), ("late", PAST)):
            ca = TlsCa(f"{stage.folder}/{name}", name)
            ca.certificate("server", **more)
            config = f"{stage.folder}/{name}.conf"
            write_private(config, f"[hub]\nlisten = 127.0.0.1:0\ndatabase = {name}.db\n"
                          f"api_token = file:api-token\ncredentials = queue/access-keys\n"
                          f"tls_certificate = {name}/server.pem\ntls_key = file:{name}/server.key\n"
                          "[log]\nformat = json\n")
            hub = stage.daemon("reseal-hub", config, f"{name}.log")
            hub.start()
            port = hub.wait_event(lambda event: event.get("message") == "listening")["port"]
            url = f"https://127.0.0.1:{port}"
            path = stage.config(f"to-{name}", client={"ca_file": f"{ca.folder}/ca.pem"},
                                queue={"endpoint": url, "ca_file": f"{ca.folder}/ca.pem"})
            with open(path) as file:
                text = file.read().replace(stage.url, url)
            with open(path, "w") as out:
                out.write(text)
            done = stage.reseal("pfx", "list", config=path)
            self.assertEqual(done.returncode, 5, done.stderr)
            # The connector says why it gets nothing, and sends nothing there.
            connector = stage.daemon("reseald", path, f"to-{name}.log")
            connector.start()
            connector.wait_event(lambda event: "certificate" in str(event.get("text", "")).lower()
                                 or "subject name" in str(event.get("text", "")).lower())
            connector.stop()
            hub.stop()


if __name__ == "__main__":
    unittest.main()
