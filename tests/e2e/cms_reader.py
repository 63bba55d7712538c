# SPDX-License-Identifier: Apache-2.0
"""A reader of CMS EnvelopedData after the letter of the RFCs, over pyasn1 and PyCryptodome, which
share no code with OpenSSL, NSS, libgcrypt or Bouncy Castle. It takes the forms that Reseal makes and
is stricter than any program: what is not DER, or not as the RFC says, is refused."""
from Cryptodome.Cipher import AES, PKCS1_OAEP, PKCS1_v1_5
from Cryptodome.Hash import SHA256, SHA384
from Cryptodome.PublicKey import ECC, RSA
from Cryptodome.Signature import pss
from Cryptodome.Util.Padding import unpad
from pyasn1.codec.der import decoder, encoder
from pyasn1.type import namedtype, tag, univ
from pyasn1_modules import rfc3565, rfc4055, rfc5280, rfc5480, rfc5652

NULL = b"\5\0"
MGF1 = rfc4055.id_mgf1
# RFC 5753, section 7.1.4
AGREEMENTS = {univ.ObjectIdentifier("1.3.132.1.11.1"): SHA256,
              univ.ObjectIdentifier("1.3.132.1.11.2"): SHA384}
CURVES = {"NIST P-256": SHA256, "NIST P-384": SHA384}


class SharedInfo(univ.Sequence):
    """ECC-CMS-SharedInfo (RFC 5753, section 7.2) without entityUInfo."""
    componentType = namedtype.NamedTypes(
        namedtype.NamedType("keyInfo", rfc5280.AlgorithmIdentifier()),
        namedtype.NamedType("suppPubInfo", univ.OctetString().subtype(
            explicitTag=tag.Tag(tag.tagClassContext, tag.tagFormatConstructed, 2))))


class Refused(Exception):
    pass


def need(condition, what):
    if not condition:
        raise Refused(what)


def decode(data, spec):
    """The value, which must be all of `data` and DER to the last bit."""
    value, rest = decoder.decode(data, asn1Spec=spec)
    need(not rest, "bytes behind a value")
    need(encoder.encode(value) == bytes(data), "not DER")
    # Encoding fills up optional parts with empty ones, so that is done to another copy.
    return decoder.decode(data, asn1Spec=spec)[0]


def given(value, name):
    """Whether an optional part is there; value[name] would make an empty one."""
    return value.getComponentByName(name, default=None, instantiate=False) is not None


def absent(algorithm):
    return not given(algorithm, "parameters")


# ---- key transport: RFC 3370, section 4.2.1; RFC 3560 -------------------------------------------

def hash_of(algorithm):
    """SHA-256, with both encodings of its parameters (RFC 4055, section 2.1)."""
    need(algorithm["algorithm"] == rfc4055.id_sha256, "a hash that is not SHA-256")
    need(absent(algorithm) or bytes(algorithm["parameters"]) == NULL, "parameters of a hash")
    return SHA256


def oaep(key, parameters):
    parameters = decode(parameters, rfc4055.RSAES_OAEP_params())
    mask = parameters["maskGenFunc"]
    need(mask["algorithm"] == MGF1, "a mask generation function that is not MGF1")
    mask_hash = hash_of(decode(bytes(mask["parameters"]), rfc5280.AlgorithmIdentifier()))
    return PKCS1_OAEP.new(key, hashAlgo=hash_of(parameters["hashFunc"]),
                          mgfunc=lambda seed, length: pss.MGF1(seed, length, mask_hash))


def transported(info, key):
    need(info["version"] == 0, "the version of a KeyTransRecipientInfo")
    algorithm, encrypted = info["keyEncryptionAlgorithm"], bytes(info["encryptedKey"])
    need(len(encrypted) == key.size_in_bytes(), "the length of an encrypted key")
    if algorithm["algorithm"] == rfc4055.rsaEncryption:
        need(bytes(algorithm["parameters"]) == NULL, "parameters of rsaEncryption")
        return PKCS1_v1_5.new(key).decrypt(encrypted, b"")
    need(algorithm["algorithm"] == rfc4055.id_RSAES_OAEP, "an unknown key transport")
    return oaep(key, bytes(algorithm["parameters"])).decrypt(encrypted)


# ---- key agreement: RFC 5753, section 3.1 -------------------------------------------------------

def key_unwrap(kek, wrapped):
    """RFC 3394, section 2.2.2."""
    count = len(wrapped) // 8 - 1
    need(len(wrapped) % 8 == 0 and count >= 2, "the length of a wrapped key")
    cipher = AES.new(kek, AES.MODE_ECB)
    first, blocks = wrapped[:8], [wrapped[8 * i:8 * i + 8] for i in range(1, count + 1)]
    for step in range(6 * count, 0, -1):
        at = (step - 1) % count
        mixed = int.from_bytes(first, "big") ^ step
        opened = cipher.decrypt(mixed.to_bytes(8, "big") + blocks[at])
        first, blocks[at] = opened[:8], opened[8:]
    need(first == b"\xa6" * 8, "a wrapped key that does not open")
    return b"".join(blocks)


def ephemeral_point(originator, key):
    need(originator.getName() == "originatorKey", "an originator that is no key")
    originator = originator["originatorKey"]
    need(originator["algorithm"]["algorithm"] == rfc5480.id_ecPublicKey, "an originator's algorithm")
    need(absent(originator["algorithm"]), "parameters of an originator's key")
    point, size = originator["publicKey"].asOctets(), (key.pointQ.size_in_bits() + 7) // 8
    need(len(point) == 1 + 2 * size and point[0] == 4, "the encoding of a point")
    # Refuses a point that is not on the curve.
    return ECC.EccPoint(int.from_bytes(point[1:1 + size], "big"),
                        int.from_bytes(point[1 + size:], "big"), key.curve), size


def agreed(info, key):
    need(info["version"] == 3, "the version of a KeyAgreeRecipientInfo")
    need(not given(info, "ukm"), "user keying material")
    algorithm = info["keyEncryptionAlgorithm"]
    digest = AGREEMENTS.get(algorithm["algorithm"])
    need(digest is CURVES[key.curve], "the hash of a key derivation")
    wrap = decode(bytes(algorithm["parameters"]), rfc5280.AlgorithmIdentifier())
    need(wrap["algorithm"] == rfc3565.id_aes256_wrap and absent(wrap), "a key wrap algorithm")
    point, size = ephemeral_point(info["originator"], key)
    secret = int((point * key.d).x).to_bytes(size, "big")
    shared = SharedInfo()
    shared["keyInfo"] = wrap
    shared["suppPubInfo"] = (256).to_bytes(4, "big")
    # X9.63 (SEC 1, section 3.6.1): one round gives at least 256 bits.
    kek = digest.new(secret + b"\0\0\0\1" + encoder.encode(shared)).digest()[:32]
    need(len(info["recipientEncryptedKeys"]) == 1, "more than one key")
    return key_unwrap(kek, bytes(info["recipientEncryptedKeys"][0]["encryptedKey"]))


# ---- the message: RFC 5652, sections 3 and 6 ----------------------------------------------------

def rid_of(info, kind):
    return info["rid"] if kind == "ktri" else info["recipientEncryptedKeys"][0]["rid"]


def decrypt(content, key):
    need(content["contentType"] == rfc5652.id_data, "the type of the content")
    algorithm = content["contentEncryptionAlgorithm"]
    need(algorithm["algorithm"] == rfc3565.id_aes256_CBC, "an unknown cipher")
    need(len(key) == 32, "the length of the content key")
    iv = decode(bytes(algorithm["parameters"]), univ.OctetString())
    try:
        return unpad(AES.new(key, AES.MODE_CBC, bytes(iv)).decrypt(
            bytes(content["encryptedContent"])), 16, "pkcs7")
    except ValueError as error:
        raise Refused(f"the content: {error}") from None


def read(der, key_pem, certificate_der):
    message = decode(der, rfc5652.ContentInfo())
    need(message["contentType"] == rfc5652.id_envelopedData, "the type of the message")
    enveloped = decode(bytes(message["content"]), rfc5652.EnvelopedData())
    need(not given(enveloped, "originatorInfo") and not given(enveloped, "unprotectedAttrs"),
         "parts that nobody asked for")
    need(len(enveloped["recipientInfos"]) == 1, "more than one recipient")
    kind = enveloped["recipientInfos"][0].getName()
    info = enveloped["recipientInfos"][0][kind]
    certificate = decode(certificate_der, rfc5280.Certificate())["tbsCertificate"]
    rid = rid_of(info, kind)
    need(rid.getName() == "issuerAndSerialNumber", "a recipient that is not named by its issuer")
    rid = rid["issuerAndSerialNumber"]
    need(rid["serialNumber"] == certificate["serialNumber"] and
         encoder.encode(rid["issuer"]) == encoder.encode(certificate["issuer"]), "another recipient")
    if kind == "ktri":
        need(enveloped["version"] == 0, "the version of the message")
        key = transported(info, RSA.import_key(key_pem))
    else:
        need(kind == "kari" and enveloped["version"] == 2, "the version of the message")
        key = agreed(info, ECC.import_key(key_pem))
    return decrypt(enveloped["encryptedContentInfo"], key)
