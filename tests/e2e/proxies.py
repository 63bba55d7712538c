# SPDX-License-Identifier: Apache-2.0
"""A real proxy, tinyproxy, on loopback; and TLS in front of what has none."""
import asyncio
import os
import socket
import ssl
import subprocess
import threading

from daemon import wait_until
from harness import stable_port
from peer import tool


class Tinyproxy:
    def __init__(self, folder, user, password):
        self.folder, self.port = folder, stable_port()
        self.log = f"{folder}/tinyproxy.log"
        os.makedirs(folder)
        config = f"{folder}/tinyproxy.conf"
        with open(os.open(config, os.O_WRONLY | os.O_CREAT, 0o600), "w") as out:
            out.write(f"Port {self.port}\nListen 127.0.0.1\nAllow 127.0.0.1\nTimeout 60\n"
                      f"MaxClients 50\nLogFile \"{self.log}\"\nLogLevel Connect\n"
                      f"BasicAuth {user} {password}\n")
        self.process = subprocess.Popen(["tinyproxy", "-d", "-c", config], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                        start_new_session=True)
        wait_until(self.listens, "tinyproxy listens")

    def listens(self):
        if self.process.poll() is not None:
            raise AssertionError("tinyproxy has ended")
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def said(self, text):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return text in log.read()

    def stop(self):
        self.process.terminate()
        self.process.wait(20)


class TlsFront:
    """Takes TLS on a port of its own and passes what is inside to a port that has none."""

    def __init__(self, folder, target):
        os.makedirs(folder)
        self.ca, self.target = f"{folder}/cert.pem", target
        tool("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-noenc", "-keyout", f"{folder}/key.pem", "-out", self.ca, "-days", "2", "-subj",
             "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1")
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(self.ca, f"{folder}/key.pem")
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.connections = 0
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        """One thread for all: a TLS connection is nothing that two threads may use at a time."""
        asyncio.set_event_loop(self.loop)
        self.loop.set_exception_handler(lambda loop, context: None)  # clients that trust us not
        self.loop.run_until_complete(
            asyncio.start_server(self._serve, sock=self.listener, ssl=self.context))
        self.loop.run_forever()

    async def _serve(self, reader, writer):
        self.connections += 1
        outside = await asyncio.open_connection("127.0.0.1", self.target)
        await asyncio.gather(self._pump(reader, outside[1]), self._pump(outside[0], writer))

    @staticmethod
    async def _pump(source, sink):
        try:
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
        except OSError:
            pass
        sink.close()

    def stop(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.listener.close()
