#!/usr/bin/env python3
"""Checks a sample that `keylatch evidence sample --out FOLDER` made, with nothing but Python's own library.

    python3 check_sample.py FOLDER

It draws again from population.txt and compares, and follows each item's event and proof up to the checkpoint's root.
It does not see whether population.txt is whole, nor who signed the checkpoint: `keylatch evidence sample check` does, with an
export. How it is done is said in evidence-sampling.md.
"""

import base64
import hashlib
import hmac
import json
import pathlib
import sys

FORMAT = "keylatch.dev/sample/v1"


def draw(sample, root):
    """The places in the population, in the order in which they are drawn."""
    population, asked = sample["population"], sample["asked"]
    count = population["count"]
    if asked >= count:
        return list(range(count))
    fair = 2**64 - 2**64 % count
    head = [FORMAT, sample["tenant"], sample["checkpoint"]["size"], population["of"], int(population["from"]), count]
    drawn, counter = [], 0
    while len(drawn) < asked:
        lines = [*head, sample.get("nonce", ""), counter]
        text = "".join(f"{line}\n" for line in lines)
        number = int.from_bytes(hmac.new(root, text.encode(), hashlib.sha256).digest()[:8], "big")
        counter += 1
        if number < fair and number % count not in drawn:
            drawn.append(number % count)
    return drawn


def event_hash(line):
    """The hash of an event in a DSSE envelope."""
    envelope = json.loads(line)
    header = envelope.get("header")
    if header is None:
        (signature,) = envelope["signatures"]
        header = f"{signature['keyid']} {signature['sig']}"
    payload = base64.b64decode(envelope["payload"])
    return hashlib.sha256(b"\0" + header.encode() + b"\n" + payload).digest()


def root_of(leaf, index, size, path):
    """Where an inclusion path leads (RFC 9162, 2.1.3.2)."""
    at, last, node = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            return None
        if at & 1 or at == last:
            node = hashlib.sha256(b"\1" + sibling + node).digest()
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            node = hashlib.sha256(b"\1" + node + sibling).digest()
        at, last = at >> 1, last >> 1
    return node if last == 0 else None


def proof(text):
    """Index, path, size and root of a C2SP tlog-proof."""
    head, checkpoint = text.split("\n\n", 1)
    first, index, *path = head.split("\n")
    assert first == "c2sp.org/tlog-proof@v1", first
    _, size, root = checkpoint.split("\n")[:3]
    return int(index.removeprefix("index ")), [base64.b64decode(hash) for hash in path], int(size), root


def check(folder):
    """What is wrong with a sample."""
    sample = json.loads((folder / "sample.json").read_text())
    whole = (folder / "population.txt").read_bytes()
    lines, (size, root) = whole.decode().splitlines(), (sample["checkpoint"]["size"], sample["checkpoint"]["root"])
    if sample["format"] != FORMAT:
        yield f"sample.json is of the form {sample['format']}"
        return
    if hashlib.sha256(whole).hexdigest() != sample["population"]["sha256"] or len(lines) != sample["population"]["count"]:
        yield "population.txt is not the population that sample.json names"
        return
    if draw(sample, base64.b64decode(root)) != [item["index"] for item in sample["items"]]:
        yield "the items are not those that are drawn"
    for place, drawn in enumerate(sample["items"], start=1):
        item = drawn["item"]
        sequence, hash = int(item["sequence"]), bytes.fromhex(item["hash"])
        if lines[drawn["index"]] != f"{sequence} {item['hash']} {item['id']}":
            yield f"item {place}: it is not line {drawn['index'] + 1} of population.txt"
        if event_hash((folder / f"items/{place:04}.json").read_text()) != hash:
            yield f"item {place}: its event has another hash"
        index, path, of_size, of_root = proof((folder / f"items/{place:04}.tlog-proof").read_text())
        if (index, of_size, of_root) != (sequence - 1, size, root):
            yield f"item {place}: its proof is of another event or checkpoint"
        elif root_of(hash, index, size, path) != base64.b64decode(root):
            yield f"item {place}: its proof does not lead to the checkpoint's root"


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    faults = list(check(pathlib.Path(sys.argv[1])))
    for fault in faults:
        print(fault)
    print("it does not hold" if faults else "it holds: drawn again, the same; every event proved under the checkpoint's root")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
