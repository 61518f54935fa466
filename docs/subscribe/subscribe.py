#!/usr/bin/env python3
"""Follows a tenant's events live, verifies the form of each (crates/journal/SPEC.md), and acts on custody.applied: the
custodian has judged the whole story before it signs that.    pip install nats-py PyNaCl
subscribe.py nats://HOST:PORT reader.creds SHA256:<the root's fingerprint>"""
import asyncio, base64, datetime, hashlib, json, nats, re, struct, sys
from nacl.exceptions import CryptoError
from nacl.signing import SigningKey, VerifyKey

MEMBERS = set("specversion id source type subject time datacontenttype tenant sequence previous signer data".split())
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
b64 = lambda text: base64.b64decode(text, validate=True)
pae = lambda kind, body: b"DSSEv1 %d application/vnd.keylatch.%s.v1+json %d " % (len(kind) + 33, kind, len(body)) + body
fingerprint = lambda blob: "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
class Void(Exception): pass
def refuse(why): raise Void(why)
need = lambda fact, why: fact or refuse(why)
def strict(text):
    """JSON that reads the same everywhere: integers within 2^53-1, no duplicate members, no lone surrogates, depth 32."""
    members = lambda pairs: dict(pairs) if len(dict(pairs)) == len(pairs) else refuse("a duplicate member")
    def deepest(value):
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
        return 0 if inner is None else 1 + max(map(deepest, inner), default=0)
    integer = lambda digits: int(digits) if digits != "-0" and abs(int(digits)) < 2**53 else refuse(digits)
    value = json.loads(text.decode(), object_pairs_hook=members, parse_int=integer, parse_float=refuse, parse_constant=refuse)
    need(json.dumps(value, ensure_ascii=False).encode() and deepest(value) <= 32, "deeper than 32")
    return value
def ssh_strings(blob):
    while blob:
        end = 4 + struct.unpack(">I", blob[:4])[0]
        yield blob[4:end]
        blob = blob[end:]
def authority(envelope, root):
    """The keys that the root's statement names (role, key, tenants, from, until): all, and the registrars'; its epoch."""
    body, sig = b64(envelope["payload"]), b64(envelope["signatures"][0]["sig"])
    key, space, reserved, hash_name, inner = ssh_strings(sig[10:])
    need(sig[:10] == b"SSHSIG\0\0\0\1" and fingerprint(key) == root and (space, hash_name) == (b"keylatch-authority", b"sha512"), "not the root's")
    parts = (space, b"", hash_name, hashlib.sha512(pae(b"authority", body)).digest())
    signed = b"SSHSIG" + b"".join(struct.pack(">I", len(part)) + part for part in parts)
    VerifyKey(list(ssh_strings(key))[1]).verify(signed, list(ssh_strings(inner))[1])
    statement = strict(body)
    entry = lambda role, text, *rest: (blob := b64(text.split()[1])) and (fingerprint(blob), (role, VerifyKey(list(ssh_strings(blob))[1]), *rest))
    registrars = dict(entry("registrar", key, "all", "0", ":") for key in statement["registrars"])
    services = dict(entry(*map(service.get, ("role", "public_key", "tenants", "not_before", "not_after"))) for service in statement["services"])
    return {**services, **registrars}, registrars, statement["epoch"]
class Chain:
    def __init__(self, tenant, root):
        self.tenant, self.root, self.sequence, self.head, self.time, self.keys, self.epoch = tenant, root, 0, "0" * 64, "0", {}, 0
    def take(self, header, payload):
        """Takes the next event, whatever it is. Gives it, or raises Void; the chain goes on over it either way."""
        previous, self.sequence = self.head, self.sequence + 1
        self.head = hashlib.sha256(b"\0" + header.encode() + b"\n" + payload).hexdigest()
        try: event, self.keys, self.epoch = self.form(header, payload, previous)
        except (CryptoError, KeyError, TypeError, ValueError, IndexError, AttributeError, struct.error, RecursionError) as error: raise Void(repr(error))
        self.time = event["time"]
        return event
    def form(self, header, payload, previous):
        need(re.fullmatch(r"SHA256:[A-Za-z0-9+/]{43} [A-Za-z0-9+/]{86}==", header) and len(payload) <= 60_000, "signature header or size")
        (signer, signature), event, keys, ring, epoch = header.split(" "), strict(payload), self.keys, self.keys, self.epoch
        need(set(event) == MEMBERS and all(isinstance(value, dict if name == "data" else str) for name, value in event.items()), "members")
        kind = re.fullmatch(r"dev\.keylatch\.([a-z-]+\.[a-z-]+)\.v1", event["type"])[1]
        if kind in ("tenant.created", "authority.changed"):
            keys, ring, epoch = authority(event["data"]["authority"], self.root)
            need(epoch > self.epoch, "authority that is not newer")
        _, key, tenants, start, end = ring[signer]
        key.verify(pae(b"event", payload), b64(signature))
        need(base64.b64encode(b64(signature)).decode() == signature and event["signer"] == signer, "signature header or signer")
        need((event["specversion"], event["datacontenttype"]) == ("1.0", "application/json"), "version")
        need(re.fullmatch(UUID, event["id"]) and re.fullmatch(r"//keylatch/[a-z-]+/[A-Za-z0-9][A-Za-z0-9._-]{0,63}", event["source"]), "id or source")
        need(event["tenant"] == self.tenant and (event["subject"] == self.tenant or re.fullmatch(UUID, event["subject"])), "tenant or subject")
        need(event["sequence"] == f"{self.sequence:020}" and event["previous"] == previous, "sequence or link")
        need(re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\.[0-9]{3}Z", event["time"]) and event["time"][17:19] < "60", "time")
        datetime.datetime.strptime(event["time"].replace("0000", "2000", 1)[:19], "%Y-%m-%dT%H:%M:%S")
        need(event["time"] >= self.time or kind == "authority.changed", "the time goes back")
        need((tenants == "all" or self.tenant in tenants) and start <= event["time"] < end.replace("9999-12-31T23:59:59.999Z", ":"), "a signer without authority here and now")
        return event, keys, epoch

async def main(url, creds, root):
    jwt, seed = re.findall(r"-----BEGIN [^-]*-----\s+(\S+)\s+-+END", open(creds).read())
    claims, key = json.loads(base64.urlsafe_b64decode(jwt.split(".")[1] + "==")), SigningKey(base64.b32decode(seed + "=" * (-len(seed) % 8))[2:34])
    sign = lambda nonce: base64.b64encode(key.sign(nonce.encode()).signature)
    bus = await nats.connect(url, user_jwt_cb=jwt.encode, signature_cb=sign, inbox_prefix=f"_INBOX.{claims['sub']}".encode())
    chain = Chain(claims["nats"].get("issuer_account", claims["iss"]), root)
    def act(header, payload):
        try: event = chain.take(header, payload)
        except Void as void: return print(chain.sequence, "VOID", void, flush=True)
        print(chain.sequence, event["time"], event["type"][13:-3], flush=True)
        if event["type"][13:-3] == "custody.applied" and chain.keys[event["signer"]][0] == "custodian": print("  key", event["subject"], "is", event["data"]["state"], flush=True)
    async def catch_up(to=0):
        for pause in (0, 0.01, 0.1, 1, 5):  # The exporter may hear of an event later than we do.
            await asyncio.sleep(pause)
            while events := json.loads((await bus.request("keylatch.hist.get", b'{"from":%d,"max":500}' % (chain.sequence + 1), timeout=10)).data)["events"]:
                for event in events: act(event["signature"], b64(event["payload"]))
            if chain.sequence >= to: return
    live, sequence = await bus.subscribe("keylatch.evt.>"), 0
    while True:  # A message says that there is something, no more: the README says why.
        if sequence == 0 or sequence > chain.sequence: await catch_up(sequence)
        try: sequence = int(((await live.next_msg(timeout=30)).headers or {}).get("Nats-Sequence", 0))
        except nats.errors.TimeoutError: sequence = 0
if __name__ == "__main__": asyncio.run(main(*sys.argv[1:])) if len(sys.argv) == 4 else sys.exit(__doc__)
