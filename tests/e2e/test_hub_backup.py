# SPDX-License-Identifier: Apache-2.0
"""Backups of a hub that is at work, and what happens to a database that is damaged."""
import contextlib
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from hub_support import HUB, RECORDS, SLOW, Hub, b64, order, record  # noqa: E402

BODY = "x" * 20_000


class HubCase(unittest.TestCase):
    def start(self, **settings):
        hub = Hub(**settings)
        self.addCleanup(hub.close)
        return hub

    def path(self, hub, name):
        return os.path.join(hub.folder, name)

    def command(self, hub, *arguments):
        done = subprocess.run([HUB, "--config", hub.config, *arguments], capture_output=True, text=True,
                              timeout=SLOW, check=False)
        self.assertNotIn(hub.token, done.stderr)
        return done.returncode, done.stderr

    def succeed(self, hub, *arguments):
        status, said = self.command(hub, *arguments)
        self.assertEqual(status, 0, said)
        return said

    def fail_with(self, hub, *arguments, words):
        status, said = self.command(hub, *arguments)
        self.assertEqual(status, 1, said)
        self.assertIn(words, said)

    def bodies(self, hub, queue):
        found = set()
        while messages := hub.receive(queue, MaxNumberOfMessages=10, VisibilityTimeout=3600):
            found.update(message["Body"] for message in messages)
        return found


class Backup(HubCase):
    def fill(self, hub, queue, count):
        for start in range(0, count, 10):
            entries = [{"Id": str(n), "MessageBody": f"{n} {BODY}"} for n in range(start, start + 10)]
            answer = hub.sqs("SendMessageBatch", QueueUrl=hub.url(queue), Entries=entries)
            self.assertEqual(len(answer.json["Successful"]), 10, answer)

    def test_a_backup_under_load_holds_all_that_was_acknowledged_before_it(self):
        hub = self.start()
        queue = hub.new_queue()
        self.fill(hub, queue, 400)  # so that the copy takes many steps
        acknowledged, done = set(), threading.Event()

        def work(number):
            count = 0
            while not done.is_set():
                count += 1
                text = f"{number}/{count} {BODY}"
                if hub.send(queue, text).status == 200:
                    acknowledged.add(text)

        workers = [threading.Thread(target=work, args=(i,)) for i in range(3)]
        for worker in workers:
            worker.start()
        self.addCleanup(done.set)
        try:
            for number in range(3):
                identity = hub.api("POST", RECORDS, record(thumbprint=f"{number:040x}")).json["id"]
                delivery = hub.api("POST", "/v1/deliveries", order(identity)).json["id"]
                before = set(acknowledged)
                copy = self.path(hub, f"copy-{number}.db")
                self.assertIn("checked", self.succeed(hub, "backup", copy))
                self.assertEqual(os.stat(copy).st_mode & 0o777, 0o600)
                self.assertEqual(hub.call("GET", "/healthz").status, 200)
        finally:
            done.set()
            for worker in workers:
                worker.join(SLOW)
        self.assertGreater(len(before), 3)
        left = [name for name in os.listdir(hub.folder) if name.startswith(("copy-", "hub.db."))]
        self.assertEqual(sorted(left), ["copy-0.db", "copy-1.db", "copy-2.db", "hub.db.control"])
        hub.stop()
        hub.settings["database"] = "copy-2.db"
        hub.start()
        found = self.bodies(hub, queue)
        self.assertLessEqual(before, found)
        self.assertLessEqual({f"{n} {BODY}" for n in range(400)}, found)
        self.assertLessEqual(found, acknowledged | {f"{n} {BODY}" for n in range(400)})
        self.assertEqual(hub.api("GET", f"/v1/deliveries/{delivery}").json["state"], "pending")

    def test_a_backup_never_overwrites_and_needs_a_running_hub(self):
        hub = self.start()
        copy = self.path(hub, "copy.db")
        self.succeed(hub, "backup", copy)
        self.fail_with(hub, "backup", copy, words="never overwritten")
        self.fail_with(hub, "backup", self.path(hub, "none/copy.db"), words="cannot create")
        self.fail_with(hub, "backup", self.path(hub, "none/copy.db"), words="a folder that is there")
        done = subprocess.run([HUB, "check", copy], capture_output=True, text=True, timeout=SLOW)
        self.assertEqual(done.returncode, 0, done.stderr)  # by a file alone, without a configuration
        control = self.path(hub, "hub.db.control")
        self.assertEqual(os.stat(control).st_mode & 0o077, 0)
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.connect(control)
            stranger.sendall(b"delete everything\n")
            self.assertIn(b"no request", stranger.recv(1000))
        self.succeed(hub, "backup", self.path(hub, "second.db"))
        hub.stop()
        self.assertFalse(os.path.exists(control))
        self.fail_with(hub, "backup", self.path(hub, "third.db"), words="no hub answers")
        self.assertFalse(os.path.exists(self.path(hub, "third.db")))

    def test_a_hub_that_is_killed_in_the_middle_of_a_backup_leaves_nothing_of_it(self):
        hub = self.start()
        queue = hub.new_queue()
        self.fill(hub, queue, 200)
        copy, partly = self.path(hub, "copy.db"), self.path(hub, "hub.db.backup")
        command = subprocess.Popen([HUB, "--config", hub.config, "backup", copy], stderr=subprocess.PIPE, text=True)
        while not os.path.exists(partly) and command.poll() is None:
            pass
        hub.kill()
        said = command.communicate(timeout=SLOW)[1]
        if command.returncode != 0:  # otherwise the copy was whole by then, and is good
            self.assertIn("ended before the backup was whole", said)
            self.assertFalse(os.path.exists(copy))
        hub.start()
        self.assertFalse(os.path.exists(partly))
        self.assertEqual(len(self.bodies(hub, queue)), 200)

    def test_a_backup_is_restored_only_where_nothing_is(self):
        hub = self.start()
        queue = hub.new_queue()
        self.fill(hub, queue, 20)
        copy = self.path(hub, "copy.db")
        self.succeed(hub, "backup", copy)
        hub.send(queue, "after the backup")
        hub.stop()
        self.fail_with(hub, "restore", copy, words="never overwritten")
        os.rename(self.path(hub, "hub.db"), self.path(hub, "old.db"))
        with open(self.path(hub, "hub.db-wal"), "wb"):
            pass  # a log that belongs to another database
        self.fail_with(hub, "restore", copy, words="hub.db-wal exists")
        os.unlink(self.path(hub, "hub.db-wal"))
        self.succeed(hub, "restore", copy)
        self.succeed(hub, "check")
        hub.start()
        self.assertEqual(self.bodies(hub, queue), {f"{n} {BODY}" for n in range(20)})


class Damage(HubCase):
    def filled(self):
        hub = self.start()
        queue = hub.new_queue()
        for number in range(8):
            hub.send(queue, f"{number} {BODY}")
        hub.api("POST", RECORDS, record(encryptedPfxBlob=b64(b"p" * 9_000)))
        hub.stop()
        return hub, queue

    def flip(self, path, offset):
        with open(path, "r+b") as file:
            file.seek(offset)
            byte = file.read(1)
            file.seek(offset)
            file.write(bytes([byte[0] ^ 0x55]))

    def test_flipped_bytes_are_refused_at_the_start_or_found_by_the_check(self):
        hub, _ = self.filled()
        database, good = self.path(hub, "hub.db"), self.path(hub, "good.db")
        os.rename(database, good)
        pages = os.path.getsize(good) // 4096
        refused = 0
        for page in range(pages):
            shutil.copy(good, database)
            os.chmod(database, 0o600)
            for offset in (0, 3, 5, 8):  # what every page of a tree begins with
                self.flip(database, page * 4096 + offset + (100 if page == 0 else 0))
            status, said = self.command(hub, "check")
            self.assertEqual(status, 1, f"page {page} of {pages}: {said}")
            self.assertTrue("damaged" in said or "no database" in said, said)
            refused += self.refused_at_start(hub)
            os.unlink(database)
        self.assertGreater(refused, pages // 4)  # contents are not looked into at the start
        shutil.copy(good, database)
        self.succeed(hub, "check")

    def refused_at_start(self, hub):
        """True where the hub does not start; it then says what to do and has changed nothing."""
        try:
            hub.start()
        except AssertionError as refusal:
            self.assertTrue("reseal-hub restore" in str(refusal) or "no hub database" in str(refusal), refusal)
            self.assertEqual(hub.process.wait(SLOW), 1)
            hub.process.stderr.close()
            return True
        hub.kill()
        for ending in ("-wal", ".control"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path(hub, "hub.db" + ending))
        return False

    def test_a_changed_body_is_found_by_the_check_and_ends_no_backup_well(self):
        hub, queue = self.filled()
        database = self.path(hub, "hub.db")
        with open(database, "rb") as file:
            content = file.read()
        self.flip(database, content.index(b"7 " + BODY[:1000].encode()) + 500)
        self.fail_with(hub, "check", words="the body of message")
        hub.start()
        copy = self.path(hub, "copy.db")
        self.fail_with(hub, "backup", copy, words="the body of message")
        self.assertFalse(os.path.exists(copy))
        self.assertEqual(len(self.bodies(hub, queue)), 8)

    def test_a_missing_part_is_found_by_the_check(self):
        for table, words in (("bodies", "body of message"), ("blobs", "record's PFX")):
            hub, _ = self.filled()
            with contextlib.closing(sqlite3.connect(self.path(hub, "hub.db"))) as database:
                database.execute(f"DELETE FROM {table}")
                database.commit()
            self.fail_with(hub, "check", words=words)

    def test_a_check_beside_a_running_hub_is_refused(self):
        hub = self.start()
        hub.new_queue()
        self.fail_with(hub, "check", words="a hub is running")
        self.assertEqual(hub.call("GET", "/healthz").status, 200)
        self.fail_with(hub, "check", hub.config, words="damaged")


if __name__ == "__main__":
    unittest.main()
