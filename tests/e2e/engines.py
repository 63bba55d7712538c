# SPDX-License-Identifier: Apache-2.0
"""Queue engines that others wrote, on loopback, and a stage whose hub and connectors use one."""
import base64
import http.client
import json
import os
import secrets
import signal
import subprocess

from daemon import wait_until
from harness import SOURCE, Stage, stable_port, write_secret
from peer import PATIENCE

HERE = os.path.dirname(os.path.abspath(__file__))
MODULES = f"{SOURCE}/build/npm/node_modules"
NODE = f"{MODULES}/.bin/node"


def need_modules():
    if not os.path.exists(NODE):
        raise AssertionError(f"there is no {NODE}: scripts/npm-packages.sh install build/npm all")


class Engine:
    """A server process with a port that it keeps over restarts."""

    def __init__(self, folder):
        need_modules()
        self.folder, self.port, self.process = folder, stable_port(), None
        os.makedirs(folder, exist_ok=True)

    def start(self):
        with open(f"{self.folder}/log", "ab") as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, env=self.environment(),
                                            start_new_session=True)
        wait_until(self.answers, f"{type(self).__name__} answers", pause=0.1)
        return self

    def environment(self):
        return dict(os.environ, NODE_NO_WARNINGS="1")

    def answers(self):
        if self.process.poll() is not None:
            with open(f"{self.folder}/log", encoding="utf-8", errors="replace") as log:
                raise AssertionError(f"{type(self).__name__} has ended:\n{log.read()[-2000:]}")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/health")
            connection.getresponse().read()
            return True
        except OSError:
            return False
        finally:
            connection.close()

    def kill(self):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()


class Fauxqs(Engine):
    """Amazon SQS with what it holds in SQLite. It takes every signature."""
    kind = "sqs"
    queues = ("reseal-requests", "reseal-results")

    def command(self):
        return [NODE, f"{HERE}/engine_fauxqs.mjs", MODULES, str(self.port), f"{self.folder}/data"]

    def start(self):
        os.makedirs(f"{self.folder}/data", exist_ok=True)
        super().start()
        for name in self.queues:
            self.call("CreateQueue", QueueName=name, Attributes={})
        return self

    def call(self, operation, **body):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request("POST", "/", json.dumps(body), {
                "Content-Type": "application/x-amz-json-1.0",
                "X-Amz-Target": f"AmazonSQS.{operation}"})
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 200:
                raise AssertionError(f"{operation}: {answer.status} {text[:300]!r}")
            return json.loads(text or b"{}")
        finally:
            connection.close()

    def waiting(self, name):
        """Messages of the queue: visible ones and those in hand."""
        url = self.call("GetQueueUrl", QueueName=name)["QueueUrl"]
        found = self.call("GetQueueAttributes", QueueUrl=url, AttributeNames=["All"])["Attributes"]
        return (int(found["ApproximateNumberOfMessages"]) +
                int(found["ApproximateNumberOfMessagesNotVisible"]))

    def section(self, stage):
        return {"engine": "sqs", "endpoint": f"http://127.0.0.1:{self.port}", "region": "us-east-1",
                "credentials": f"{stage.folder}/queue/access-keys", "wait": 2}


class Azurite(Engine):
    """Azure Storage Queue, which checks signatures."""
    kind = "azure"
    account = "resealtest"
    queues = ("reseal-requests", "reseal-results", "reseal-requests-poison")

    def __init__(self, folder):
        super().__init__(folder)
        self.key = base64.b64encode(secrets.token_bytes(64)).decode()
        self.endpoint = f"http://127.0.0.1:{self.port}/{self.account}"
        self.connection = (f"DefaultEndpointsProtocol=http;AccountName={self.account};"
                           f"AccountKey={self.key};QueueEndpoint={self.endpoint};")

    def environment(self):
        return dict(super().environment(), AZURITE_ACCOUNTS=f"{self.account}:{self.key}")

    def command(self):
        return [NODE, f"{MODULES}/azurite/dist/src/queue/main.js", "--queueHost", "127.0.0.1",
                "--queuePort", str(self.port), "--location", self.folder, "--silent",
                "--disableTelemetry"]

    def start(self):
        super().start()
        for name in self.queues:
            self.sdk("create", name)
        return self

    def sdk(self, command, *arguments, body=""):
        """One command of the real client."""
        done = subprocess.run([NODE, f"{HERE}/azure_client.cjs", MODULES, command, *arguments],
                              input=f"{self.connection}\n{body}", capture_output=True, text=True,
                              timeout=2 * PATIENCE, check=False)
        if done.returncode != 0:
            raise AssertionError(f"the client of Azure: {done.stderr[-1000:]}")
        return json.loads(done.stdout)

    def waiting(self, name):
        return self.sdk("count", name)

    def sas_connection(self, permissions="raup"):
        """Read, add, update, process: no more than a connector and a hub need."""
        token = self.sdk("sas", self.queues[0], permissions)
        return f"QueueEndpoint={self.endpoint};SharedAccessSignature={token}"

    def section(self, stage, connection=None, name="connection"):
        path = f"{stage.folder}/{name}"
        write_secret(path, (connection or self.connection) + "\n")
        # The connection string names the endpoint.
        return {"engine": "azure", "endpoint": None, "credentials": path, "wait": 2, "idle_poll": 1}


class EngineStage(Stage):
    """A hub whose queue is an engine of somebody else's, and connectors that come there."""
    engine_class = Fauxqs

    def start_hub(self, port, more):
        self.engine = self.engine_class(f"{self.folder}/engine")
        self.engine.start()
        self.write_engine()
        super().start_hub(port, {"queue": "external", **more})

    def write_engine(self):
        self.hub_sections = {"queue": self.engine.section(self)}

    def config(self, name="connector", queue=None, **more):
        return super().config(name, queue={**self.hub_sections["queue"], **(queue or {})}, **more)

    def sqs_counts(self, name):
        """(visible, in hand) in a queue of the hub itself."""
        found = self.sqs.does("GetQueueAttributes", QueueUrl=self.sqs.url(name),
                              AttributeNames=["All"])["Attributes"]
        return (int(found["ApproximateNumberOfMessages"]),
                int(found["ApproximateNumberOfMessagesNotVisible"]))

    def close(self):
        super().close()
        if hasattr(self, "engine"):
            self.engine.kill()
