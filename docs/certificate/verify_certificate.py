#!/usr/bin/env python3
"""Checks an activation certificate (`keylatch certificate KEY`) with nothing but Python 3 and openssl.

    verify_certificate.py CERTIFICATE SHA256:<the root's fingerprint, from somebody you trust>

Exit code 0: it holds; 1: it does not, and why; 2: it can't be read. It checks the root's statement, the checkpoint's
signature, every event's inclusion path and signature, every Ed25519 signature of a person, and that the activation names this
request and these approvals, each by somebody other than who asked. Which stages the policy asks for, it leaves to
`keylatch verify`, which decides that again. Signatures by hardware keys and P-256 keys are named, and not checked here."""
import base64, hashlib, json, os, struct, subprocess, sys, tempfile

b64 = lambda text: base64.b64decode(text, validate=True)
sha256 = lambda data: hashlib.sha256(data).digest()
node = lambda left, right: sha256(b"\1" + left + right)
fingerprint = lambda blob: "SHA256:" + base64.b64encode(sha256(blob)).decode().rstrip("=")
pae = lambda kind, body: b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(body), body)

class Wrong(Exception): pass
def need(fact, why):
    if not fact: raise Wrong(why)
    return fact

def signed_by(key, message, signature):
    """Whether an Ed25519 key made this signature, by openssl."""
    with tempfile.TemporaryDirectory() as folder:
        path = lambda name: os.path.join(folder, name)
        for name, data in (("key", bytes.fromhex("302a300506032b6570032100") + key), ("message", message), ("signature", signature)):
            with open(path(name), "wb") as file: file.write(data)
        command = ["openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-keyform", "DER", "-inkey", path("key"), "-in", path("message"), "-sigfile", path("signature")]
        return subprocess.run(command, capture_output=True).returncode == 0

def strings(blob):
    """The SSH strings in a blob."""
    while blob:
        end = 4 + struct.unpack(">I", blob[:4])[0]
        need(end <= len(blob), "an SSH string is cut short")
        yield blob[4:end]
        blob = blob[end:]

def ed25519(blob):
    """The key in an SSH public-key blob; None where it is of another kind."""
    kind, *rest = strings(blob)
    return rest[0] if kind == b"ssh-ed25519" else None

def sshsig(envelope, namespace):
    """Who signed an envelope: fingerprint, and whether that was checked."""
    body = pae(envelope["payloadType"].encode(), b64(envelope["payload"]))
    for one in envelope["signatures"]:
        blob = b64(one["sig"])
        need(blob[:10] == b"SSHSIG\0\0\0\1", "a signature is no SSHSIG")
        key, space, reserved, hashed_with, inner = strings(blob[10:])
        need((space, hashed_with) == (namespace, b"sha512"), "a signature is for something else")
        parts = (space, reserved, hashed_with, hashlib.sha512(body).digest())
        message = b"SSHSIG" + b"".join(struct.pack(">I", len(part)) + part for part in parts)
        plain = ed25519(key)
        if plain is not None:
            need(signed_by(plain, message, list(strings(inner))[1]), f"the signature of {fingerprint(key)} does not verify")
        yield fingerprint(key), plain is not None

def services(envelope, root):
    """The service keys that a statement of the root names: fingerprint to role, key, and times."""
    need((root, True) in list(sshsig(envelope, b"keylatch-authority")), f"its authority is not signed by {root} with a plain Ed25519 key")
    statement = json.loads(b64(envelope["payload"]))
    entries = {}
    for role, text, begin, end in [("registrar", key, "0", ":") for key in statement["registrars"]] + [(s["role"], s["public_key"], s["not_before"], s["not_after"]) for s in statement["services"]]:
        blob = b64(text.split()[1])
        entries[fingerprint(blob)] = (role, ed25519(blob), begin, end)
    return entries

def includes(root, size, at, leaf, path):
    """RFC 9162 section 2.1.3.2."""
    last, computed = size - 1, leaf
    need(at < size, "its place is beyond the checkpoint")
    for sibling in path:
        if last == 0: return False
        if at & 1 or at == last:
            computed = node(sibling, computed)
            while not at & 1 and at: at, last = at >> 1, last >> 1
        else: computed = node(computed, sibling)
        at, last = at >> 1, last >> 1
    return last == 0 and computed == root

def checkpoint(note, tenant, keys):
    """The size and root of a checkpoint that an exporter signed (C2SP signed note)."""
    text, lines = note.rsplit("\n\n", 1)
    text, origin = text + "\n", f"keylatch.dev/{tenant}"
    name, size, root = text.split("\n")[:3]
    need(name == origin, "the checkpoint is another log's")
    signatures = [line.split(" ") for line in lines.splitlines()]
    for role, key, *_ in keys.values():
        if role != "evidence-exporter": continue
        wanted = sha256(origin.encode() + b"\n\1" + key)[:4]
        for _, signer, blob in signatures:
            if signer == origin and b64(blob)[:4] == wanted and signed_by(key, text.encode(), b64(blob)[4:]):
                return int(size), b64(root)
    raise Wrong("no exporter that the root names signed the checkpoint")

def check(certificate, root):
    need(certificate["format"] == "keylatch.dev/certificate/v1", "it is of another form")
    tenant, keys, events, unchecked = certificate["tenant"], {}, {}, 0
    for proved in certificate["events"]:
        envelope = proved["event"]
        payload, (signature,) = b64(envelope["payload"]), envelope["signatures"]
        header = f"{signature['keyid']} {signature['sig']}".encode()
        event, name = json.loads(payload), f"event {proved['index'] + 1}"
        data = event["data"]
        if "authority" in data: keys = services(data["authority"], root)
        need(event["tenant"] == tenant and int(event["sequence"]) == proved["index"] + 1, f"{name} is another one")
        role, key, begin, end = need(keys.get(signature["keyid"]), f"{name} is signed by nobody whom the root names")
        need(event["signer"] == signature["keyid"] and begin <= event["time"] < end, f"{name}: its signer was not in force")
        need(event["source"].split("/")[3] == role, f"{name}: its signer has another role")
        need(signed_by(key, pae(b"application/vnd.keylatch.event.v1+json", payload), b64(signature["sig"])), f"{name}: its signature does not verify")
        signers = list(sshsig(data["command"], b"keylatch-command")) if "command" in data else []
        unchecked += sum(not checked for _, checked in signers)
        hashed = sha256(b"\0" + header + b"\n" + payload)
        events.setdefault(event["type"][13:-3], {})[hashed.hex()] = (proved, hashed, data, {who for who, _ in signers})
    need(certificate["events"][0]["index"] == 0, "it does not begin with the tenant's first event")
    size, tree = checkpoint(certificate["checkpoint"], tenant, keys)
    for kind in events.values():
        for proved, hashed, *_ in kind.values():
            need(includes(tree, size, proved["index"], hashed, list(map(b64, proved["path"]))), f"event {proved['index'] + 1} is not in the checkpoint")
    (_, _, activated, _), = need(events.get("key.activated"), "there is no activation").values()
    need(activated["key_id"] == certificate["key_id"], "it activates another key")
    request = need(events.get("activation.requested", {}).get(activated["request"]), "the request is not here")[2]
    need(activated["policy"] in events.get("policy.adopted", {}), "the policy that it names is not here")
    need(activated["approvals"], "it names no approval")
    for approval in activated["approvals"]:
        _, _, data, signers = need(events.get("activation.approved", {}).get(approval), f"approval {approval[:12]} is not here")
        need(data["request"] == activated["request"], f"approval {approval[:12]} is of another request")
        need(data["approved_by"] in signers and data["approved_by"] != request["requested_by"], f"approval {approval[:12]} is not somebody else's")
    return activated, size, unchecked

def main(path, root):
    try:
        with open(path) as file: certificate = json.load(file)
    except (OSError, ValueError) as error:
        print(f"{path} can't be read: {error}", file=sys.stderr)
        return 2
    try: activated, size, unchecked = check(certificate, root)
    except (Wrong, KeyError, TypeError, ValueError, IndexError, struct.error) as error:
        print(f"it does not hold: {error if isinstance(error, Wrong) else repr(error)}")
        return 1
    print(f"it holds: key {certificate['label']} ({certificate['key_id']}) was activated at {activated['activated_at']},")
    print(f"  until {activated['deactivate_at']}, with {len(activated['approvals'])} approvals; the checkpoint commits to {size} events")
    if unchecked: print(f"  {unchecked} signatures by hardware or P-256 keys were not checked here; `keylatch verify` checks them")
    return 0

if __name__ == "__main__":
    if len(sys.argv) != 3: sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
