#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A proxy between connectors and a queue service that does to requests and answers what networks,
load balancers and queue engines do.

    queue_proxy.py --seed SEED --upstream PORT --listen PORT[,PORT...] [--rate 0.3] [--log FILE]

Each port is one client. What happens to request number N of client K follows from SEED, K and N
alone: the plan of a run replays from its seed (--plan prints its beginning). Which operation has that
number, and what else happens at that moment, is the machine's timing, and does not replay.

SIGUSR1 ends the faults; requests then pass. SIGTERM ends the proxy. Both, and SIGUSR2, write the
counts of every fault so far as one JSON line on standard output. The log has one JSON line for each
request with a fault.
"""
import argparse
import asyncio
import collections
import itertools
import json
import random
import signal
import sys

# What can happen to every request ...
ALWAYS = {
    "drop-request": "the connection ends before the service has the request",
    "drop-answer": "the service has done it; the connection ends without an answer",
    "repeat": "the service gets it twice; the second answer counts",
    "delay-request": "it arrives late",
    "delay-answer": "it is done at once and answered late",
    "reorder": "it arrives after the client's next one",
    "cut-request": "the service gets half of its body, and an end",
    "cut-answer": "the answer ends in the middle of its body",
    "short-answer": "the body of the answer is cut, and says that it is whole",
    "401": "refused, not done", "403": "refused, not done",
    "429": "not done, with Retry-After", "500": "done or not done", "503": "the same, with Retry-After",
}
# ... and what to a receive that finds something, or could have.
RECEIVED = {
    "stale-receipt": "the receipt handle is an old one of that message",
    "twice": "a message that another client holds comes, too",
}
RATE = 0.3         # of all requests
REMEMBERED = 200  # messages that may be served a second time
BODY_MAX = 32 * 1024 * 1024


class Plan:
    """What happens to each request."""

    def __init__(self, seed, rate):
        self.seed, self.rate = seed, rate

    def at(self, client, number, operation):
        """The fault, or None, and the generator of its details."""
        chance = random.Random(f"{self.seed}/{client}/{number}")
        if chance.random() >= self.rate:
            return None, chance
        choice = chance.random()
        kinds = sorted(ALWAYS)
        if operation == "ReceiveMessage" and choice < 0.4:
            return sorted(RECEIVED)[int(choice / 0.2)], chance
        return chance.choice(kinds), chance


class Cut(Exception):
    """The client's connection is to end now."""


async def read_message(reader):
    """One HTTP message: head as it came, names in lower case, body."""
    head = await reader.readuntil(b"\r\n\r\n")
    fields = {}
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        fields[name.strip().lower().decode("latin-1")] = value.strip().decode("latin-1")
    body = b""
    if fields.get("transfer-encoding", "").lower() == "chunked":
        while size := int((await reader.readline()).split(b";")[0], 16):
            body += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
        head = head.replace(b"chunked", b"identity")
    else:
        length = int(fields.get("content-length", "0"))
        if length > BODY_MAX:
            raise Cut
        body = await reader.readexactly(length)
    return head, fields, body


def with_body(head, body):
    """The head of an answer for another body."""
    lines = [line for line in head.split(b"\r\n") if line
             and not line.lower().startswith((b"content-length:", b"transfer-encoding:"))]
    return b"\r\n".join([*lines, b"Content-Length: %d" % len(body), b"", b""])


def made_answer(status, chance):
    names = {"401": ("Unauthorized", "com.amazonaws.sqs#InvalidClientTokenId"),
             "403": ("Forbidden", "com.amazonaws.sqs#AccessDenied"),
             "429": ("Too Many Requests", "com.amazonaws.sqs#RequestThrottled"),
             "500": ("Internal Server Error", "com.amazonaws.sqs#InternalFailure"),
             "503": ("Service Unavailable", "com.amazonaws.sqs#ServiceUnavailable")}
    reason, kind = names[status]
    # Some come from what stands before the service, and are no JSON.
    body = json.dumps({"__type": kind, "message": "as planned"}) if chance.random() < 0.7 \
        else f"<html><h1>{status} {reason}</h1></html>"
    head = f"HTTP/1.1 {status} {reason}\r\nContent-Type: application/x-amz-json-1.0\r\n"
    if status in ("429", "503") and chance.random() < 0.7:
        head += "Retry-After: 1\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


class Proxy:
    def __init__(self, plan, upstream, log):
        self.plan, self.upstream, self.log = plan, upstream, log
        self.counts = collections.Counter()
        self.numbers = collections.defaultdict(itertools.count)
        self.passed = collections.defaultdict(asyncio.Event)  # client -> its next request is through
        self.receipts = {}                                    # message id -> its first receipt handle
        self.held = collections.deque(maxlen=REMEMBERED)      # (client, message)
        self.faults = True

    async def ask(self, head, body, part=None):
        """What the service answers; with `part`, it gets only so many bytes of the body."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.upstream)
        except OSError:
            self.counts["service-away"] += 1
            raise Cut from None
        try:
            writer.write(head + (body if part is None else body[:part]))
            await writer.drain()
            if part is not None:
                raise Cut
            answer, _, text = await read_message(reader)
            return answer, text
        except (OSError, asyncio.IncompleteReadError):
            self.counts["service-away"] += 1
            raise Cut from None
        finally:
            writer.close()

    # -- faults --

    async def reorder(self, client):
        later = self.passed[client] = asyncio.Event()
        try:
            await asyncio.wait_for(later.wait(), 1)
        except asyncio.TimeoutError:
            return False  # nothing came that could overtake it
        return True

    def change_messages(self, fault, client, chance, text):
        """The body of a receive's answer, changed; None where there is nothing to change."""
        try:
            answer = json.loads(text or b"{}")
        except ValueError:
            return None
        messages = answer.get("Messages", [])
        if fault == "stale-receipt":
            if not messages:
                return None
            message = chance.choice(messages)
            handle = message["ReceiptHandle"]
            old = self.receipts.get(message["MessageId"], handle)
            # Where the message was not received before, one that never was: no other message's.
            message["ReceiptHandle"] = old if old != handle else \
                handle[:-8] + "".join(chance.choice("0123456789abcdef") for _ in range(8))
        else:
            others = [message for owner, message in self.held if owner != client and
                      message["MessageId"] not in {m["MessageId"] for m in messages}]
            if not others or len(messages) == 10:
                return None
            messages.append(chance.choice(others))
        answer["Messages"] = messages
        return json.dumps(answer).encode()

    def remember(self, client, text):
        try:
            messages = json.loads(text or b"{}").get("Messages", [])
        except ValueError:
            return
        for message in messages:
            self.receipts.setdefault(message["MessageId"], message["ReceiptHandle"])
            self.held.append((client, message))

    async def refuse(self, fault, chance, head, body):
        if fault in ("500", "503") and chance.random() < 0.5:
            await self.ask(head, body)
        return made_answer(fault, chance)

    async def carry(self, client, fault, chance, operation, head, body):
        """What the client gets, and whether its connection ends after it."""
        if fault == "drop-request":
            raise Cut
        if fault in ("401", "403", "429", "500", "503"):
            return await self.refuse(fault, chance, head, body), False
        if fault == "cut-request":
            await self.ask(head, body, part=len(body) // 2)
        if fault == "delay-request":
            await asyncio.sleep(chance.uniform(0.05, 1.5))
        if fault == "reorder" and not await self.reorder(client):
            fault = None
            self.counts["reorder"] -= 1
        if fault == "repeat":
            await self.ask(head, body)
        answer, text = await self.ask(head, body)
        if operation == "ReceiveMessage" and fault in RECEIVED:
            changed = self.change_messages(fault, client, chance, text)
            if changed is None:
                self.counts[fault] -= 1
            else:
                return with_body(answer, changed) + changed, False
        if operation == "ReceiveMessage":
            self.remember(client, text)
        if fault == "drop-answer":
            raise Cut
        if fault == "delay-answer":
            await asyncio.sleep(chance.uniform(0.05, 1.5))
        whole = with_body(answer, text) + text
        if fault == "cut-answer":
            return whole[:len(whole) - len(text) + len(text) // 2], True
        if fault == "short-answer":
            text = text[:len(text) // 2]
            return with_body(answer, text) + text, False
        return whole, False

    # -- connections --

    async def one_request(self, client, reader, writer):
        head, fields, body = await read_message(reader)
        operation = fields.get("x-amz-target", "").rpartition(".")[2]
        number = next(self.numbers[client])
        fault, chance = self.plan.at(client, number, operation) if self.faults else (None, None)
        self.counts["requests"] += 1
        if fault is not None:
            self.counts[fault] += 1
            self.log.write(json.dumps({"client": client, "number": number, "operation": operation,
                                       "fault": fault}) + "\n")
        if fault != "reorder":  # it may overtake one that waits
            waiting = self.passed.pop(client, None)
        else:
            waiting = None
        answer, ends = await self.carry(client, fault, chance, operation, head, body)
        if waiting is not None:
            waiting.set()
        writer.write(answer)
        await writer.drain()
        if ends:
            raise Cut

    async def serve(self, client, reader, writer):
        try:
            while True:
                await self.one_request(client, reader, writer)
        except (Cut, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            pass
        finally:
            writer.close()

    def say_counts(self):
        print(json.dumps(self.counts), flush=True)
        self.log.flush()

    def calm(self):
        self.faults = False
        self.say_counts()


async def run(options):
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    with open(options.log or "/dev/null", "w") as log:
        proxy = Proxy(Plan(options.seed, options.rate), options.upstream, log)
        for client, port in enumerate(options.listen.split(",")):
            await asyncio.start_server(lambda r, w, c=client: proxy.serve(c, r, w), "127.0.0.1",
                                       int(port), limit=BODY_MAX)
        loop.add_signal_handler(signal.SIGUSR1, proxy.calm)
        loop.add_signal_handler(signal.SIGUSR2, proxy.say_counts)
        loop.add_signal_handler(signal.SIGTERM, ended.set)
        print("listening", flush=True)
        await ended.wait()
        proxy.say_counts()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", required=True)
    parser.add_argument("--rate", type=float, default=RATE)
    parser.add_argument("--upstream", type=int)
    parser.add_argument("--listen")
    parser.add_argument("--log")
    parser.add_argument("--plan", type=int, metavar="N", help="print the plan of N requests a client")
    options = parser.parse_args()
    if options.plan is not None:
        plan = Plan(options.seed, options.rate)
        for client in range(3):
            for number in range(options.plan):
                for operation in ("ReceiveMessage", "other"):
                    print(client, number, operation, plan.at(client, number, operation)[0])
        return 0
    asyncio.run(run(options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
