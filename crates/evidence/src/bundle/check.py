# BEGIN check
import base64, hashlib, json, os, subprocess, sys, tempfile

root, wrong, folder = sys.argv[1], [], tempfile.mkdtemp()


def against(what):
    wrong.extend([what])


def pae(kind, body):
    kind = kind.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(body), body)


def openssl(der, message, signature):
    """Whether a raw signature holds, by openssl and a public key in SubjectPublicKeyInfo."""
    pem = "-----BEGIN PUBLIC KEY-----\n" + base64.b64encode(der).decode() + "\n-----END PUBLIC KEY-----\n"
    names = [os.path.join(folder, name) for name in ("key", "message", "signature")]
    for name, data in zip(names, (pem.encode(), message, signature)):
        with open(name, "wb") as file:
            file.write(data)
    hashed = [] if len(der) == 44 else ["-digest", "sha256"]
    command = ["openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", names[0], "-in", names[1]]
    return subprocess.run(command + hashed + ["-sigfile", names[2]], capture_output=True).returncode == 0


def strings(blob):
    """The strings of SSH wire encoding."""
    found = []
    while blob:
        length = int.from_bytes(blob[:4], "big")
        found, blob = found + [blob[4 : 4 + length]], blob[4 + length :]
    return found


def fingerprint(blob):
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def spki(blob):
    """An SSH public key as SubjectPublicKeyInfo, and whether it is on a token."""
    kind, *rest = strings(blob)
    if b"ed25519" in kind:
        return bytes.fromhex("302a300506032b6570032100") + rest[0], kind.startswith(b"sk-")
    p256 = "3059301306072a8648ce3d020106082a8648ce3d030107034200"
    return bytes.fromhex(p256) + rest[1], kind.startswith(b"sk-")


def der_of(signature):
    """An ECDSA signature of SSH (two numbers) in DER."""
    body = b"".join(b"\2" + bytes([len(number)]) + number for number in strings(signature))
    return b"\x30" + bytes([len(body)]) + body


def sshsig(signature, namespace, message):
    """The fingerprint of the key that made this SSHSIG, or nothing where it does not hold."""
    blob, name, _, digest, raw = strings(signature[10:])
    kind = strings(blob)[0]
    parts = [namespace, b"", digest, hashlib.new(digest.decode(), message).digest()]
    signed = b"SSHSIG" + b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    length = int.from_bytes(raw[: 4], "big")
    rest = raw[4 + length :]
    length = int.from_bytes(rest[:4], "big")
    value, after = rest[4 : 4 + length], rest[4 + length :]
    der, token = spki(blob)
    if token and raw[4:].startswith(b"webauthn"):
        return "passkey"
    if token:
        application = strings(blob)[-1]
        signed = hashlib.sha256(application).digest() + after + hashlib.sha256(signed).digest()
    if b"ecdsa" in kind:
        value = der_of(value)
    return fingerprint(blob) if name == namespace and openssl(der, signed, value) else None


def signers(envelope, namespace):
    """Who signed an envelope of people, and what they signed."""
    body = base64.b64decode(envelope["payload"])
    message = pae(envelope["payloadType"], body)
    made_by = [sshsig(base64.b64decode(one["sig"]), namespace, message) for one in envelope["signatures"]]
    named = [one["keyid"] for one in envelope["signatures"]]
    return all(who in (name, "passkey") for who, name in zip(made_by, named)), named, made_by.count("passkey"), body


def key_of(text):
    return base64.b64decode(text.split()[1])


def node(left, right):
    return hashlib.sha256(b"\1" + left + right).digest()


def tree(leaves):
    if len(leaves) == 1:
        return leaves[0]
    middle = 1 << (len(leaves) - 1).bit_length() - 1
    return node(tree(leaves[:middle]), tree(leaves[middle:]))


keys, exporters, previous, leaves, people, passkeys = {}, set(), "0" * 64, [], 0, 0
for number, line in enumerate(open("events.jsonl"), 1):
    envelope = json.loads(line)
    payload = base64.b64decode(envelope["payload"])
    header = envelope.get("header")
    if header is None:
        header = envelope["signatures"][0]["keyid"] + " " + envelope["signatures"][0]["sig"]
    leaf = hashlib.sha256(b"\0" + header.encode() + b"\n" + payload).digest()
    leaves += [leaf]
    try:
        event = json.loads(payload)
        data = event["data"]
        if (event["previous"], int(event["sequence"])) != (previous, number):
            against("event %d does not follow the one before it" % number)
        if event["type"] in ("dev.keylatch.tenant.created.v1", "dev.keylatch.authority.changed.v1"):
            holds, named, _, body = signers(data["authority"], b"keylatch-authority")
            statement = json.loads(body)
            if holds and root in named and statement["root"] == root:
                services = [(one["public_key"], one["role"]) for one in statement["services"]]
                services += [(key, "registrar") for key in statement["registrars"]]
                keys.update((fingerprint(key_of(key)), key_of(key)) for key, _ in services)
                exporters = {fingerprint(key_of(key)) for key, role in services if role == "evidence-exporter"}
            else:
                against("event %d: its authority is not signed by the root you named" % number)
        signer, signature = header.split(" ")
        if signer != event["signer"] or signer not in keys:
            against("event %d: nobody whom the root has named signed it" % number)
        elif not openssl(spki(keys[signer])[0], pae(envelope["payloadType"], payload), base64.b64decode(signature)):
            against("event %d: its signature does not hold" % number)
        if "command" in data:
            holds, named, tokens, _ = signers(data["command"], b"keylatch-command")
            people, passkeys = people + len(named), passkeys + tokens
            if not holds:
                against("event %d: a signature on its command does not hold" % number)
    except Exception as error:
        against("event %d does not read: %r" % (number, error))
    previous = leaf.hex()
top = tree(leaves)
print(len(leaves), "events, head", previous)
print("tree root", top.hex())
print(people, "signatures of people and programs on their commands;", passkeys, "of passkeys were not checked")

origin, size, top64 = open("checkpoints.txt").read().rstrip("\n").split("\n\n")[-2].split("\n")
note = "\n".join([origin, size, top64, ""]).encode()
if (int(size), base64.b64decode(top64)) != (len(leaves), top):
    against("the last checkpoint is not over these events")
lines = open("checkpoints.txt").read().rstrip("\n").split("\n\n")[-1].split("\n")
raw = [base64.b64decode(line.split(" ")[2])[4:] for line in lines]
if not any(openssl(spki(keys[key])[0], note, one) for key in exporters for one in raw if len(one) == 64):
    against("the last checkpoint is not signed by an exporter")

manifest = json.load(open("manifest.json"))
body = base64.b64decode(manifest["payload"])
statement = json.loads(body)
signature = manifest["signatures"][0]
signed = pae("application/vnd.in-toto+json", body)
if signature["keyid"] not in exporters:
    against("manifest.json is not signed by an exporter")
elif not openssl(spki(keys[signature["keyid"]])[0], signed, base64.b64decode(signature["sig"])):
    against("manifest.json: its signature does not hold")
for subject in statement["subject"]:
    digest = hashlib.sha256()
    try:
        with open(subject["name"], "rb") as file:
            for part in iter(lambda: file.read(1 << 20), b""):
                digest.update(part)
    except OSError as error:
        against("%s does not open: %s" % (subject["name"], error))
        continue
    if digest.hexdigest() != subject["digest"]["sha256"]:
        against("%s is not what the manifest says" % subject["name"])
named = {subject["name"] for subject in statement["subject"]} | {"manifest.json"}
found = [os.path.join(at, name)[2:] for at, _, names in os.walk(".") for name in names]
wrong += ["%s is not in the manifest" % name for name in found if name.replace(os.sep, "/") not in named]
predicate = statement["predicate"]
if (predicate["root"], predicate["head"], predicate["tree_root"]) != (root, previous, top.hex()):
    against("manifest.json is of other events, or of another root")

for each in wrong:
    print("WRONG:", each)
print("it holds, as far as this program looks" if not wrong else "it does NOT hold")
sys.exit(1 if wrong else 0)
# END check
