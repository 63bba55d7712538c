#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The order of the parts, by the #include lines and by what the programs are linked with.

core <- envelope <- queue, hsm, graph <- connector, hub, ceremony <- cli. CMake knows which part may use which (the
reseal_part lines), but it cannot keep them apart: all public headers are in one folder, and those of
libraries in another. So here:

  * a reseal_part line names parts of lower layers only;
  * a file includes public headers of its own part, and of parts that its part is linked with;
  * a private header is included from its own folder only;
  * each library's headers are included by the parts that they are for;
  * hsm/ sees no queue, JSON or HTTP, through other headers neither;
  * no program needs a library that belongs to a part which it has not.

    lint-layers.py SOURCE [PROGRAMS]
"""
import glob
import os
import re
import subprocess
import sys

LAYER = {"core": 0, "envelope": 1, "queue": 2, "hsm": 2, "graph": 2, "connector": 3, "hub": 3,
         "ceremony": 3, "cli": 4}
# A public header belongs to the part that has the .c file of its name, or else:
HEADERS = {"compiler": "core", "queue": "queue", "ceremony": "hsm"}
LIBRARIES = {"p11-kit/": ("hsm",), "pkcs11": ("hsm",), "libp11": ("hsm",), "dlfcn.h": ("hsm",),
             "curl/": ("queue", "graph"), "sqlite3": ("hub",), "microhttpd": ("hub",), "gnutls/": ("hub",),
             "yajl/": ("core",), "ini.h": ("core",), "libgfshare": ("core",), "expat.h": ("core",), "seccomp.h": ("connector",)}
HIDDEN_FROM_HSM = ("json", "queue", "web", "records", "xml", "payload")
NOT_NEEDED = {"reseald": ("p11", "sqlite3", "microhttpd"), "reseal-hub": ("p11",),
              "reseal-hsm": ("curl", "sqlite3", "microhttpd"), "reseal": ("sqlite3", "microhttpd")}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)

faults = []


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def read_parts(source):
    """Part -> (folder, parts that it is linked with, itself included)."""
    direct, folders = {}, {}
    for name, folder, words in re.findall(r"^reseal_part\((\w+) (\S+)(.*)\)$",
                                          read(f"{source}/CMakeLists.txt"), re.M):
        folders[name] = folder
        direct[name] = re.findall(r"\breseal-(\w+)-part\b", words)
        for used in direct[name]:
            if LAYER[used] >= LAYER[name]:
                faults.append(f"CMakeLists.txt: {name} is linked with {used}, which is not below it")
    if set(direct) != set(LAYER):
        faults.append(f"CMakeLists.txt has the parts {sorted(direct)}, not {sorted(LAYER)}")

    def closure(name):
        return {name}.union(*(closure(used) for used in direct[name]))
    return {name: (folders[name], closure(name)) for name in direct}


def part_of_header(source, parts, header):
    name = os.path.splitext(os.path.basename(header))[0]
    owners = [part for part, (folder, _) in parts.items()
              if os.path.exists(f"{source}/{folder}/{name}.c")]
    if name in HEADERS:
        owners = [HEADERS[name]]
    if len(owners) != 1:
        faults.append(f"{header}: to which part does it belong? (HEADERS in scripts/lint-layers.py)")
        return None
    return owners[0]


def check_file(source, path, part, allowed, owners):
    text = read(f"{source}/{path}")
    for found in INCLUDE.finditer(text):
        quote, name = found.groups()
        where = f"{path}:{text.count(chr(10), 0, found.start(2)) + 1}"
        if name.startswith("reseal/"):
            owner = owners.get(name)
            if owner is None:
                faults.append(f"{where}: there is no header {name}")
            elif owner not in allowed:
                faults.append(f"{where}: {name} belongs to {owner}, which {part} must not use")
        elif quote == '"' and ("/" in name or path.startswith("include/") or not os.path.exists(
                f"{source}/{os.path.dirname(path)}/{name}")):
            faults.append(f"{where}: {name} is no header of this folder")
        for library, users in LIBRARIES.items():
            if name.startswith(library) and part not in users:
                faults.append(f"{where}: <{name}> is for {' and '.join(users)} only")


def seen_from(source, path, chain=()):
    """Every public header that the file sees, with the way to it."""
    seen = {}
    for _, name in INCLUDE.findall(read(f"{source}/{path}")):
        if name.startswith("reseal/") and name not in chain:
            way = chain + (name,)
            seen.setdefault(name, way)
            for further, longer in seen_from(source, f"include/{name}", way).items():
                seen.setdefault(further, longer)
    return seen


def check_sources(source):
    parts = read_parts(source)
    headers = [os.path.relpath(path, source) for path in sorted(glob.glob(f"{source}/include/reseal/*.h"))]
    owners = {path[len("include/"):]: part_of_header(source, parts, path) for path in headers}
    files = [(path, owners[path[len("include/"):]]) for path in headers]
    for part, (folder, _) in parts.items():
        files += [(os.path.relpath(path, source), part)
                  for path in sorted(glob.glob(f"{source}/{folder}/*.[ch]"))]
    for path, part in files:
        if part is not None:
            check_file(source, path, part, parts[part][1], owners)
    for path, part in files:
        if part == "hsm":
            for name, way in sorted(seen_from(source, path).items()):
                if name in [f"reseal/{hidden}.h" for hidden in HIDDEN_FROM_HSM]:
                    faults.append(f"{path}: sees {' -> '.join(way)}")
    return len(files)


def check_programs(folder):
    for program, unwanted in NOT_NEEDED.items():
        shown = subprocess.run(["readelf", "--dynamic", f"{folder}/{program}"], text=True, check=True,
                               capture_output=True, env=dict(os.environ, LC_ALL="C")).stdout
        needed = re.findall(r"\(NEEDED\).*\[(.*)\]", shown)
        if not needed:
            faults.append(f"{program} needs no library at all: readelf says something else now")
        for library in needed:
            if any(word in library for word in unwanted):
                faults.append(f"{program} needs {library}, which belongs to a part that it has not")


def main(source, programs=None):
    count = check_sources(source)
    if programs is not None:
        check_programs(programs)
    for fault in faults:
        print(fault)
    print(f"{count} files, {len(faults)} faults")
    return 1 if faults or count == 0 else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
