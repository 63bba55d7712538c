# SPDX-License-Identifier: Apache-2.0
"""Access keys and tokens of the hub: rights, keeping at rest, change while it runs."""
import configparser
import json
import os
import secrets
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from hub_support import RECORDS, SLOW, sign, write_private  # noqa: E402
from sqs_support import SdkTest  # noqa: E402

RESEAL = os.path.join(os.environ["RESEAL_BIN"], "reseal")


class AccessTest(SdkTest):
    """Keys made by the command, for a hub whose file has them wrapped."""
    settings = {"access_key_wrap": "file:wrap"}

    @staticmethod
    def prepare(folder):
        write_private(os.path.join(folder, "wrap"), secrets.token_hex(32) + "\n")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.keys = {"default": {"accessKeyId": cls.hub.key, "secretAccessKey": cls.hub.secret}}

    def path(self, name):
        return os.path.join(self.hub.folder, name)

    def read(self, name):
        with open(self.path(name)) as file:
            return file.read()

    def reseal(self, *arguments, status=0):
        done = subprocess.run([RESEAL, *arguments, "--config", self.hub.config], text=True,
                              capture_output=True, stdin=subprocess.DEVNULL, timeout=SLOW)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done

    def add(self, name, *more):
        """A new key by the command; what the client's file says."""
        self.reseal("access", "add", name, "--output", self.path(name), *more)
        self.assertEqual(os.stat(self.path(name)).st_mode & 0o777, 0o600)
        parser = configparser.ConfigParser(interpolation=None)
        parser.read(self.path(name))
        section = parser["default"]
        self.keys[name] = {"accessKeyId": section["aws_access_key_id"],
                           "secretAccessKey": section["aws_secret_access_key"]}
        return self.keys[name]

    def ask(self, key, operation="ListQueues", **parameters):
        """The kind of the answer to a request that this key signs."""
        body = json.dumps(parameters).encode()
        headers = sign(operation, body, f"127.0.0.1:{self.hub.port}", key["accessKeyId"],
                       key["secretAccessKey"])
        answer = self.hub.call("POST", "/", body, headers)
        return "done" if answer.status == 200 else answer.type

    def until(self, key, kind):
        end = time.monotonic() + SLOW
        while (found := self.ask(key)) != kind:
            self.assertLess(time.monotonic(), end, found)


class Sdk(AccessTest):
    def test_access(self):
        self.add("connector", "--rights", "receive:reseal-requests send:reseal-results")
        self.add("family", "--rights", "all:mine-*")
        fresh = {"accessKeyId": "AKFRESH", "secretAccessKey": secrets.token_urlsafe(30)}
        self.passes("access.cjs", 6, keys={**self.keys, "fresh": fresh},
                    credentials={"path": self.path("credentials")})


class Commands(AccessTest):
    def test_a_key_lives_from_its_making_to_its_removal(self):
        key = self.add("one", "--rights", "send:reseal-results")
        self.assertEqual(self.ask(key), "done")
        listed = json.loads(self.reseal("access", "list", "--json").stdout)
        [one] = [row for row in listed["keys"] if row["name"] == "one"]
        self.assertEqual(one, {"name": "one", "accessKeyId": key["accessKeyId"], "wrapped": True,
                               "rights": "send:reseal-results"})
        self.assertNotIn(key["secretAccessKey"], self.read("credentials"))
        self.reseal("access", "remove", "one")
        self.until(key, "InvalidClientTokenId")
        self.reseal("access", "remove", "one", status=1)

    def test_dead_letters_are_led_only_where_the_key_may_send(self):
        key = self.add("leader", "--rights", "all:led-* send:reseal-results-dead")
        for name in ("led-1", "led-dead"):
            self.assertEqual(self.ask(key, "CreateQueue", QueueName=name), "done")

        def policy(target):
            arn = f"arn:aws:sqs:local:000000000000:{target}"
            return {"RedrivePolicy": json.dumps({"deadLetterTargetArn": arn,
                                                 "maxReceiveCount": 1})}
        for target, kind in (("reseal-requests", "AccessDeniedException"),
                             ("not-there", "AccessDeniedException"),
                             ("led-dead", "done"), ("reseal-results-dead", "done")):
            with self.subTest(target=target):
                self.assertEqual(self.ask(key, "SetQueueAttributes", QueueUrl="led-1",
                                          Attributes=policy(target)), kind)
        self.assertEqual(self.ask(key, "CreateQueue", QueueName="led-2",
                                  Attributes=policy("reseal-requests")), "AccessDeniedException")
        self.assertEqual(self.ask(key, "GetQueueUrl", QueueName="led-2"), "QueueDoesNotExist")

    def test_dead_letters_go_back_only_where_the_key_may_send(self):
        owner = self.add("owner", "--rights", "all:back-*")
        keeper = self.add("keeper", "--rights", "manage:back-dead")
        sender = self.add("sender", "--rights", "manage:back-dead send:back-1")
        arn = "arn:aws:sqs:local:000000000000:back-dead"
        policy = {"RedrivePolicy": json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 1})}
        self.assertEqual(self.ask(owner, "CreateQueue", QueueName="back-dead"), "done")
        self.assertEqual(self.ask(owner, "CreateQueue", QueueName="back-1", Attributes=policy), "done")
        for key, kind in ((keeper, "AccessDeniedException"), (sender, "done")):
            self.assertEqual(self.ask(key, "StartMessageMoveTask", SourceArn=arn), kind)
        self.assertEqual(self.ask(owner, "CreateQueue", QueueName="back-2", Attributes=policy), "done")
        self.assertEqual(self.ask(sender, "StartMessageMoveTask", SourceArn=arn), "AccessDeniedException")

    def test_what_would_be_no_key_is_refused(self):
        self.add("two")
        before = self.read("credentials")
        for arguments, status in (
                (("add", "two", "--output", self.path("x")), 1),
                (("add", "x"), 2), (("add", "a b", "--output", self.path("x")), 2),
                (("add", "x", "--output", self.path("two")), 1),
                (("add", "x", "--output", self.path("x"), "--rights", "sned:a"), 2),
                (("add", "x", "--output", self.path("x"), "--rights", "send"), 2),
                (("add", "x", "--output", self.path("x"), "--rights", "send:a/b"), 2),
                (("token", "--output", "-"), 2)):
            with self.subTest(arguments=arguments):
                self.reseal("access", *arguments, status=status)
        self.assertFalse(os.path.exists(self.path("x")))
        self.assertEqual(self.read("credentials"), before)

    def test_a_file_that_the_first_key_makes_is_to_be_given_to_the_hub(self):
        config = self.path("fresh.conf")
        write_private(config, f"[hub]\ncredentials = {self.path('fresh')}\n")
        for name, told in (("one", "give it to the hub's user"), ("two", "takes it by itself")):
            done = subprocess.run([RESEAL, "access", "add", name, "--output", self.path(f"fresh-{name}"),
                                   "--config", config], capture_output=True, text=True, timeout=SLOW)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn(told, done.stderr)

    def test_a_key_that_may_not_move_dead_letters_is_told_of_profiles(self):
        self.add("taker", "--rights", "receive:reseal-requests send:reseal-results")
        config = self.path("taker.conf")
        write_private(config, f"[queue]\nendpoint = http://127.0.0.1:{self.hub.port}\n"
                              f"credentials = {self.path('taker')}\n")
        for words, status, told in ((("queue", "redrive"), 5, "--profile names one"),
                                    (("access", "list"), 2, "--config /etc/reseal/hub.conf")):
            done = subprocess.run([RESEAL, *words, "--config", config], stdin=subprocess.DEVNULL,
                                  capture_output=True, text=True, timeout=SLOW)
            self.assertEqual(done.returncode, status, done.stderr)
            self.assertIn(told, done.stderr)

    def test_the_last_key_stays(self):
        only = self.path("only")
        write_private(only, "[last]\naws_access_key_id = AKLAST\n"
                            "aws_secret_access_key = something-long\n")
        config = self.path("only.conf")
        write_private(config, f"[hub]\ncredentials = {only}\n")
        done = subprocess.run([RESEAL, "access", "remove", "last", "--config", config],
                              capture_output=True, text=True, timeout=SLOW)
        self.assertEqual(done.returncode, 3, done.stderr)

    def test_secret_halves_are_wrapped_and_wrapped_anew(self):
        self.assertIn(self.hub.secret, self.read("credentials"))
        self.reseal("access", "wrap")
        wrapped = self.read("credentials")
        self.assertNotIn(self.hub.secret, wrapped)
        self.assertEqual(self.ask(self.keys["default"]), "done")
        os.rename(self.path("wrap"), self.path("wrap.old"))
        write_private(self.path("wrap"), secrets.token_hex(32))
        self.reseal("access", "list", status=3)
        self.reseal("access", "wrap", "--from", f"file:{self.path('wrap.old')}")
        self.assertNotEqual(self.read("credentials"), wrapped)
        self.hub.restart()
        type(self).pid = self.hub.process.pid
        self.assertEqual(self.ask(self.keys["default"]), "done")
        # One key's secret half in the place of another's opens nothing.
        self.add("three")
        lines = self.read("credentials").splitlines()
        places = [i for i, line in enumerate(lines) if "_wrapped" in line]
        lines[places[0]], lines[places[-1]] = lines[places[-1]], lines[places[0]]
        before = self.read("credentials")
        write_private(self.path("credentials"), "\n".join(lines) + "\n")
        self.reseal("access", "list", status=3)
        write_private(self.path("credentials"), before)

    def test_tokens_are_kept_as_digests_and_change_while_the_hub_runs(self):
        def status(token):
            headers = {"Authorization": f"Bearer {token}"}
            return self.hub.call("GET", RECORDS, None, headers).status

        done = self.reseal("access", "token", "--output", self.path("token.new"))
        digest, fresh = done.stdout, self.read("token.new").strip()
        self.assertRegex(digest, r"^sha256:[0-9a-f]{64}\n$")
        self.assertEqual((status(self.hub.token), status(fresh)), (200, 401))
        write_private(self.path("token"), f"# two for a while\n{self.hub.token}\n{digest}")
        self.assertEqual((status(fresh), status(self.hub.token)), (200, 200))
        write_private(self.path("token"), digest)
        end = time.monotonic() + SLOW
        while status(self.hub.token) != 401:
            self.assertLess(time.monotonic(), end)
        self.assertEqual(status(fresh), 200)
        self.assertEqual(status(digest.strip()), 401)  # the digest is no token
        for bad in ("", "short\n", "sha256:00\n", digest + "sha256:zz\n"):
            write_private(self.path("token"), bad)
            self.assertEqual((status(fresh), status(self.hub.token)), (200, 401))
        write_private(self.path("token"), self.hub.token)
        self.assertEqual(status(self.hub.token), 200)

    def test_a_signal_has_the_files_read_again(self):
        count = sum("were read again" in line for line in self.hub.log)
        self.hub.process.send_signal(signal.SIGHUP)
        end = time.monotonic() + SLOW
        while sum("were read again" in line for line in self.hub.log) < count + 2:
            self.assertEqual(self.hub.api("GET", RECORDS).status, 200)
            self.assertLess(time.monotonic(), end)

    def test_a_file_that_is_open_to_all_is_not_read(self):
        key = self.add("four")
        self.assertEqual(self.ask(key), "done")
        self.addCleanup(os.chmod, self.path("credentials"), 0o600)
        os.chmod(self.path("credentials"), 0o644)
        self.assertEqual(self.ask({"accessKeyId": "AKNO", "secretAccessKey": "x"}),
                         "InvalidClientTokenId")  # and the hub has looked
        self.assertEqual(self.ask(key), "done")
        end = time.monotonic() + SLOW
        while not any("open to every user" in line for line in self.hub.log):
            self.assertLess(time.monotonic(), end)


if __name__ == "__main__":
    unittest.main()
