#!/usr/bin/env python3
"""Posts what people want to be told of (TOLD) as JSON to a URL, each event verified as subscribe.py does (which stands beside
this), at least once and in order.    pip install nats-py PyNaCl
webhook.py nats://HOST:PORT reader.creds SHA256:<the root's fingerprint> https://HOST/PATH STATE-FILE

The state file holds the last sequence that was delivered. Without one, everything from the first event on is posted. What
can't be delivered is tried again until it can, and holds up what comes behind. A receiver knows a repeat by its `id`."""
import asyncio, base64, json, nats, os, re, sys, urllib.error, urllib.request
from nacl.signing import SigningKey
from subscribe import Chain, Void, b64

TOLD = {"activation.requested", "deadline.warned", "activation.authorized", "key.activated"}
PAUSES = (0.2, 1, 5, 15, 60)

def load(path):
    try: return int(open(path).read())
    except FileNotFoundError: return 0
def save(path, sequence):
    """Whole or not at all: a crash leaves the old number, and the event is posted again."""
    with open(path + ".new", "w") as file:
        file.write(f"{sequence}\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(path + ".new", path)
def message(event):
    """What is posted. The command's envelope is left out: it is large, and the log has it."""
    data = {name: value for name, value in event["data"].items() if name not in ("command", "statement")}
    return {**{name: event[name] for name in ("id", "tenant", "subject", "time")}, "type": event["type"][13:-3], "sequence": int(event["sequence"]), "data": data}
def post(url, body):
    """Whether it was taken: any answer of 2xx."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json", "Idempotency-Key": body["id"]})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer: return 200 <= answer.status < 300
    except (OSError, urllib.error.URLError) as error:
        print("not taken:", error, file=sys.stderr, flush=True)
        return False

async def main(url, creds, root, target, path):
    jwt, seed = re.findall(r"-----BEGIN [^-]*-----\s+(\S+)\s+-+END", open(creds).read())
    claims, key = json.loads(base64.urlsafe_b64decode(jwt.split(".")[1] + "==")), SigningKey(base64.b32decode(seed + "=" * (-len(seed) % 8))[2:34])
    sign = lambda nonce: base64.b64encode(key.sign(nonce.encode()).signature)
    bus = await nats.connect(url, user_jwt_cb=jwt.encode, signature_cb=sign, inbox_prefix=f"_INBOX.{claims['sub']}".encode())
    # The chain is verified from its first event in every run; only what was not delivered before is posted.
    chain, delivered = Chain(claims["nats"].get("issuer_account", claims["iss"]), root), load(path)
    async def deliver(event):
        tries = 0
        while not await asyncio.to_thread(post, target, message(event)):
            await asyncio.sleep(PAUSES[min(tries, len(PAUSES) - 1)])
            tries += 1
        print(chain.sequence, "posted", event["type"][13:-3], flush=True)
    async def take(header, payload):
        try: event = chain.take(header, payload)
        except Void as void: return print(chain.sequence, "VOID", void, file=sys.stderr, flush=True)
        if chain.sequence > delivered and event["type"][13:-3] in TOLD:
            await deliver(event)
            save(path, chain.sequence)
    async def catch_up(to=0):
        for pause in (0, 0.01, 0.1, 1, 5):  # The exporter may hear of an event later than we do.
            await asyncio.sleep(pause)
            while events := json.loads((await bus.request("keylatch.hist.get", b'{"from":%d,"max":500}' % (chain.sequence + 1), timeout=10)).data)["events"]:
                for event in events: await take(event["signature"], b64(event["payload"]))
            if chain.sequence >= to: return
    live, sequence = await bus.subscribe("keylatch.evt.>"), 0
    while True:  # A message says that there is something, no more: the README says why.
        if sequence == 0 or sequence > chain.sequence: await catch_up(sequence)
        try: sequence = int(((await live.next_msg(timeout=30)).headers or {}).get("Nats-Sequence", 0))
        except nats.errors.TimeoutError: sequence = 0
if __name__ == "__main__": asyncio.run(main(*sys.argv[1:])) if len(sys.argv) == 6 else sys.exit(__doc__)
