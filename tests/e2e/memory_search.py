# SPDX-License-Identifier: Apache-2.0
"""Looks for a mark, a password or a PIN that is found nowhere else in the world, in the memory of
other processes and in files."""
import base64
import os
import re

PAGE = os.sysconf("SC_PAGE_SIZE")
SPARSE = 64 << 10     # of regions above this, only the pages that are there are read
RESERVED = 64 << 30   # above this it is a sanitizer's shadow, which holds no content
FORMS = 8             # of one mark


def forms(mark):
    """The ways in which a mark may be written down: raw, UTF-16, hexadecimal, base64."""
    raw = mark.encode()
    found = {raw, mark.encode("utf-16-le"), mark.encode("utf-16-be"), raw.hex().encode(),
             raw.hex().upper().encode()}
    for shift in range(3):  # base64 of whatever stands before it
        text = base64.b64encode(b"\0" * shift + raw)
        found.add(text[4 if shift else 0:len(text) - 4])
    assert len(found) == FORMS and all(len(form) >= 16 for form in found)
    return found


class Region:
    def __init__(self, line):
        span, self.access, _, _, _, *name = line.split(None, 5)
        self.start, self.end = (int(part, 16) for part in span.split("-"))
        self.name = name[0].strip() if name else ""
        self.resident, self.locked, self.undumped = 0, False, False

    def for_secrets(self):
        """Never swapped, and in no core: OpenSSL's secure heap, and nothing else of ours."""
        return self.locked and self.undumped

    def __repr__(self):
        return f"{self.name or 'memory'} at {self.start:x}"


def regions(pid):
    found = []
    with open(f"/proc/{pid}/smaps") as file:
        for line in file:
            if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
                found.append(Region(line))
            elif line.startswith(("Rss:", "Swap:")):
                found[-1].resident += int(line.split()[1])
            elif line.startswith("VmFlags:"):
                found[-1].locked = " lo" in line
                found[-1].undumped = " dd" in line
    return [region for region in found
            if region.resident and region.access[0] == "r" and region.name != "[vvar]"
            and region.end - region.start < RESERVED]


def pieces(pid, region):
    """Spans of the region that are really there."""
    if region.end - region.start <= SPARSE:
        return [(region.start, region.end)]
    with open(f"/proc/{pid}/pagemap", "rb", 0) as file:
        file.seek(region.start // PAGE * 8)
        raw = file.read((region.end - region.start) // PAGE * 8)
    spans = []
    for number in range(len(raw) // 8):
        if raw[8 * number + 7] & 0xc0:  # present or swapped
            at = region.start + number * PAGE
            if spans and spans[-1][1] == at:
                spans[-1] = (spans[-1][0], at + PAGE)
            else:
                spans.append((at, at + PAGE))
    return spans


def memory_hits(pid, marks):
    """{mark: [(region, form)]} of what the process has in its memory now."""
    pattern = {mark: forms(mark) for mark in marks}
    hits = {mark: [] for mark in marks}
    with open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for region in regions(pid):
            for start, end in pieces(pid, region):
                try:
                    memory.seek(start)
                    content = memory.read(end - start)
                except (OSError, ValueError):
                    continue  # gone meanwhile
                for mark, ways in pattern.items():
                    hits[mark] += [(region, form) for form in ways if form in content]
    return hits


def file_hits(paths, marks):
    found = []
    for path in paths:
        with open(path, "rb") as file:
            content = file.read()
        found += [f"{path}: {form[:8]!r}..." for mark in marks for form in forms(mark)
                  if form in content]
    return found
