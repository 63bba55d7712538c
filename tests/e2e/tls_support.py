# SPDX-License-Identifier: Apache-2.0
"""Certificates of servers and clients for the tests of TLS."""
import os
import ssl

from peer import DeviceCa

PAST = {"start": "20200101000000Z", "end": "20200102000000Z"}


class TlsCa(DeviceCa):
    """A CA of servers and clients."""

    @classmethod
    def at(cls, folder):
        """One that was made before."""
        ca = cls.__new__(cls)
        ca.folder, ca.path = folder, f"{folder}/ca.pem"
        return ca

    def certificate(self, name, names="IP:127.0.0.1,DNS:localhost", usage="serverAuth", **times):
        """Makes name.key and name.pem; the path without its end."""
        self.openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc",
                     "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        with open(f"{self.folder}/{name}.ext", "w") as out:
            out.write(f"basicConstraints = CA:FALSE\nextendedKeyUsage = {usage}\n"
                      f"subjectAltName = {names}\n")
        when = ["-startdate", times["start"], "-enddate", times["end"]] if times else ["-days", "30"]
        self.openssl("ca", "-batch", "-config", "ca.conf", "-in", f"{name}.csr", "-out",
                     f"{name}.pem", "-notext", "-extfile", f"{name}.ext", *when)
        os.chmod(f"{self.folder}/{name}.key", 0o600)
        return f"{self.folder}/{name}"

    def client(self, name, **times):
        return self.certificate(name, "DNS:" + name.replace(" ", "-"), "clientAuth", **times)


def make_pki(folder):
    """ca/ with server and client, other/ with the same of another CA."""
    for name in ("ca", "other"):
        ca = TlsCa(f"{folder}/{name}", f"{name} of TLS")
        ca.certificate("server")
        ca.client("client")


def context(folder, client="client", ca="ca"):
    made = ssl.create_default_context(cafile=f"{folder}/{ca}/ca.pem")
    if client:
        made.load_cert_chain(f"{folder}/ca/{client}.pem", f"{folder}/ca/{client}.key")
    return made


SETTINGS = {"tls_certificate": "ca/server.pem", "tls_key": "file:ca/server.key"}
