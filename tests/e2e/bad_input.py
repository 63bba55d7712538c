# SPDX-License-Identifier: Apache-2.0
"""Bad input by the dozen: what is thrown at every door."""
import json

TEN_MB = 10 * 1000 * 1000
DEEP = 100_000


def texts():
    """(name, bytes) that are no acceptable JSON document for anything."""
    return [
        ("empty", b""),
        ("white space", b" \r\n\t"),
        ("truncated object", b'{"specversion":"1.0","id":"x'),
        ("truncated after a key", b'{"id"'),
        ("only an opening", b"{"),
        ("not JSON", b"Let me in"),
        ("binary", bytes(range(256))),
        ("BOM", b"\xef\xbb\xbf{}"),
        ("trailing garbage", b"{} x"),
        ("two documents", b"{}{}"),
        ("trailing comma", b'{"id":"x",}'),
        ("a comment", b'{"id":"x"/* no */}'),
        ("NaN", b'{"id":NaN}'),
        ("a number out of range", b'{"id":1e999999}'),
        ("a raw control character", b'{"id":"\x01"}'),
        ("no UTF-8", b'{"id":"\xff\xfe"}'),
        ("overlong UTF-8", b'{"id":"\xc0\xaf"}'),
        ("an encoded surrogate", b'{"id":"\xed\xa0\x80"}'),
        ("beyond U+10FFFF", b'{"id":"\xf4\x90\x80\x80"}'),
        ("a lone escaped surrogate", b'{"id":"\\ud800"}'),
        ("U+0000", b'{"id":"a\\u0000b"}'),
        ("duplicate keys", b'{"id":"x","id":"y"}'),
        ("duplicate keys by escape", b'{"id":"x","\\u0069d":"y"}'),
        ("an array", b"[]"),
        ("a string", b'"x"'),
        ("null", b"null"),
        ("an empty object", b"{}"),
        ("deep arrays", b"[" * DEEP),
        ("deep arrays, closed", b"[" * DEEP + b"]" * DEEP),
        ("deep objects", b'{"a":' * DEEP),
        ("many values", b"[" + b"0," * DEEP + b"0]"),
        ("many keys", json.dumps({str(i): i for i in range(DEEP)}).encode()),
        ("a long key", b'{"' + b"k" * 100_000 + b'":1}'),
        ("10 MB in a string", b'{"id":"' + b"x" * TEN_MB + b'"}'),
        ("10 MB of nothing", b" " * TEN_MB),
    ]


WRONG_TYPES = [None, True, 0, -1, 1.5, [], ["x"], {}, {"x": "y"}]
WRONG_BASE64 = ["!!!!", "A", "AA", "AAA", "AA=", "AB==", "AA==\n", " AA==", "AA==AA==", "A===",
                "\u00e4\u00e4\u00e4\u00e4", "-_-_"]


def wrong_fields(good, fields, texts_too=()):
    """(name, document): `good` with one member of a wrong type, missing, or of a wrong value.
    A field is a path of names."""
    def changed(path, change):
        document = json.loads(json.dumps(good))
        at = document
        for name in path[:-1]:
            at = at[name]
        change(at, path[-1])
        return document

    for path in fields:
        shown = ".".join(path)
        for wrong in WRONG_TYPES:
            if isinstance(wrong, dict) and path[-1] in ("device", "data"):
                continue
            yield f"{shown} = {wrong!r}", changed(path, lambda at, key: at.update({key: wrong}))
        yield f"no {shown}", changed(path, lambda at, key: at.pop(key))
        for wrong in texts_too:
            yield f"{shown} = {wrong[:20]!r}", changed(path, lambda at, key: at.update({key: wrong}))
