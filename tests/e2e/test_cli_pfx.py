# SPDX-License-Identifier: Apache-2.0
"""The importer: reseal pfx new, import, list, get, remove."""
import base64
import json
import os
import pty
import re
import select
import termios
import unittest

from cli_support import HASHES, PATIENCE, RESEAL, TOKEN, Case, mode_of, openssl, read, unseal, write


class PfxNew(Case):
    def test_what_is_sealed_is_byte_for_byte_the_password(self):
        passwords = ["", "a", "p\u00e4\u20ac\U0001f600 \U00010437", "<&>]]\"'", "x" * 15, "x" * 17]
        for padding, (_, room) in HASHES.items():
            for password in passwords + ["m" * room]:
                with self.subTest(padding=padding, password=password):
                    out, _ = self.make(password, "--padding", padding)
                    record = json.loads(out)
                    self.assertEqual(record["paddingScheme"], padding)
                    sealed = base64.b64decode(record["encryptedPfxPassword"])
                    self.assertEqual(unseal(self.shared, sealed, padding), password.encode())
                    self.secrets = [TOKEN]

    def test_the_record_has_the_facts_of_the_certificate(self):
        out, _ = self.make()
        record = json.loads(out)
        der = openssl("x509", "-in", f"{self.shared}/user.pem", "-outform", "der")
        digest = openssl("dgst", "-sha1", "-r", data=der).split()[0].decode()
        self.assertEqual(record["thumbprint"], digest)
        self.assertEqual(base64.b64decode(record["encryptedPfxBlob"]), read(self.path("user.pfx")))
        self.assertEqual(record["keyName"], "sealing-1")
        self.assertEqual(record["providerName"], "reseal")
        self.assertEqual(record["userPrincipalName"], "alice@example.org")
        self.assertEqual(record["intendedPurpose"], "smimeEncryption")
        self.assertEqual(record["paddingScheme"], "oaepSha512")
        self.assertNotIn("id", record)

    def test_options_go_before_the_configuration_and_none_is_needed(self):
        path, source = self.pfx("correct horse")
        out, _ = self.reseal("pfx", "new", "--pfx", path, "--user", "u", "--password", source,
                             "--public-key", f"{self.shared}/sealing.pub", "--key-name", "k",
                             "--provider", "p", "--purpose", "wifi", config=False)
        record = json.loads(out)
        self.assertEqual((record["keyName"], record["providerName"], record["intendedPurpose"]),
                         ("k", "p", "wifi"))
        _, err = self.reseal("pfx", "new", "--pfx", path, "--user", "u", "--password", source,
                             status=2, config=False)
        self.assertIn("--public-key", err)

    def test_old_and_new_encodings_are_taken(self):
        for options in ([], ["-legacy"], ["-keypbe", "PBE-SHA1-3DES", "-certpbe", "PBE-SHA1-3DES"]):
            path, source = self.pfx("p\u00e4\U0001f600ss", *options)
            out, err = self.reseal("pfx", "new", "--pfx", path, "--user", "u", "--password", source)
            self.assertEqual("old algorithm" in err, options == ["-legacy"])
            self.assertIn("encryptedPfxPassword", out)

    def test_a_password_that_no_profile_can_carry_is_warned_of(self):
        for password, words in (("<&>]]\"'", None), ("ends ]]> here", "]]>"), ("bell\a", "a character that XML does not have")):
            out, err = self.make(password)
            self.assertIn("encryptedPfxPassword", out)
            self.assertEqual(words is not None, "apple-profile" in err, err)
            self.assertIn(words or "", err)

    def test_each_mistake_has_its_own_words(self):
        path, source = self.pfx("correct horse")
        wrong = "file:" + write(self.path("wrong"), b"incorrect horse")
        latin = "file:" + write(self.path("latin"), b"p\xe4ss")
        nokey = self.path("nokey.pfx")
        openssl("pkcs12", "-export", "-nokeys", "-in", f"{self.shared}/user.pem", "-passout", source,
                "-out", nokey)
        short = write(self.path("short.pfx"), read(path)[:300])
        huge = write(self.path("huge.pfx"), b"\x30" * 70000)
        cases = [
            (path, wrong, 1, "the password does not open"),
            (path, latin, 1, "UTF-8"),
            (f"{self.shared}/user.pem", source, 1, "PEM text (BEGIN CERTIFICATE)"),
            (nokey, source, 1, "no private key"),
            (short, source, 1, "cut short"),
            (huge, source, 1, "65536"),
            (self.path("nothing"), source, 1, "cannot open"),
            (path, "file:" + self.path("nothing"), 1, "cannot open"),
        ]
        for pfx, password, status, words in cases:
            with self.subTest(words=words, pfx=pfx):
                out, err = self.reseal("pfx", "new", "--pfx", pfx, "--user", "u", "--password",
                                       password, status=status)
                self.assertIn(words, err)
                self.assertEqual(out, "")

    def test_wrong_options_are_usage_errors(self):
        path, source = self.pfx("correct horse")
        given = ["pfx", "new", "--pfx", path, "--password", source]
        for more in ([], ["--user", ""], ["--user", "a\nb"], ["--user", "u", "--purpose", "fun"],
                     ["--user", "u", "--padding", "oaep"], ["--user", "u", "--key-name", "k" * 129]):
            self.reseal(*given, *more, status=2)
        for padding in ("pkcs1", "oaepSha1"):
            self.reseal(*given, "--user", "u", "--padding", padding, status=3)

    def test_a_password_too_long_names_both_numbers_and_what_helps(self):
        _, err = self.make("m" * 127, status=1)
        for words in ("127", "126", "oaepSha512", "hint:", "larger", "oaepSha256"):
            self.assertIn(words, err)
        self.make("m" * 127, "--padding", "oaepSha256")

    def test_an_expired_certificate_is_refused_unless_forced(self):
        name = self.certificate("expired.pem", "20200101000000Z", "20210101000000Z")
        path, source = self.pfx("correct horse", certificate=name)
        given = ["pfx", "new", "--pfx", path, "--user", "u", "--password", source]
        out, err = self.reseal(*given, status=3)
        self.assertEqual(out, "")
        self.assertIn("expired on 2021-01-01", err)
        self.assertIn("--force", err)
        out, err = self.reseal(*given, "--force")
        self.assertIn("warning", err)
        self.assertEqual(json.loads(out)["expirationDateTime"], "2021-01-01T00:00:00.000Z")

    def test_a_certificate_of_the_future_is_warned_of(self):
        name = self.certificate("future.pem", "20900101000000Z", "20910101000000Z")
        path, source = self.pfx("correct horse", certificate=name)
        _, err = self.reseal("pfx", "new", "--pfx", path, "--user", "u", "--password", source)
        self.assertIn("not valid before 2090-01-01", err)

    def test_the_record_file_is_private_and_never_overwritten(self):
        record = self.path("record.json")
        out, _ = self.make("correct horse", "--out", record)
        self.assertEqual(out, "")
        self.assertEqual(mode_of(record), 0o600)
        before = read(record)
        _, err = self.make("correct horse", "--out", record, status=1)
        self.assertIn("exists already", err)
        self.assertEqual(read(record), before)

    def test_the_password_comes_from_a_descriptor(self):
        path, _ = self.pfx("correct horse")
        out_end, in_end = os.pipe()
        os.write(in_end, b"correct horse\n")
        os.close(in_end)
        out, _ = self.reseal("pfx", "new", "--pfx", path, "--user", "u", "--password",
                             f"fd:{out_end}", fds=(out_end,))
        os.close(out_end)
        sealed = base64.b64decode(json.loads(out)["encryptedPfxPassword"])
        self.assertEqual(unseal(self.shared, sealed, "oaepSha512"), b"correct horse")

    def test_a_password_file_that_everyone_may_read_is_refused(self):
        path, source = self.pfx("correct horse")
        os.chmod(source[5:], 0o644)
        self.reseal("pfx", "new", "--pfx", path, "--user", "u", "--password", source, status=3)

    def test_without_a_terminal_the_prompt_is_an_error(self):
        path, _ = self.pfx("correct horse")
        _, err = self.reseal("pfx", "new", "--pfx", path, "--user", "u", status=2)
        self.assertIn("terminal", err)

    def test_the_prompt_asks_on_the_terminal_without_echo(self):
        path, _ = self.pfx("p\u00e4\U0001f600 horse")
        record = self.path("record.json")
        pid, terminal = pty.fork()
        if pid == 0:
            os.execv(RESEAL, [RESEAL, "pfx", "new", "--pfx", path, "--user", "u", "--out", record,
                              "--config", self.config])
        seen = b""
        while b"user.pfx: " not in seen:
            self.assertTrue(select.select([terminal], [], [], PATIENCE)[0], seen)
            seen += os.read(terminal, 1024)
        # The question comes before the echo is switched off, which also drops what was typed.
        while self.echoes(terminal):
            select.select([], [], [], 0.01)
        os.write(terminal, "p\u00e4\U0001f600 horse\n".encode())
        try:
            while True:
                seen += os.read(terminal, 1024)
        except OSError:
            pass  # the other end is closed
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0, seen)
        os.close(terminal)
        self.assertNotIn(b"horse", seen.replace(path.encode(), b""))
        sealed = base64.b64decode(json.loads(read(record))["encryptedPfxPassword"])
        self.assertEqual(unseal(self.shared, sealed, "oaepSha512"), "p\u00e4\U0001f600 horse".encode())

    @staticmethod
    def echoes(terminal):
        return termios.tcgetattr(terminal)[3] & termios.ECHO


class Records(Case):
    def imported(self):
        path, source = self.pfx("correct horse")
        out, _ = self.reseal("pfx", "import", "--pfx", path, "--user", "O'Neil@example.org",
                             "--password", source)
        return out.strip()

    def test_a_pfx_is_made_and_posted_in_one_go(self):
        key = self.imported()
        self.assertIn(key, self.server.records)
        self.assertEqual(self.server.records[key]["userPrincipalName"], "O'Neil@example.org")

    def test_a_record_file_is_posted_from_a_file_and_from_standard_input(self):
        record = self.make()[0]
        out, _ = self.reseal("pfx", "import", write(self.path("record.json"), record.encode()))
        key = out.strip()
        self.assertEqual(self.server.records[key]["encryptedPfxPassword"],
                         json.loads(record)["encryptedPfxPassword"])
        del self.server.records[key]
        out, _ = self.reseal("pfx", "import", "-", "--json", data=record.encode())
        self.assertEqual(json.loads(out)["imported"][0]["id"], key)

    def test_of_several_files_each_is_reported_and_one_failure_is_one(self):
        good = write(self.path("good.json"), self.make()[0].encode())
        bad = write(self.path("bad.json"), b"{}")
        cut = write(self.path("cut.json"), read(good)[:400])
        out, err = self.reseal("pfx", "import", bad, good, cut, good, status=1)
        self.assertEqual(len(out.split()), 1)
        self.assertEqual(len(self.server.records), 1)
        for words in ("bad.json: ", "cut.json: ", "good.json: the store has a record", "409"):
            self.assertIn(words, err)
        self.server.records.clear()
        out, _ = self.reseal("pfx", "import", "--json", bad, good, status=1)
        reported = json.loads(out)["imported"]
        self.assertEqual([("id" in row, "error" in row) for row in reported],
                         [(False, True), (True, False)])

    def test_a_record_that_is_there_already_says_how_to_remove_it(self):
        self.imported()
        path, source = self.pfx("correct horse")
        _, err = self.reseal("pfx", "import", "--pfx", path, "--user", "alice@example.org",
                             "--password", source, status=1)
        self.assertIn("reseal pfx remove --user alice@example.org --thumbprint", err)
        self.assertIn("req-0815", err)
        self.assertNotIn("there is one", err)  # the store's words for the same
        self.assertNotIn("http://", err)

    def list_of(self, rows, mode=0o600, name="list.csv"):
        path = write(self.path(name), "".join(f"{row}\r\n" for row in rows).encode())
        os.chmod(path, mode)
        return path

    def certificates(self, count):
        """PFX files p0.pfx ... of certificates of their own, with passwords of all kinds."""
        passwords = ["correct horse", 'with "quotes", and; so', "p\u00e4\U0001f600 battery", "staple " * 4]
        for i in range(count):
            openssl("req", "-x509", "-key", f"{self.shared}/user.key", "-subj", f"/CN=user {i}", "-days", "30", "-out",
                    self.path(f"p{i}.pem"))
            password = passwords[i % len(passwords)]
            source = self.password(password)
            openssl("pkcs12", "-export", "-inkey", f"{self.shared}/user.key", "-in", self.path(f"p{i}.pem"), "-passout",
                    source, "-out", self.path(f"p{i}.pfx"))
            yield f"p{i}.pfx", password, '"' + password.replace('"', '""') + '"'

    def test_a_list_is_imported_and_can_be_begun_again(self):
        made = list(self.certificates(4))
        rows = ["pfx,user,password,purpose"] + [f"{name},u{i}@example.org,{cell},{'wifi' if i == 1 else ''}"
                                               for i, (name, _, cell) in enumerate(made)]
        listed = self.list_of(rows[:3])
        out, err = self.reseal("pfx", "import", "--list", listed)
        self.assertEqual(len(out.split()), 2)
        self.assertIn("2 imported, 0 there already, 0 failed", err)
        listed = self.list_of(rows)
        out, err = self.reseal("pfx", "import", "--list", listed, "--json")
        self.assertIn("2 imported, 2 there already, 0 failed", err)
        reported = json.loads(out)["imported"]
        self.assertEqual([("id" in row, row.get("already")) for row in reported],
                         [(False, True), (False, True), (True, None), (True, None)])
        self.assertEqual(len(self.server.records), 4)
        by_user = {record["userPrincipalName"]: record for record in self.server.records.values()}
        for i, (_, password, _) in enumerate(made):
            record = by_user[f"u{i}@example.org"]
            self.assertEqual(record["intendedPurpose"], "wifi" if i == 1 else "smimeEncryption")
            sealed = base64.b64decode(record["encryptedPfxPassword"])
            self.assertEqual(unseal(self.shared, sealed, "oaepSha512"), password.encode())

    def test_passwords_of_a_list_may_be_in_files(self):
        (name, _, _), = self.certificates(1)
        listed = self.list_of(["user;pfx;password_file", f"u@example.org;{name};password"], mode=0o644)
        out, _ = self.reseal("pfx", "import", "--list", listed)
        self.assertIn(out.strip(), self.server.records)

    def test_each_row_that_fails_is_told_with_its_line_and_the_others_go_on(self):
        (good, _, cell), (other, _, _) = self.certificates(2)
        listed = self.list_of(["pfx,user,password", f"{other},a@example.org,wrong password", "missing.pfx,b@example.org,x",
                               f"{good},,{cell}", f"{good},c@example.org,{cell}"])
        self.secrets.append("wrong password")
        out, err = self.reseal("pfx", "import", "--list", listed, status=1)
        self.assertEqual(len(out.split()), 1)
        self.assertNotIn("--pfx", err)
        for words in ("line 2: ", "line 3: ", "missing.pfx", "relative to the list", "line 4: ", "user principal name",
                      "1 imported, 0 there already, 3 failed"):
            self.assertIn(words, err)

    def test_a_list_that_is_none_or_that_everybody_reads_is_refused(self):
        for rows, words in ((["pfx,user"], "column"), (["pfx,user,password,passwort"], "passwort"),
                            (["pfx,user,password,password_file"], "column"), (["pfx,pfx,user,password"], "twice"),
                            (["pfx,user,password", "a,b"], "line 2"), ([""], "empty")):
            _, err = self.reseal("pfx", "import", "--list", self.list_of(rows), status=1)
            self.assertIn(words, err)
            self.assertIn("list.csv", err)
            self.assertIn("hint: ", err)
            self.assertEqual("imported" in err, words == "line 2", err)  # its rows were begun
        listed = self.list_of(["pfx,user,password", "a,b,hunter22"], mode=0o644)
        self.secrets.append("hunter22")
        _, err = self.reseal("pfx", "import", "--list", listed, status=3)
        self.assertIn("chmod 600", err)
        self.assertEqual(self.server.records, {})

    def test_a_list_stops_where_the_store_is_away(self):
        made = list(self.certificates(7))
        listed = self.list_of(["pfx,user,password"] + [f"{name},u@example.org,{cell}" for name, _, cell in made])
        self.write_config(records="http://127.0.0.1:1/beta", hub="http://127.0.0.1:1")
        _, err = self.reseal("pfx", "import", "--list", listed, status=5)
        self.assertIn("up to line 6", err)
        self.assertIn("0 imported, 0 there already, 5 failed", err)
        self.assertIn("run the command again", err)

    def test_files_and_options_of_making_do_not_mix(self):
        for words in ([], ["x", "--pfx", "y"], ["x", "--user", "u"], ["x", "--padding", "p"], ["x", "--list", "y"],
                      ["--pfx", "x", "--list", "y"], ["--list", "x", "--user", "u"]):
            self.reseal("pfx", "import", *words, status=2)

    def test_list_and_get_show_records_without_secrets(self):
        out, err = self.reseal("pfx", "list")
        self.assertEqual((out, err), ("", "no records\n"))
        key = self.imported()
        sealed = self.server.records[key]["encryptedPfxPassword"]
        self.secrets += [sealed, self.server.records[key]["encryptedPfxBlob"]]
        self.assertIn(key, self.reseal("pfx", "list")[0])
        for user in ("O'Neil@example.org", "o'neil@EXAMPLE.org"):
            rows = json.loads(self.reseal("pfx", "list", "--json", "--user", user)[0])["records"]
            self.assertEqual([row["id"] for row in rows], [key])
        thumbprint = rows[0]["thumbprint"]
        spelt = ":".join(re.findall("..", thumbprint.upper()))
        rows = json.loads(self.reseal("pfx", "list", "--json", "--thumbprint", spelt)[0])["records"]
        self.assertEqual(len(rows), 1)
        rows = json.loads(self.reseal("pfx", "list", "--json", "--user", "x")[0])["records"]
        self.assertEqual(rows, [])
        self.assertIn(thumbprint, self.reseal("pfx", "get", key)[0])
        self.assertEqual(json.loads(self.reseal("pfx", "get", key, "--json")[0])["id"], key)
        _, err = self.reseal("pfx", "get", "other", status=1)
        self.assertIn('there is no record "other" (HTTP status 404, request-id req-0815)', err)
        self.reseal("pfx", "list", "--thumbprint", "12zz", status=2)

    def test_a_record_is_removed_by_id_or_by_user_and_thumbprint(self):
        key = self.imported()
        out, _ = self.reseal("pfx", "remove", key)
        self.assertEqual(out.strip(), key)
        self.assertEqual(self.server.records, {})
        self.reseal("pfx", "remove", key, status=1)
        key = self.imported()
        thumbprint = self.server.records[key]["thumbprint"]
        _, err = self.reseal("pfx", "remove", "--user", "other", "--thumbprint", thumbprint,
                             status=1)
        self.assertIn("nothing was removed", err)
        for words in ([], ["--user", "x"], ["--thumbprint", thumbprint], [key, "--user", "x"]):
            self.reseal("pfx", "remove", *words, status=2)
        self.assertEqual(len(self.server.records), 1)
        self.reseal("pfx", "remove", "--user", "o'neil@example.org", "--thumbprint", thumbprint)
        self.assertEqual(self.server.records, {})

    def test_a_store_that_ignores_filters_does_not_lose_other_records(self):
        key = self.imported()
        self.server.mode = "no filter"
        self.reseal("pfx", "remove", "--user", "other", "--thumbprint",
                    self.server.records[key]["thumbprint"], status=1)
        self.reseal("pfx", "remove", "--user", "O'Neil@example.org", "--thumbprint", "0" * 40,
                    status=1)
        self.assertEqual(list(self.server.records), [key])

    def test_a_token_that_is_not_accepted_or_not_there_is_told(self):
        write(self.path("token"), b"another")
        _, err = self.reseal("pfx", "list", status=5)
        self.assertIn("401", err)
        self.assertIn("api_token", err)
        os.unlink(self.path("token"))
        self.reseal("pfx", "list", status=1)

    def test_a_store_that_is_away_is_a_remote_failure(self):
        self.write_config(records="http://127.0.0.1:1/beta", hub="http://127.0.0.1:1")
        self.reseal("pfx", "list", status=5)
        self.write_config(records="ftp://127.0.0.1/beta")
        self.reseal("pfx", "list", status=2)


if __name__ == "__main__":
    unittest.main()
