# SPDX-License-Identifier: Apache-2.0
"""doctor and status: what they find, what they say, and that no PIN is tried unasked."""
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import Stage  # noqa: E402
from token_support import BIN, SOFTHSM, TokenTest, in_etc, make_nss, write_secret  # noqa: E402


class DoctorTest(TokenTest):
    def ceremony(self, token, custody, bits=2048):
        plan = self.write("plan.ini", f"[ceremony]\nname = test\nallow_yes = yes\n{token.section()}[key]\n"
                          f"label = sealing\nbits = {bits}\ncustody = {custody}\n"
                          "[output]\npublic_key = key.pem\ntranscript = record.jsonl\n")
        self.succeeds("ceremony", "run", plan, "--yes", env=token.env)
        self.succeeds("ceremony", "commit", f"{self.folder}/record.jsonl", "--yes")

    def config(self, *sections):
        return self.write("reseal.conf", "\n".join(sections))

    def findings(self, status, *args, env=None):
        done = self.fails(status, "doctor", "--json", *args, env=env)
        answer = json.loads(done.stdout)
        marks = [finding["mark"] for finding in answer["findings"]]
        self.assertEqual(answer["failures"], marks.count("failure"))
        self.assertEqual(answer["warnings"], marks.count("warning"))
        for finding in answer["findings"]:
            if finding["mark"] != "ok":
                self.assertTrue(finding["hint"], finding)
        return answer["findings"]

    def of_area(self, findings, area, mark=None):
        return [finding["text"] for finding in findings
                if finding["area"] == area and mark in (None, finding["mark"])]

    def pin_state(self, token):
        done = self.succeeds("token", "list", "--json", *token.options(pin=False), env=token.env)
        state, = [item["pinState"] for item in json.loads(done.stdout)["tokens"]
                  if item["label"] == token.label]
        return state

    def certificate(self, name, days=365):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj",
                        f"/CN={name}", "-keyout", f"{self.folder}/{name}.key", "-out",
                        f"{self.folder}/{name}.pem", "-days", str(days)],
                       check=True, capture_output=True)
        return f"{self.folder}/{name}.pem"

    def expired(self, name):
        """A CA whose time is over. Of the commands that sign, only openssl ca takes a time that is
        past in every release: from 3.4 on the others refuse days below 0."""
        path = self.certificate(name)
        config = self.write("ca.conf", "[ca]\ndefault_ca = past\n[past]\ndatabase = ca.index\n"
                            "rand_serial = yes\ndefault_md = sha256\npolicy = any\n"
                            "[any]\ncommonName = supplied\n")
        self.write("ca.index", "")
        subprocess.run(["openssl", "ca", "-batch", "-notext", "-config", config, "-outdir", ".",
                        "-ss_cert", path, "-cert", path, "-keyfile", f"{self.folder}/{name}.key",
                        "-startdate", "20200101000000Z", "-enddate", "20200102000000Z",
                        "-out", path + ".old"], check=True, capture_output=True, cwd=self.folder)
        return path + ".old"


class Access(DoctorTest):
    """Run as root, where the machine has the service's user."""

    def test_what_the_user_of_the_service_cannot_read_is_told(self):
        etc, place = f"{self.folder}/etc", f"{self.folder}/place"
        for folder in (etc, place):
            os.mkdir(folder)
            os.chmod(folder, 0o755)
        os.chmod(self.folder, 0o755)
        shutil.copy("/etc/ld.so.cache", etc)
        self.write("etc/passwd", "root:x:0:0::/:/bin/sh\nreseal:x:54321:54321::/:/bin/sh\n")
        self.write("etc/group", "root:x:0:\nreseal:x:54321:\nkeys:x:54322:reseal\n")
        config = self.config(f"[token]\nmodule = {SOFTHSM}\npin = file:{place}/pin\n"
                             "descriptor = place/key.descriptor\n", "[connector]\ndevice_ca = place/ca.pem\n",
                             "[queue]\ncredentials = place/missing\n")
        for name in ("pin", "key.descriptor", "ca.pem"):
            self.write(f"place/{name}", "x\n")
        os.chmod(config, 0o644)

        def told():
            done = subprocess.run(in_etc(etc, f"{BIN}/reseal", "doctor", "--json", "--config", config),
                                  capture_output=True, text=True, timeout=60)
            rows = json.loads(done.stdout)["findings"]
            return [row for row in rows if "user reseal" in row["text"]]

        def access(modes, groups=()):
            for name, mode in modes.items():
                os.chown(f"{place}/{name}", 0, 54322 if name in groups else 0)
                os.chmod(f"{place}/{name}", mode)
        access({"pin": 0o640, "key.descriptor": 0o600, "ca.pem": 0o644}, groups=("pin",))
        row, = told()
        self.assertEqual(row["mark"], "warning")
        self.assertIn(f"cannot read {place}/key.descriptor ([token] descriptor)", row["text"])
        access({"pin": 0o600, "key.descriptor": 0o644, "ca.pem": 0o644})
        row, = told()
        self.assertIn(f"cannot read {place}/pin ([token] pin)", row["text"])
        access({"pin": 0o640}, groups=("pin",))
        row, = told()
        self.assertEqual(row["mark"], "ok")
        os.chmod(place, 0o700)
        self.assertEqual({row["mark"] for row in told()}, {"warning"})
        self.write("etc/passwd", "root:x:0:0::/:/bin/sh\n")
        self.assertEqual(told(), [])


class Configuration(DoctorTest):
    def test_a_broken_configuration_is_one_failure_with_its_line(self):
        config = self.config("[token]\nmodul = x\n")
        findings = self.findings(1, "--config", config)
        self.assertEqual(len(findings), 1)
        self.assertIn("reseal.conf:2", findings[0]["text"])
        self.assertIn("module", findings[0]["hint"])

    def test_what_is_not_configured_is_not_mentioned(self):
        findings = self.findings(0, "--config", self.config("[log]\nlevel = info\n"))
        self.assertEqual([finding["area"] for finding in findings], ["config"])


class Tokens(DoctorTest):
    def test_without_login_nothing_is_tried_and_nothing_fails(self):
        token = self.softhsm()
        self.ceremony(token, "host")
        config = self.config(token.section(), "key = sealing\ndescriptor = key.pem.descriptor\n[connector]\nrequire = host\n")
        findings = self.findings(0, "--config", config, env=token.env)
        self.assertEqual(len(self.of_area(findings, "token", "ok")), 2)
        warnings = [f for f in findings if f["mark"] == "warning"]
        self.assertEqual(len(warnings), 1)
        self.assertIn("doctor --login", warnings[0]["hint"])
        shown = self.succeeds("doctor", "--config", config, env=token.env).stdout
        self.assertIn("0 failures, 1 warning\n", shown)
        self.assertNotIn("\033", shown)

    def test_a_wrong_pin_is_not_tried_unasked_and_only_once_when_asked(self):
        token = self.softhsm()
        self.ceremony(token, "host")
        config = self.config(token.section(), "key = sealing\ndescriptor = key.pem.descriptor\n[connector]\nrequire = host\n")
        calm = self.pin_state(token)
        write_secret(token.pin_file, "00112233\n")
        self.findings(0, "--config", config, env=token.env)
        self.assertEqual(self.pin_state(token), calm)
        findings = self.findings(4, "--login", "--config", config, env=token.env)
        self.assertEqual(len(self.of_area(findings, "pin", "failure")), 1)
        self.assertNotIn("00112233", json.dumps(findings))
        alarmed = self.pin_state(token)
        self.assertNotEqual(alarmed, calm)
        write_secret(token.pin_file, token.pin + "\n")
        findings = self.findings(4, "--login", "--config", config, env=token.env)
        self.assertIn(alarmed, " ".join(self.of_area(findings, "pin", "failure")))
        self.assertEqual(self.pin_state(token), alarmed)

    def test_login_shows_attributes_and_custody(self):
        token = self.softhsm()
        self.ceremony(token, "host")
        config = self.config(token.section(), "key = sealing\ndescriptor = key.pem.descriptor\n[connector]\nrequire = host\n")
        findings = self.findings(0, "--login", "--config", config, env=token.env)
        keys = self.of_area(findings, "key", "ok")
        self.assertEqual(len(keys), 6, findings)
        self.assertIn("not extractable and never was, made on the token, may only decrypt",
                      keys[0])
        self.assertIn("committed at", keys[1])
        self.assertIn("record.jsonl verifies", keys[2])
        self.assertIn("custody host", keys[3])

    def test_a_key_that_was_not_committed_is_a_failure_unless_that_is_allowed(self):
        token = self.softhsm()
        self.ceremony(token, "host")
        rest = "[connector]\nrequire = host\n"
        config = self.config(token.section(), "key = sealing\n" + rest)
        findings = self.findings(4, "--login", "--config", config, env=token.env)
        failure, = self.of_area(findings, "key", "failure")
        self.assertIn("is not committed", failure)
        config = self.config(token.section(), "key = sealing\nuncommitted = serve\n" + rest)
        findings = self.findings(0, "--login", "--config", config, env=token.env)
        self.assertIn("no ceremony", self.of_area(findings, "key", "warning")[0])
        config = self.config(token.section(), "key = sealing\ndescriptor = absent\n" + rest)
        findings = self.findings(4, "--login", "--config", config, env=token.env)
        self.assertIn("absent", self.of_area(findings, "key", "failure")[0])

    def test_a_record_that_was_changed_is_a_failure(self):
        token = self.softhsm()
        self.ceremony(token, "host")
        config = self.config(token.section(),
                             "key = sealing\ndescriptor = key.pem.descriptor\n[connector]\n"
                             "require = host\n")
        with open(f"{self.folder}/record.jsonl", "r+") as file:
            text = file.read()
            file.seek(0)
            file.write(text.replace("CKR_ATTRIBUTE_SENSITIVE", "CKR_ATTRIBUTE_TYPE_WRONG", 1))
        findings = self.findings(4, "--login", "--config", config, env=token.env)
        failure, = self.of_area(findings, "key", "failure")
        self.assertIn("does not verify", failure)

    def test_custody_below_what_is_required_fails_with_the_call(self):
        token = self.softhsm()
        self.ceremony(token, "host")
        config = self.config(token.section(), "key = sealing\ndescriptor = key.pem.descriptor\n")
        findings = self.findings(4, "--login", "--config", config, env=token.env)
        failures = self.of_area(findings, "key", "failure")
        self.assertEqual(len(failures), 3, findings)
        self.assertIn("C_UnwrapKey", failures[0])
        self.assertIn("CKR_", failures[0])
        hints = [f["hint"] for f in findings if f["mark"] == "failure" and f["area"] == "key"]
        for way_out in ("a later SoftHSM, NSS softokn or a hardware token", "require = host"):
            self.assertIn(way_out, hints[0])

    def test_a_token_that_wants_no_login_needs_no_pin(self):
        token = make_nss(f"{self.folder}/open", pin="")
        lines = [line for line in token.section().splitlines() if not line.startswith("pin")]
        self.ceremony(token, "token")
        config = self.config("\n".join(lines), "key = sealing\ndescriptor = key.pem.descriptor\n")
        findings = self.findings(0, "--login", "--config", config, env=token.env)
        self.assertEqual(self.of_area(findings, "pin"), ["the token wants no login"])
        self.assertEqual(len([text for text in self.of_area(findings, "key", "ok")
                              if "custody token" in text]), 3, findings)

    def test_custody_token_on_nss_passes_the_strict_default(self):
        token = self.nss()
        self.ceremony(token, "token")
        config = self.config(token.section(), "key = sealing\ndescriptor = key.pem.descriptor\n")
        findings = self.findings(0, "--login", "--config", config, env=token.env)
        self.assertEqual(len([text for text in self.of_area(findings, "key", "ok")
                              if "custody token" in text]), 3)

    def test_a_token_that_shows_unwrapped_secrets_serves_with_custody_host_only(self):
        token = self.opencryptoki()
        self.ceremony(token, "host")
        strict = self.config(token.section(), "key = sealing\ndescriptor = key.pem.descriptor\n")
        findings = self.findings(4, "--login", "--config", strict, env=token.env)
        self.assertEqual(len(self.of_area(findings, "key", "failure")), 3, findings)
        lenient = self.config(token.section(), "key = sealing\ndescriptor = key.pem.descriptor\n[connector]\nrequire = host\n")
        findings = self.findings(0, "--login", "--config", lenient, env=token.env)
        self.assertEqual(len([text for text in self.of_area(findings, "key", "ok")
                              if "custody host" in text]), 3)

    def test_a_key_that_can_be_read_out_is_a_failure(self):
        token = self.softhsm()
        subprocess.run(["pkcs11-tool", "--module", token.module, "--token-label", token.label,
                        "--login", "--pin", token.pin, "--keypairgen", "--key-type", "rsa:2048",
                        "--label", "loose", "--extractable", "--usage-decrypt"], env=token.env,
                       check=True, capture_output=True)
        config = self.config(token.section(), "key = loose\n[connector]\nrequire = host\n")
        findings = self.findings(4, "--login", "--config", config, env=token.env)
        self.assertIn("loose: CKA_EXTRACTABLE is true", self.of_area(findings, "key", "failure"))

    def test_what_is_missing_is_told_apart(self):
        token = self.softhsm()
        no_key = self.config(token.section())
        findings = self.findings(4, "--config", no_key, env=token.env)
        self.assertIn("names no sealing key", self.of_area(findings, "key", "failure")[0])
        other = self.config(token.section(), "key = absent\n")
        findings = self.findings(4, "--login", "--config", other, env=token.env)
        self.assertIn("absent", self.of_area(findings, "key", "failure")[0])
        text = token.section().replace(token.module, f"{self.folder}/absent.so")
        findings = self.findings(4, "--config", self.config(text, "key = k\n"), env=token.env)
        self.assertIn("absent.so", self.of_area(findings, "token", "failure")[0])
        text = token.section().replace("label = vault", "label = absent")
        findings = self.findings(4, "--config", self.config(text, "key = k\n"), env=token.env)
        self.assertIn("absent", self.of_area(findings, "token", "failure")[0])

    def test_a_pin_source_that_cannot_serve_is_found_without_a_try(self):
        token = self.softhsm()
        config = self.config(token.section(), "key = sealing\ndescriptor = key.pem.descriptor\n")
        os.chmod(token.pin_file, 0o644)
        findings = self.findings(4, "--config", config, env=token.env)
        self.assertIn("open to every user", self.of_area(findings, "pin", "failure")[0])
        os.chmod(token.pin_file, 0o600)
        write_secret(token.pin_file, "12\n")
        findings = self.findings(4, "--config", config, env=token.env)
        self.assertIn("not as long as", self.of_area(findings, "pin", "failure")[0])
        os.unlink(token.pin_file)
        findings = self.findings(4, "--config", config, env=token.env)
        self.assertIn("cannot open", self.of_area(findings, "pin", "failure")[0])


class Devices(DoctorTest):
    def devices(self, status, *more):
        config = self.config("[connector]", *more)
        return self.findings(status, "--config", config)

    def test_cas_are_counted_and_expired_ones_named(self):
        good, old = self.certificate("good"), self.expired("old")
        both = f"{self.folder}/both.pem"
        with open(both, "w") as out:
            for path in (good, old):
                with open(path) as file:
                    out.write(file.read())
        findings = self.devices(0, "device_ca = both.pem")
        self.assertIn("1 of 2 valid", self.of_area(findings, "devices", "ok")[0])
        self.assertIn("CN=old", self.of_area(findings, "devices", "warning")[0])
        findings = self.devices(1, f"device_ca = {old}")
        self.assertIn("none of the 1", self.of_area(findings, "devices", "failure")[0])

    def test_a_ca_that_ends_soon_is_a_warning(self):
        self.certificate("soon", days=5)
        findings = self.devices(0, "device_ca = soon.pem")
        self.assertIn("expires in", self.of_area(findings, "devices", "warning")[0])

    def test_no_certificates_or_no_file_is_a_failure(self):
        self.write("empty.pem", "nothing here\n")
        self.devices(1, "device_ca = empty.pem")
        self.devices(1, "device_ca = absent.pem")


class Queue(DoctorTest):
    def test_a_queue_that_does_not_answer_is_remote(self):
        with socket.socket() as taken: # bound and not listening: nobody else gets this port
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
            self.certificate("ca")
            write_secret(f"{self.folder}/credentials",
                         "[default]\naws_access_key_id = AK\naws_secret_access_key = some-secret-key\n")
            config = self.config("[connector]\ndevice_ca = ca.pem\n[queue]",
                                 f"endpoint = http://127.0.0.1:{port}",
                                 "credentials = credentials")
            findings = self.findings(5, "--config", config)
            self.assertEqual(len(self.of_area(findings, "queue", "failure")), 2)

    def test_credentials_that_are_missing_are_named(self):
        self.certificate("ca")
        write_secret(f"{self.folder}/credentials",
                     "[default]\naws_access_key_id = AK\naws_secret_access_key = some-secret-key\n")
        config = self.config("[connector]\ndevice_ca = ca.pem\n[queue]\nprofile = other",
                             "credentials = credentials")
        findings = self.findings(5, "--config", config)
        self.assertIn("[other]", self.of_area(findings, "queue", "failure")[0])


class Answerer:
    """Something on a UNIX socket that is no connector, or a bad one."""

    def __init__(self, path, answers, hold=False):
        self.answers, self.hold, self.held = list(answers), hold, []
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(path)
        self.socket.listen(8)
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        for answer in self.answers:
            connection, _ = self.socket.accept()
            try:
                connection.sendall(answer)
            except OSError:
                pass
            if self.hold:
                self.held.append(connection)
            else:
                connection.close()

    def close(self):
        for connection in self.held:
            connection.close()
        self.socket.close()


class Status(DoctorTest):
    sockets = 0

    def answer(self, *answers, hold=False):
        self.sockets += 1
        path = f"{self.folder}/socket{self.sockets}"
        answerer = Answerer(path, answers, hold)
        self.addCleanup(answerer.close)
        return path

    def test_a_connector_that_does_not_run_is_remote(self):
        done = self.fails(5, "status", "--socket", f"{self.folder}/absent")
        self.assertIn("reseald", done.stderr)
        self.fails(2, "status", "--socket", "/" + "x" * 200)

    def test_waiting_ends_in_time(self):
        begun = time.monotonic()
        self.fails(5, "status", "--socket", f"{self.folder}/absent", "--wait", "1")
        self.assertLess(time.monotonic() - begun, 10)
        self.fails(2, "status", "--socket", "x", "--wait", "soon")

    def test_waiting_sees_the_state_change(self):
        path = self.answer(b'{"state":"starting"}', b'{"state":"starting"}',
                           b'{"state":"serving","connector":"c1"}')
        done = self.succeeds("status", "--socket", path, "--wait", "30", "--json")
        self.assertEqual(json.loads(done.stdout), {"state": "serving", "connector": "c1"})

    def test_bad_answers_are_errors_and_nothing_else(self):
        for bad in (b"", b"{", b"[1,2", b'{"a":1,"a":2}', b"\xff\xfe", b'{"a":' * 5000,
                    b"[" + b"1," * 40000 + b"1]", b" " * (300 * 1024)):
            done = self.reseal("status", "--socket", self.answer(bad))
            self.assertIn(done.returncode, (1, 5), done.stderr)
            self.assertEqual(done.stdout, "")
        for odd in (b"1", b"[]", b"{}", b'{"helper":1,"queue":[],"keys":{"a":1},"counts":"x"}'):
            self.succeeds("status", "--socket", self.answer(odd))

    def test_an_answer_that_never_ends_is_given_up(self):
        done = self.fails(5, "status", "--socket", self.answer(b'{"state":', hold=True))
        self.assertIn("did not finish", done.stderr)


class RunningConnector(unittest.TestCase):
    """With hub, reseald and reseal-hsm as they are in service."""

    def setUp(self):
        self.stage = Stage("softhsm")
        self.addCleanup(self.stage.close)

    def tearDown(self):
        for daemon in reversed(self.stage.daemons):
            daemon.stop()
        self.assertEqual(self.stage.complaints(), [])

    def doctor(self, status, config, *args):
        done = self.stage.reseal("doctor", "--json", *args, config=config)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return json.loads(done.stdout)["findings"]

    def texts(self, findings, area, mark):
        return [finding["text"] for finding in findings
                if finding["area"] == area and finding["mark"] == mark]

    def test_everything_is_ok_and_the_pin_needs_no_try(self):
        stage = self.stage
        daemon = stage.connector()
        stage.succeeds("status", "--wait", "60", config=daemon.config)
        write_secret(stage.token.pin_file, "00112233\n")  # what doctor could only burn a try with
        findings = self.doctor(0, daemon.config, "--login")
        self.assertEqual([f for f in findings if f["mark"] != "ok"], [])
        self.assertEqual(self.texts(findings, "connector", "ok")[0],
                         f"reseald runs as process {daemon.pid} and is serving")
        self.assertEqual(self.texts(findings, "pin", "ok")[-1], "proved by the running connector")
        keys = self.texts(findings, "key", "ok")
        self.assertEqual(len(keys), 6, keys)
        self.assertIn("may only decrypt", keys[0])
        queues = self.texts(findings, "queue", "ok")
        self.assertEqual(len(queues), 3, queues)
        self.assertIn("reseal-requests", queues[0])
        self.assertIn("reseal-results", queues[1])
        self.assertEqual(len(self.texts(findings, "client", "ok")), 1)
        listed = stage.succeeds("token", "list", "--json", config=daemon.config)
        self.assertIn("no failed try is counted", listed.stdout)

    def test_a_pin_within_reach_of_the_network_side_is_a_warning(self):
        """The access keys lie beside the PIN, and reseald may read the folder of its access keys."""
        stage = self.stage
        keys = f"{os.path.dirname(stage.token.pin_file)}/keys-beside-the-pin"
        shutil.copy(f"{stage.folder}/queue/access-keys", keys)
        daemon = stage.connector(queue={"credentials": keys})
        warning, = self.texts(self.doctor(0, daemon.config), "connector", "warning")
        self.assertIn("default: the PIN lies where reseald can read it", warning)
        self.assertTrue(any("the PIN lies where" in event.get("message", "")
                            for event in daemon.since()))

    def test_status_shows_the_connector_and_passes_its_document_through(self):
        daemon = self.stage.connector()
        self.stage.succeeds("status", "--wait", "60", config=daemon.config)
        document = json.loads(self.stage.succeeds("status", "--json", config=daemon.config).stdout)
        self.assertEqual(document["pid"], daemon.pid)
        self.assertEqual(document["state"], "serving")
        self.assertTrue(document["helper"]["ready"])
        self.assertEqual(document["keys"][0]["name"], "sealing")
        shown = self.stage.succeeds("status", config=daemon.config).stdout
        for text in (f"process {daemon.pid}", "serving", "helper: ready", "reseal-requests",
                     "key sealing: RSA-2048", "oaepSha512 host"):
            self.assertIn(text, shown)

    def test_a_key_that_the_connector_does_not_serve_is_found(self):
        daemon = self.stage.connector()
        self.stage.succeeds("status", "--wait", "60", config=daemon.config)
        with open(daemon.config) as file:
            text = file.read().replace("key = sealing", "key = sealing, later")
        with open(daemon.config + ".new", "w") as file:
            file.write(text)
        findings = self.doctor(4, daemon.config + ".new")
        self.assertIn("later", self.texts(findings, "key", "failure")[0])

    def test_a_connector_that_is_down_is_a_warning_beside_what_can_be_seen(self):
        config = self.stage.config()
        findings = self.doctor(0, config)
        self.assertEqual(len(self.texts(findings, "connector", "warning")), 1)
        findings = self.doctor(0, config, "--login")
        self.assertEqual(len(self.texts(findings, "key", "ok")), 6)

    def test_refused_credentials_are_told_from_a_service_that_is_down(self):
        write_secret(f"{self.stage.folder}/wrong-keys",
                     f"[default]\naws_access_key_id = {self.stage.access_key}\n"
                     "aws_secret_access_key = wrong-secret-key\n")
        config = self.stage.config(queue={"credentials": f"{self.stage.folder}/wrong-keys"})
        findings = self.doctor(5, config)
        self.assertEqual(len(self.texts(findings, "queue", "failure")), 2)
        self.assertIn("secret key", [f["hint"] for f in findings if f["area"] == "queue"][0])
        write_secret(f"{self.stage.folder}/api-token", "wrong\n")
        findings = self.doctor(5, self.stage.config())
        self.assertEqual(len(self.texts(findings, "client", "failure")), 1)
        self.assertEqual(len(self.texts(findings, "queue", "ok")), 3)
        missing = self.stage.config(queue={"requests": "no-such-queue"})
        findings = self.doctor(5, missing)
        self.assertIn("no-such-queue", self.texts(findings, "queue", "failure")[0])


if __name__ == "__main__":
    unittest.main()
