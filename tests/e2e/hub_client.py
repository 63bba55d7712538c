# SPDX-License-Identifier: Apache-2.0
"""The hub from outside: its API with the bearer token, and its queues with Signature Version 4."""
import datetime
import hashlib
import hmac
import http.client
import json
import time

from peer import PATIENCE, b64


class Answer:
    def __init__(self, response, body):
        self.status, self.headers, self.body = response.status, response.headers, body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        return self.json["error"]

    def __repr__(self):
        return f"<{self.status} {self.body[:300]!r}>"


def http_call(port, method, path, body=None, headers=None, seconds=PATIENCE, tls=None):
    """`tls`: an ssl.SSLContext, or None for plain HTTP."""
    if tls:
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=seconds, context=tls)
    else:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        response = connection.getresponse()
        return Answer(response, response.read())
    finally:
        connection.close()


class Api:
    """Records and deliveries, with the bearer token."""
    RECORDS = "/beta/deviceManagement/userPfxCertificates"
    tls = None

    def __init__(self, port, token):
        self.port, self.token = port, token

    def call(self, method, path, body=None, **headers):
        if isinstance(body, (dict, list)):
            body = json.dumps(body).encode()
        wanted = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        wanted.update({name.replace("_", "-"): value for name, value in headers.items()})
        return http_call(self.port, method, path, body,
                         {name: value for name, value in wanted.items() if value is not None},
                         tls=self.tls)

    def add_record(self, record):
        answer = self.call("POST", self.RECORDS, record)
        if answer.status != 201:
            raise AssertionError(f"the record was not taken: {answer}")
        return answer.json["id"]

    def order(self, record_id, device, form="cms", platform="other"):
        return self.call("POST", "/v1/deliveries", {
            "recordId": record_id, "format": form,
            "device": {"id": device.name, "platform": platform, "certificate": b64(device.der)}})

    def deliver(self, record_id, device, **more):
        answer = self.order(record_id, device, **more)
        if answer.status != 202:
            raise AssertionError(f"the delivery was not taken: {answer}")
        return answer.json["id"]

    def delivery(self, delivery_id, wait=0):
        answer = self.call("GET", f"/v1/deliveries/{delivery_id}?wait={wait}")
        if answer.status != 200:
            raise AssertionError(f"no delivery: {answer}")
        return answer.json

    def outcome(self, delivery_id, seconds=PATIENCE):
        """Waits until the delivery is no longer pending."""
        end = time.monotonic() + seconds
        while True:
            state = self.delivery(delivery_id, wait=min(20, max(1, int(end - time.monotonic()))))
            if state["state"] != "pending":
                return state
            if time.monotonic() > end:
                raise AssertionError(f"still pending after {seconds} s: {state}")


class Sqs:
    """Amazon SQS, AWS JSON 1.0, signed with Signature Version 4."""
    tls = None

    def __init__(self, port, access_key, secret_key, region="local"):
        self.port, self.region = port, region
        self.access_key, self.secret_key = access_key, secret_key

    def headers(self, operation, body, now=None):
        now = now or datetime.datetime.now(datetime.timezone.utc)
        stamp = now.strftime("%Y%m%dT%H%M%SZ")
        headers = {"content-type": "application/x-amz-json-1.0", "host": f"127.0.0.1:{self.port}",
                   "x-amz-date": stamp, "x-amz-target": f"AmazonSQS.{operation}"}
        names = ";".join(sorted(headers))
        canonical = "\n".join(
            ["POST", "/", "", *(f"{name}:{headers[name]}" for name in sorted(headers)), "", names,
             hashlib.sha256(body).hexdigest()])
        scope = f"{stamp[:8]}/{self.region}/sqs/aws4_request"
        text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope,
                          hashlib.sha256(canonical.encode()).hexdigest()])
        key = ("AWS4" + self.secret_key).encode()
        for part in scope.split("/"):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
        headers["authorization"] = (f"AWS4-HMAC-SHA256 Credential={self.access_key}/{scope}, "
                                    f"SignedHeaders={names}, Signature={signature}")
        return headers

    def call(self, operation, body, **more):
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        return http_call(self.port, "POST", "/", body, self.headers(operation, body, **more),
                         tls=self.tls)

    def does(self, operation, **body):
        answer = self.call(operation, body)
        if answer.status != 200:
            raise AssertionError(f"{operation}: {answer}")
        return answer.json if answer.body else {}

    def url(self, name):
        return self.does("GetQueueUrl", QueueName=name)["QueueUrl"]

    def create(self, name, **attributes):
        return self.does("CreateQueue", QueueName=name, Attributes=attributes)["QueueUrl"]

    def send(self, url, body):
        return self.does("SendMessage", QueueUrl=url, MessageBody=body)

    def receive(self, url, wait=5, count=10, lease=60):
        return self.does("ReceiveMessage", QueueUrl=url, MaxNumberOfMessages=count,
                         WaitTimeSeconds=wait, VisibilityTimeout=lease).get("Messages", [])

    def delete(self, url, receipt):
        self.does("DeleteMessage", QueueUrl=url, ReceiptHandle=receipt)

    def counts(self, url):
        """Messages that wait, and messages that are leased."""
        found = self.does("GetQueueAttributes", QueueUrl=url, AttributeNames=["All"])["Attributes"]
        return (int(found["ApproximateNumberOfMessages"]),
                int(found["ApproximateNumberOfMessagesNotVisible"]))
