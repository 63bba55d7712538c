# SPDX-License-Identifier: Apache-2.0
"""The hub on a disk that is full or read-only: clear errors, nothing lost, and well again afterwards.

The disk is a small tmpfs in a mount namespace of its own, which takes root.
"""
import json
import os
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from hub_support import HUB, RECORDS, SLOW, Hub, b64, order, record  # noqa: E402

KEEP = 'mount --make-rprivate / && mount -t tmpfs -o size=%s,mode=700 reseal-test "$1" && echo ready && exec sleep infinity'


class Disk:
    """A mount namespace that a process keeps alive, and a file system that only it sees."""

    def __init__(self, size):
        self.place = tempfile.mkdtemp(prefix="hub-disk-")
        self.keeper = subprocess.Popen(["unshare", "--mount", "sh", "-c", KEEP % size, "sh", self.place],
                                       stdout=subprocess.PIPE, text=True)
        if self.keeper.stdout.readline() != "ready\n":
            self.close()
            raise AssertionError("no mount namespace: this test takes root")

    def inside(self, *command):
        return ["nsenter", "--target", str(self.keeper.pid), "--mount", "--", *command]

    def run(self, *command):
        subprocess.run(self.inside(*command), check=True, timeout=SLOW)

    def remount(self, options):
        self.run("mount", "-o", f"remount,{options}", self.place)

    def close(self):
        self.keeper.kill()
        self.keeper.wait()
        self.keeper.stdout.close()
        os.rmdir(self.place)


class HubOnDisk(Hub):
    def __init__(self, disk):
        self.disk = disk
        super().__init__(database=os.path.join(disk.place, "hub.db"))

    def command(self):
        return self.disk.inside(*super().command())


class FullDisk(unittest.TestCase):
    def start(self, size):
        self.disk = Disk(size)
        self.addCleanup(self.disk.close)
        hub = HubOnDisk(self.disk)
        self.addCleanup(hub.close)
        return hub

    def fill(self, hub, queue, size):
        """Sends until there is no room; gives what was acknowledged."""
        acknowledged = []
        for number in range(10_000):
            body = f"{number} ".ljust(size, "x")
            answer = hub.send(queue, body)
            if answer.status != 200:
                self.assertEqual((answer.status, answer.type), (503, "ServiceUnavailable"), answer)
                self.assertIn("make room on the disk", answer.json["message"])
                return acknowledged
            acknowledged.append(body)
        self.fail("the disk is never full")

    def fill_up(self, hub, queue, size):
        """To the last bit of room: where the hub's look finds some, it has taken that."""
        acknowledged = self.fill(hub, queue, size)
        while hub.call("GET", "/healthz").status == 200:
            acknowledged += self.fill(hub, queue, 500)
        return acknowledged

    def wait_well(self, hub):
        self.assertEqual(hub.call("GET", "/healthz").status, 200)

    def take_all(self, hub, queue):
        found = []
        while messages := hub.receive(queue, MaxNumberOfMessages=10, VisibilityTimeout=3600):
            found += [message["Body"] for message in messages]
        return found

    def check_full(self, hub, queue, identity):
        sick = hub.call("GET", "/healthz")
        self.assertEqual((sick.status, sick.error["number"]), (503, 4100), sick)
        for answer in (hub.api("POST", RECORDS, record(encryptedPfxBlob=b64(bytes(60_000)))),
                       hub.api("POST", "/v1/deliveries", order(identity))):
            if answer.status not in (201, 202):  # there may be room for a small one
                self.assertEqual((answer.status, answer.error["number"]), (503, 4100), answer)
                self.assertIn("make room", answer.error["message"])
        self.assertEqual(hub.api("GET", "/v1/status").status, 200)  # reading is possible
        self.assertEqual(hub.api("GET", f"{RECORDS}/{identity}").status, 200)
        events = [json.loads(line) for line in hub.log if line.startswith("{")]
        told = [event for event in events if event["level"] == "error" and "make room" in event.get("hint", "")]
        self.assertTrue(told, hub.log[-5:])
        self.assertTrue(hub.waiting(queue))

    def test_a_full_disk_is_told_loses_nothing_and_passes(self):
        hub = self.start("8m")
        queue = hub.new_queue()
        identity = hub.api("POST", RECORDS, record()).json["id"]
        acknowledged = self.fill_up(hub, queue, 50_000)
        self.check_full(hub, queue, identity)
        self.disk.remount("size=64m")
        self.wait_well(hub)
        self.assertEqual(hub.send(queue, "after").status, 200)
        self.assertEqual(sorted(self.take_all(hub, queue)), sorted([*acknowledged, "after"]))
        hub.restart()
        self.assertEqual(sum(hub.waiting(queue)), len(acknowledged) + 1)
        self.assertEqual(hub.stop(), 0)

    def test_a_hub_that_is_killed_on_a_full_disk_starts_there_again(self):
        hub = self.start("8m")
        queue = hub.new_queue()
        identity = hub.api("POST", RECORDS, record()).json["id"]
        acknowledged = self.fill_up(hub, queue, 50_000)
        for _ in range(3):
            hub.restart()
            acknowledged += self.fill_up(hub, queue, 500)  # the start may have made some room
        self.check_full(hub, queue, identity)
        self.disk.remount("size=64m")
        self.wait_well(hub)
        self.assertEqual(sorted(self.take_all(hub, queue)), sorted(acknowledged))

    def test_a_backup_without_room_fails_and_leaves_the_hub_as_it_was(self):
        hub = self.start("8m")
        queue = hub.new_queue()
        for _ in range(100):
            self.assertEqual(hub.send(queue, "x" * 50_000).status, 200)
        copy = os.path.join(hub.folder, "copy.db")
        done = subprocess.run(self.disk.inside(HUB, "--config", hub.config, "backup", copy), capture_output=True,
                              text=True, timeout=SLOW, check=False)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("as much room", done.stderr)
        self.assertFalse(os.path.exists(copy))
        self.wait_well(hub)
        self.assertEqual(hub.send(queue, "more").status, 200)
        self.assertEqual(len(self.take_all(hub, queue)), 101)

    def test_a_read_only_disk_ends_the_start_with_what_to_do(self):
        hub = self.start("8m")
        queue = hub.new_queue()
        hub.send(queue, "kept")
        for end in (hub.stop, hub.kill):  # with and without a log beside the database
            end()
            self.disk.remount("ro")
            with self.assertRaises(AssertionError) as refusal:
                hub.start()
            self.assertEqual(hub.process.wait(SLOW), 1)
            hub.process.stderr.close()
            self.assertIn("can be read, but not written", str(refusal.exception))
            self.assertIn("mounted read-only", str(refusal.exception))
            self.disk.remount("rw")
            hub.start()
        self.assertEqual(self.take_all(hub, queue), ["kept"])


if __name__ == "__main__":
    unittest.main()
