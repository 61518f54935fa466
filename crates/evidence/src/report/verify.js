// Checks a Keylatch history, with nothing but what the browser brings (WebCrypto). It touches no page and no network:
// lines of events.jsonl go in, what was found comes out. The bytes are those of SPEC.md ("Wire format, version 1").
//
// It checks form: hashes, links, tree, checkpoints, and every signature of which it knows the kind. It does not decide
// anything again (roles, quorums, policies, legal conditions): `keylatch verify` does.
'use strict';

const Keylatch = (() => {
  const EVENT = 'application/vnd.keylatch.event.v1+json';
  const COMMAND = 'application/vnd.keylatch.command.v1+json';
  const AUTHORITY = 'application/vnd.keylatch.authority.v1+json';
  const GENERATED = 'application/vnd.keylatch.generated.v1+json';
  const IN_TOTO = 'application/vnd.in-toto+json';

  const PAYLOAD_BYTES_MAX = 60000;
  const SIGNATURES_MAX = 32;
  const SSHSIG_BYTES_MAX = 4096;
  const DEPTH_MAX = 32;
  const LINE_CHARS_MAX = 256 * 1024;
  const PROBLEMS_MAX = 500;
  const AT_ONCE = 128;
  const ZEROS = '0'.repeat(64);
  const NO_END = '9999-12-31T23:59:59.999Z';

  // What is wrong, by a word and a sentence. Thrown while one thing is read, and caught where it becomes a finding.
  class Wrong extends Error {
    constructor(code, text) {
      super(text);
      this.code = code;
    }
  }

  // === Bytes ===

  const encoder = new TextEncoder();
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

  const bytesOf = (text) => encoder.encode(text);

  function join(...parts) {
    const all = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
    let at = 0;
    for (const part of parts) {
      all.set(part, at);
      at += part.length;
    }
    return all;
  }

  const same = (a, b) => a.length === b.length && a.every((byte, at) => byte === b[at]);

  const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');

  function binary(bytes) {
    let text = '';
    for (let at = 0; at < bytes.length; at += 4096) text += String.fromCharCode(...bytes.subarray(at, at + 4096));
    return text;
  }

  const toBase64 = (bytes) => btoa(binary(bytes));

  // Padded standard base64 in its one form; null for anything else.
  function fromBase64(text) {
    if (typeof text !== 'string' || text.length % 4 !== 0) return null;
    let decoded;
    try {
      decoded = atob(text);
    } catch {
      return null;
    }
    if (btoa(decoded) !== text) return null;
    const bytes = new Uint8Array(decoded.length);
    for (let at = 0; at < bytes.length; at++) bytes[at] = decoded.charCodeAt(at);
    return bytes;
  }

  const digest = async (algorithm, bytes) => new Uint8Array(await crypto.subtle.digest(algorithm, bytes));
  const sha256 = (bytes) => digest('SHA-256', bytes);

  // DSSE's pre-authentication encoding.
  const pae = (type, body) => join(bytesOf(`DSSEv1 ${bytesOf(type).length} ${type} ${body.length} `), body);

  const fingerprint = async (blob) => 'SHA256:' + toBase64(await sha256(blob)).replace(/=+$/, '');

  // === Strict JSON ===

  // Integers only, within ±(2^53-1), no exponent, no minus zero; no member twice; no lone surrogate; depth at most 32.
  // Objects have no prototype, so that no name in them has a meaning.
  class Json {
    constructor(text) {
      this.text = text;
      this.at = 0;
    }

    static read(bytes) {
      let text;
      try {
        text = decoder.decode(bytes);
      } catch {
        throw new Wrong('malformed', 'it is not UTF-8');
      }
      return Json.readText(text);
    }

    static readText(text) {
      const json = new Json(text);
      const value = json.value(0);
      json.space();
      if (json.at !== text.length) throw json.wrong('something follows the value');
      return value;
    }

    static readObject(bytes) {
      const value = Json.read(bytes);
      if (!isObject(value)) throw new Wrong('malformed', 'not strict JSON: an object is wanted');
      return value;
    }

    wrong(what) {
      return new Wrong('malformed', `not strict JSON: ${what}, at character ${this.at + 1}`);
    }

    space() {
      while (' \t\n\r'.includes(this.text[this.at] || '!')) this.at++;
    }

    take(character) {
      this.space();
      if (this.text[this.at] !== character) return false;
      this.at++;
      return true;
    }

    need(character) {
      if (!this.take(character)) throw this.wrong(`\`${character}\` is wanted`);
    }

    value(depth) {
      this.space();
      const first = this.text[this.at];
      if (first === '{') return this.object(depth + 1);
      if (first === '[') return this.array(depth + 1);
      if (first === '"') return this.string();
      for (const [word, value] of [['true', true], ['false', false], ['null', null]]) {
        if (this.text.startsWith(word, this.at)) {
          this.at += word.length;
          return value;
        }
      }
      return this.number();
    }

    object(depth) {
      if (depth > DEPTH_MAX) throw this.wrong('nested deeper than 32');
      this.need('{');
      const object = Object.create(null);
      if (this.take('}')) return object;
      do {
        this.space();
        const name = this.string();
        if (name in object) throw this.wrong('a member stands twice');
        this.need(':');
        object[name] = this.value(depth);
      } while (this.take(','));
      this.need('}');
      return object;
    }

    array(depth) {
      if (depth > DEPTH_MAX) throw this.wrong('nested deeper than 32');
      this.need('[');
      const array = [];
      if (this.take(']')) return array;
      do array.push(this.value(depth)); while (this.take(','));
      this.need(']');
      return array;
    }

    number() {
      const plain = /-?(?:0|[1-9][0-9]*)/y;
      plain.lastIndex = this.at;
      const found = plain.exec(this.text);
      if (!found) throw this.wrong('a value is wanted');
      const after = this.text[this.at + found[0].length] || '';
      const number = Number(found[0]);
      if (found[0] === '-0' || '.eE0123456789'.includes(after || '!') || !Number.isSafeInteger(number)) {
        throw this.wrong('a number that is not a plain integer within 2^53-1');
      }
      this.at += found[0].length;
      return number;
    }

    string() {
      const plain = /"([^"\\\u0000-\u001f]*(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\u0000-\u001f]*)*)"/y;
      plain.lastIndex = this.at;
      const found = plain.exec(this.text);
      if (!found) throw this.wrong('a text is wanted');
      // What the pattern has taken is a JSON text, so the browser's own reader undoes the escapes.
      const text = found[1].includes('\\') ? JSON.parse(found[0]) : found[1];
      if (/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/.test(text)) {
        throw this.wrong('a lone surrogate');
      }
      this.at += found[0].length;
      return text;
    }
  }

  const isObject = (value) => value !== null && typeof value === 'object' && !Array.isArray(value);
  const isText = (value) => typeof value === 'string';

  // Whether an object has these members, those that may be there, and no others.
  function hasMembers(object, needed, optional = []) {
    const names = isObject(object) ? Object.keys(object) : [];
    return needed.every((name) => names.includes(name)) &&
      names.every((name) => needed.includes(name) || optional.includes(name));
  }

  // A DSSE envelope as it is carried: its payload's bytes and its signatures, or null.
  function envelope(value) {
    if (!hasMembers(value, ['payload', 'payloadType', 'signatures']) || !Array.isArray(value.signatures)) return null;
    const payload = fromBase64(value.payload);
    const signatures = value.signatures.map((signature) => {
      const fits = hasMembers(signature, ['keyid', 'sig']) && isText(signature.keyid);
      const sig = fits ? fromBase64(signature.sig) : null;
      return sig && { keyid: signature.keyid, sig };
    });
    if (!payload || !isText(value.payloadType) || signatures.includes(null)) return null;
    return { payload, type: value.payloadType, signatures };
  }

  // === Signatures ===

  // The y of every encoding of a point of small order, little end first, the sign of x aside. Signatures with one of
  // these say nothing, and not every browser refuses them.
  const SMALL_ORDER = new Set([
    '0000000000000000000000000000000000000000000000000000000000000000',
    '0100000000000000000000000000000000000000000000000000000000000000',
    '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
    'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
    'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
    'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
    'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  ]);

  function isSmallOrder(point) {
    const y = point.slice();
    y[31] &= 0x7f;
    return SMALL_ORDER.has(hex(y));
  }

  const imported = new Map();

  // A public key for the browser, read once; null where it is none.
  function importKey(raw, algorithm) {
    const name = algorithm.name + hex(raw);
    if (!imported.has(name)) {
      imported.set(name, crypto.subtle.importKey('raw', raw, algorithm, false, ['verify']).catch(() => null));
    }
    return imported.get(name);
  }

  async function ed25519(raw, signature, message) {
    if (raw.length !== 32 || signature.length !== 64 || isSmallOrder(raw) || isSmallOrder(signature.subarray(0, 32))) {
      return false;
    }
    const key = await importKey(raw, { name: 'Ed25519' });
    return key !== null && crypto.subtle.verify('Ed25519', key, signature, message);
  }

  async function p256(point, signature, message) {
    const key = await importKey(point, { name: 'ECDSA', namedCurve: 'P-256' });
    return key !== null && crypto.subtle.verify({ name: 'ECDSA', hash: 'SHA-256' }, key, signature, message);
  }

  // SSH's binary form (RFC 4251 section 5).
  class Ssh {
    constructor(bytes) {
      this.bytes = bytes;
      this.at = 0;
    }

    take(count) {
      if (this.at + count > this.bytes.length) throw new Wrong('sshsig', 'it is cut off');
      const taken = this.bytes.subarray(this.at, this.at + count);
      this.at += count;
      return taken;
    }

    u32() {
      return this.take(4).reduce((number, byte) => number * 256 + byte, 0);
    }

    string() {
      return this.take(this.u32());
    }

    text() {
      return binary(this.string());
    }

    // A positive number of at most 32 bytes in its one form, as 32 bytes.
    scalar() {
      let digits = this.string();
      if (digits[0] === 0 && digits[1] >= 0x80) digits = digits.subarray(1);
      else if (!(digits[0] >= 1 && digits[0] < 0x80)) throw new Wrong('sshsig', 'a number is not in its one form');
      if (digits.length > 32) throw new Wrong('sshsig', 'a number is too large');
      return join(new Uint8Array(32 - digits.length), digits);
    }

    end() {
      if (this.at !== this.bytes.length) throw new Wrong('sshsig', 'something follows it');
    }
  }

  const sshStrings = (...parts) => join(...parts.flatMap((part) => {
    const length = new Uint8Array(4);
    new DataView(length.buffer).setUint32(0, part.length);
    return [length, part];
  }));

  // An SSH public key: its kind, its point and, of a token, what it is for. Null where it can't sign commands.
  function publicKey(blob) {
    const reader = new Ssh(blob);
    const kind = reader.text();
    const key = { kind, blob, application: null };
    if (kind === 'ssh-ed25519' || kind === 'sk-ssh-ed25519@openssh.com') {
      key.point = reader.string();
      if (key.point.length !== 32) return null;
    } else if (kind === 'ecdsa-sha2-nistp256' || kind === 'sk-ecdsa-sha2-nistp256@openssh.com') {
      if (reader.text() !== 'nistp256') return null;
      key.point = reader.string();
      if (key.point.length !== 65 || key.point[0] !== 4) return null;
    } else {
      return null;
    }
    if (kind.startsWith('sk-')) key.application = reader.string();
    reader.end();
    return key;
  }

  // A key as one line of OpenSSH text, plain Ed25519: what services and registrars have.
  async function serviceKey(text) {
    const words = isText(text) ? text.split(' ') : [];
    const blob = words.length === 2 && words[0] === 'ssh-ed25519' ? fromBase64(words[1]) : null;
    const key = blob && publicKey(blob);
    if (!key || key.kind !== 'ssh-ed25519' || isSmallOrder(key.point)) {
      throw new Wrong('members', 'the authority: a key is not a plain Ed25519 key');
    }
    return { fingerprint: await fingerprint(blob), raw: key.point };
  }

  // Checks an SSHSIG. Gives the signer's fingerprint and whether its kind is one that is checked here (`known`); throws
  // where it does not verify.
  async function sshsig(signature, namespace, message) {
    if (signature.length > SSHSIG_BYTES_MAX) throw new Wrong('sshsig', 'it is too long');
    const reader = new Ssh(signature);
    const magic = binary(reader.take(6));
    if (magic !== 'SSHSIG' || reader.u32() !== 1) throw new Wrong('sshsig', 'it is not an SSHSIG of version 1');
    const key = publicKey(reader.string());
    if (!key) throw new Wrong('sshsig', 'it is by a kind of key that signs nothing here');
    if (reader.text() !== namespace) throw new Wrong('sshsig', 'it was made for something else');
    if (reader.string().length !== 0) throw new Wrong('sshsig', 'its reserved part is not empty');
    if (reader.text() !== 'sha512') throw new Wrong('sshsig', 'it hashes with something else than sha512');
    const inner = new Ssh(reader.string());
    reader.end();
    const hashed = await digest('SHA-512', message);
    const data = join(bytesOf('SSHSIG'), sshStrings(bytesOf(namespace), bytesOf(''), bytesOf('sha512'), hashed));
    const signer = await fingerprint(key.blob);
    const algorithm = inner.text();
    if (algorithm !== key.kind) {
      const passkey = algorithm === 'webauthn-sk-ecdsa-sha2-nistp256@openssh.com' && key.kind.startsWith('sk-ecdsa');
      if (passkey) return { signer, known: false };
      throw new Wrong('sshsig', 'its algorithm is not that of its key');
    }
    if (!(await verifyInner(key, inner, data))) throw new Wrong('sshsig', 'it does not verify over these bytes');
    return { signer, known: true };
  }

  async function verifyInner(key, inner, data) {
    const raw = inner.string();
    const signed = key.application === null ? data : await tokenData(key, inner, data);
    inner.end();
    if (key.point.length === 32) return ed25519(key.point, raw, signed);
    const numbers = new Ssh(raw);
    const signature = join(numbers.scalar(), numbers.scalar());
    numbers.end();
    return p256(key.point, signature, signed);
  }

  // What a hardware token signs: the hashed application, its flags and counter, the hashed data.
  async function tokenData(key, inner, data) {
    const after = inner.take(5);
    if ((after[0] & 1) === 0) throw new Wrong('sshsig', 'nobody touched the hardware token');
    return join(await sha256(key.application), after, await sha256(data));
  }

  // === The tree of RFC 6962 ===

  const node = (left, right) => sha256(join(Uint8Array.of(1), left, right));

  // The right edge of a tree: the roots of its complete subtrees, the largest first.
  class Tree {
    constructor() {
      this.size = 0;
      this.peaks = [];
    }

    async push(leaf) {
      let hash = leaf;
      for (let rest = this.size; rest % 2 === 1; rest = (rest - 1) / 2) hash = await node(this.peaks.pop(), hash);
      this.peaks.push(hash);
      this.size++;
    }

    async root() {
      if (this.peaks.length === 0) return sha256(new Uint8Array(0));
      let root = this.peaks[this.peaks.length - 1];
      for (let at = this.peaks.length - 2; at >= 0; at--) root = await node(this.peaks[at], root);
      return root;
    }
  }

  // === Signed notes (C2SP signed-note, tlog-checkpoint, tlog-cosignature) ===

  // A checkpoint's text with its signatures, or null.
  function checkpoint(note) {
    const split = note.indexOf('\n\n');
    if (split < 0) return null;
    const text = note.slice(0, split + 1);
    const [origin, size, root] = text.split('\n');
    const rootBytes = fromBase64(root);
    if (!origin || !/^(0|[1-9][0-9]{0,15})$/.test(size || '') || !rootBytes || rootBytes.length !== 32) return null;
    const signatures = note.slice(split + 2).split('\n').filter((line) => line !== '').map((line) => {
      const parts = /^\u2014 (\S+) (\S+)$/.exec(line);
      const blob = parts && fromBase64(parts[2]);
      return blob && blob.length > 4 ? { name: parts[1], id: hex(blob.subarray(0, 4)), blob: blob.subarray(4) } : null;
    });
    return { text, origin, size: Number(size), root: rootBytes, signatures: signatures.filter(Boolean) };
  }

  const noteKeyId = async (name, type, raw) =>
    hex((await sha256(join(bytesOf(name), Uint8Array.of(0x0a, type), raw))).subarray(0, 4));

  // Whether the log's own key signed the note.
  async function signedByLog(found, raw) {
    const id = await noteKeyId(found.origin, 1, raw);
    const signature = found.signatures.find((signature) => signature.name === found.origin && signature.id === id);
    return signature !== undefined && ed25519(raw, signature.blob, bytesOf(found.text));
  }

  // A witness's key: `<name>+<key id>+<base64 of 0x04 and the key>`. Null where it is not one that is checked here.
  async function witness(vkey) {
    const [name, id, ...key] = vkey.split('+');
    const bytes = fromBase64(key.join('+'));
    if (!bytes || bytes.length !== 33 || bytes[0] !== 4) return null;
    const raw = bytes.subarray(1);
    return (await noteKeyId(name, 4, raw)) === id ? { name, id, raw } : null;
  }

  // Whether a witness has cosigned a note: `holds`, `wrong`, `missing`, or `unknown` where its key can't be read.
  async function cosigned(note, vkey) {
    const [found, by] = [checkpoint(note), await witness(vkey)];
    if (!by) return { name: vkey.split('+')[0], state: 'unknown' };
    const signature = found && found.signatures.find(({ name, id }) => name === by.name && id === by.id);
    if (!signature) return { name: by.name, state: 'missing' };
    return { name: by.name, state: (await cosignature(found, signature, by)) ? 'holds' : 'wrong' };
  }

  async function cosignature(found, signature, by) {
    if (signature.blob.length !== 72) return false;
    const time = new DataView(signature.blob.buffer, signature.blob.byteOffset).getBigUint64(0);
    const message = bytesOf(`cosignature/v1\ntime ${time}\n${found.text}`);
    return ed25519(by.raw, signature.blob.subarray(8), message);
  }

  // === Authority ===

  // The service keys that a statement of the root names, by fingerprint.
  class Ring {
    constructor(epoch) {
      this.epoch = epoch;
      this.keys = new Map();
    }

    add(key, service) {
      if (this.keys.has(key.fingerprint)) throw new Wrong('members', 'the authority: a key stands twice');
      this.keys.set(key.fingerprint, { raw: key.raw, ...service });
    }

    async addRegistrars(registrars) {
      if (!Array.isArray(registrars)) throw new Wrong('members', 'the authority: it names no registrars');
      for (const text of registrars) this.add(await serviceKey(text), { role: 'registrar', tenants: 'all', from: '' });
    }

    async addServices(services) {
      if (!Array.isArray(services)) throw new Wrong('authority', 'the authority statement names no services');
      for (const service of services) {
        const { role, tenants, not_before: from, not_after: end } = service;
        if (![role, from, end].every(isText) || !(tenants === 'all' || Array.isArray(tenants))) {
          throw new Wrong('authority', 'the authority statement has a service that can\'t be read');
        }
        this.add(await serviceKey(service.public_key), { role, tenants, from, end: end === NO_END ? null : end });
      }
    }

    // The role in which a key may sign in a tenant at a time; null where it may not.
    role(signer, tenant, time) {
      const key = this.keys.get(signer);
      if (!key || (key.tenants !== 'all' && !key.tenants.includes(tenant))) return null;
      return key.from <= time && !(key.end && time >= key.end) ? key.role : null;
    }

    raw(signer) {
      const key = this.keys.get(signer);
      return key ? key.raw : null;
    }

    ofRole(role) {
      return [...this.keys.values()].filter((key) => key.role === role);
    }
  }

  // What every authority statement says, once the root's signature is found on it.
  async function statement(carried, root) {
    const found = envelope(carried);
    if (!found || found.type !== AUTHORITY) throw new Wrong('members', 'the authority: it is not a statement');
    const signed = pae(AUTHORITY, found.payload);
    const signers = await Promise.all(found.signatures.map(({ sig }) =>
      sshsig(sig, 'keylatch-authority', signed).catch(() => ({ known: false }))));
    if (!signers.some(({ signer, known }) => known && signer === root)) {
      throw new Wrong('members', `the authority: it is not signed by the root ${root}`);
    }
    const said = Json.readObject(found.payload);
    if (said.root !== root) throw new Wrong('members', 'the authority: it names another root');
    const isCount = (number, most) => Number.isSafeInteger(number) && number >= 0 && number <= most;
    if (!isCount(said.epoch, Number.MAX_SAFE_INTEGER) || !isCount(said.rules, 2 ** 32 - 1)) {
      throw new Wrong('members', 'the authority: it has no epoch');
    }
    return said;
  }

  // === An event ===

  const UUID7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
  const MEMBERS = ['specversion', 'id', 'source', 'type', 'subject', 'time', 'datacontenttype', 'tenant', 'sequence',
    'previous', 'signer', 'data'];
  const FORMS = [
    ['specversion', /^1\.0$/],
    ['datacontenttype', /^application\/json$/],
    ['source', /^\/\/keylatch\/[a-z-]+\/[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/],
    ['type', /^dev\.keylatch\.[a-z-]+\.[a-z-]+\.v1$/],
    ['id', UUID7],
    ['sequence', /^[0-9]{20}$/],
    ['previous', /^[0-9a-f]{64}$/],
  ];

  // A time that is in the calendar.
  function isTime(text) {
    const parts = /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)\.\d{3}Z$/.exec(text);
    if (!parts) return false;
    const [year, month, day, hour, minute, second] = parts.slice(1).map(Number);
    const leap = (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0;
    const days = [31, leap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month - 1];
    return month >= 1 && month <= 12 && day >= 1 && day <= days && hour < 24 && minute < 60 && second < 60;
  }

  // An event's members, each of its form.
  function readBody(payload) {
    if (payload.length > PAYLOAD_BYTES_MAX) throw new Wrong('malformed', 'the payload is over 60,000 bytes');
    const body = Json.readObject(payload);
    if (!hasMembers(body, MEMBERS)) throw new Wrong('members', 'it does not have exactly the members of an event');
    if (!MEMBERS.every((name) => name === 'data' || isText(body[name]))) throw new Wrong('members', 'a member is no text');
    for (const [name, form] of FORMS) {
      if (!form.test(body[name])) throw new Wrong('members', `\`${name}\` is not of its form`);
    }
    if (body.subject !== body.tenant && !UUID7.test(body.subject)) {
      throw new Wrong('members', '`subject` is neither the tenant nor a key');
    }
    if (!isTime(body.time)) throw new Wrong('time-format', 'its time is not in the calendar');
    if (!isObject(body.data)) throw new Wrong('members', '`data` is not an object');
    return body;
  }

  const bringsAuthority = (body) => /\.(tenant\.created|authority\.changed)\.v1$/.test(body.type);

  // A line of events.jsonl: the bytes of an event and the value of its signature header.
  function readLine(line) {
    const wrong = (text) => new Wrong('line', `it is not a line of an export: ${text}`);
    if (line.length > LINE_CHARS_MAX) throw wrong('it is too long');
    let read;
    try {
      read = Json.readText(line);
    } catch (error) {
      throw wrong(error.message);
    }
    if (!hasMembers(read, ['payload', 'payloadType', 'signatures'], ['header'])) throw wrong('its members are others');
    const payload = fromBase64(read.payload);
    if (!payload || read.payloadType !== EVENT || !Array.isArray(read.signatures)) throw wrong('it is no event');
    if ('header' in read) {
      if (!isText(read.header) || canonicalHeader(read.header)) throw wrong('its header could stand as a signature');
      return { payload, header: read.header };
    }
    const [signature, more] = read.signatures;
    const header = hasMembers(signature, ['keyid', 'sig']) ? `${signature.keyid} ${signature.sig}` : '';
    if (more !== undefined || !canonicalHeader(header)) throw wrong('it has not one signature in canonical form');
    return { payload, header };
  }

  // Whether writing the header's two parts again gives the header. (64 bytes are not asked for here.)
  function canonicalHeader(header) {
    const [signer, sig, more] = header.split(' ');
    const named = /^SHA256:[A-Za-z0-9+/]{43}$/.test(signer) && fromBase64(`${signer.slice(7)}=`) !== null;
    return named && more === undefined && fromBase64(sig) !== null;
  }

  // Hash, signature and members of an event, under the keys that the ring has. What is wrong with its form is kept as
  // `wrong`; the place in the chain is for the checker to judge, in order.
  async function prepare(record, ring, root) {
    const { header, payload } = record;
    const hash = await sha256(join(Uint8Array.of(0), bytesOf(header), Uint8Array.of(0x0a), payload));
    const prepared = { record, hash, body: null, ring: null, wrong: null, unfit: null };
    try {
      Object.assign(prepared, await open(record, ring, root));
    } catch (error) {
      if (!(error instanceof Wrong)) throw error;
      prepared.wrong = error;
    }
    return prepared;
  }

  async function open(record, ring, root) {
    try {
      const body = await authentic(record, ring);
      if (!bringsAuthority(body)) return { body };
    } catch (error) {
      if (error.code !== 'unknown-signer') throw error;
    }
    // It brings its own authority, or is by a stranger.
    const body = readBody(record.payload);
    if (!bringsAuthority(body)) throw unknownSigner(body.signer);
    const said = await statement(body.data.authority, root);
    if (said.epoch <= ring.epoch) throw unknownSigner(body.signer);
    const registrars = new Ring(said.epoch);
    await registrars.addRegistrars(said.registrars);
    await authentic(record, registrars);
    // What else it says is law, and does not move the form.
    try {
      const brought = new Ring(said.epoch);
      await brought.addServices(said.services);
      await brought.addRegistrars(said.registrars);
      return { body, ring: brought };
    } catch (error) {
      if (!(error instanceof Wrong)) throw error;
      return { body, unfit: error };
    }
  }

  const unknownSigner = (signer) =>
    new Wrong('unknown-signer', `${signer} is not a key that may sign in this tenant at this time`);

  // The event's members, where a key of the ring signed these bytes and may do so.
  async function authentic({ header, payload }, ring) {
    const [signer, sig, more] = header.split(' ');
    const signature = fromBase64(sig);
    if (more !== undefined || !signature || signature.length !== 64 || !canonicalHeader(header)) {
      throw new Wrong('signature-header', 'its signature is not `<fingerprint> <base64>`');
    }
    const raw = ring.raw(signer);
    if (!raw) throw unknownSigner(signer);
    if (!(await ed25519(raw, signature, pae(EVENT, payload)))) {
      throw new Wrong('bad-signature', 'its signature does not verify over these bytes');
    }
    const body = readBody(payload);
    if (body.signer !== signer) throw new Wrong('signer-mismatch', 'it names another signer than its signature');
    if (ring.role(signer, body.tenant, body.time) === null) throw unknownSigner(signer);
    return body;
  }

  // === The chain ===

  // Takes the lines of a history in order, and gathers what is found.
  class Checker {
    // `tenant`, `root`: whose, under which root. `voids`: the hashes of events that do not stand, by the report's word.
    // `cited`: the hashes that the report gives for events, by place. `sizes`: tree sizes whose roots are to be kept.
    constructor({ tenant, root, voids = new Set(), cited = new Map(), sizes = [] }) {
      Object.assign(this, { tenant, root, voids, cited });
      this.ring = new Ring(0);
      this.head = ZEROS;
      this.time = '';
      this.tree = new Tree();
      this.roots = new Map(sizes.map((size) => [size, null]));
      // What is wrong, and how much there is of it; what is wrong with events that the report calls void is apart.
      this.problems = [];
      this.problemCount = 0;
      this.ofVoids = [];
      this.stopped = false;
      this.counts = {
        events: 0, links: 0, signatures: 0, statements: 0, people: 0, unknownKinds: 0, generated: 0, checkpoints: 0,
        checkpointsGood: 0, cited: 0, voids: 0,
      };
    }

    get sequence() {
      return this.counts.events;
    }

    // Takes the lines that follow. Signatures are checked side by side, places in order.
    async take(lines) {
      for (let at = 0; at < lines.length && !this.stopped; at += AT_ONCE) {
        const records = [];
        let broken = null;
        for (const line of lines.slice(at, at + AT_ONCE)) {
          try {
            records.push(readLine(line));
          } catch (error) {
            broken = error;
            break;
          }
        }
        await this.takeRecords(records);
        if (broken) this.stop(broken.code, broken.message);
      }
    }

    async takeRecords(records) {
      let rest = records;
      while (rest.length > 0) {
        const prepared = await Promise.all(rest.map((record) => prepare(record, this.ring, this.root)));
        const carried = await Promise.all(prepared.map((one) => one.wrong ? null : this.checkCarried(one)));
        let taken = 0;
        let changed = false;
        while (taken < prepared.length && !changed) {
          changed = await this.admit(prepared[taken], carried[taken]);
          taken++;
        }
        // Where the keys in force have changed, what follows is checked again under the new ones.
        rest = rest.slice(taken);
      }
    }

    // Takes the next event into the chain. True where it has changed the keys in force.
    async admit(prepared, carried) {
      const { body } = prepared;
      const hash = hex(prepared.hash);
      const sequence = this.sequence + 1;
      const wrong = prepared.wrong || this.place(body, sequence);
      const before = this.head;
      let good = !wrong;
      if (good) {
        this.time = body.time;
        this.counts.signatures++;
        this.add(carried.counts);
        const noted = body.type.endsWith('.checkpoint.signed.v1') ? await this.checkCheckpoint(body, sequence) : [];
        for (const found of [...carried.wrong, ...noted]) {
          good = false;
          this.problem({ sequence, hash, body, wrong: found });
        }
      } else {
        this.problem({ sequence, hash, body: body || readable(prepared.record.payload), wrong });
      }
      if (body && body.previous === before) this.counts.links++;
      const known = this.voids.has(hash);
      if (known) this.counts.voids++;
      this.counts.events = sequence;
      this.head = hash;
      await this.tree.push(prepared.hash);
      if (this.roots.has(sequence)) this.roots.set(sequence, await this.tree.root());
      this.checkCited(sequence, hash, body);
      // An event that the report calls void by law brings nothing, whatever its form.
      if (!good || known || !prepared.ring) return false;
      this.ring = prepared.ring;
      this.counts.statements++;
      return true;
    }

    // What is wrong with an event's place.
    place(body, sequence) {
      if (body.tenant !== this.tenant) return new Wrong('wrong-tenant', 'it is another tenant\'s event');
      if (body.sequence !== String(sequence).padStart(20, '0')) {
        const named = body.sequence.replace(/^0+(?=.)/, '');
        return new Wrong('wrong-sequence', `it says that it is event ${named}, and stands as event ${sequence}`);
      }
      if (body.previous !== this.head) {
        return new Wrong('broken-link', 'it names another hash than that of the event before it');
      }
      if (body.time < this.time && !body.type.endsWith('.authority.changed.v1')) {
        return new Wrong('time-backwards', 'it is older than the event before it');
      }
      return null;
    }

    // The signatures of what an event carries: its command's, and a custodian's on a key that was generated.
    async checkCarried({ body, ring, unfit }) {
      const result = { counts: {}, wrong: unfit ? [unfit] : [] };
      const attempt = async (check) => {
        try {
          await check();
        } catch (error) {
          if (!(error instanceof Wrong)) throw error;
          result.wrong.push(error);
        }
      };
      if ('command' in body.data) await attempt(() => this.checkCommand(body.data.command, result.counts));
      if (body.type.endsWith('.key.generated.v1')) {
        await attempt(() => this.checkGenerated(body, ring || this.ring, result.counts));
      }
      return result;
    }

    async checkCommand(carried, counts) {
      const found = envelope(carried);
      const count = found ? found.signatures.length : 0;
      if (!found || found.type !== COMMAND || count === 0 || count > SIGNATURES_MAX) {
        throw new Wrong('command', 'the command that it carries can\'t be read');
      }
      const message = pae(COMMAND, found.payload);
      for (const { keyid, sig } of found.signatures) {
        let by;
        try {
          by = await sshsig(sig, 'keylatch-command', message);
        } catch (error) {
          if (!(error instanceof Wrong)) throw error;
          throw new Wrong('command-signature', `the signature of ${keyid.slice(0, 80)} under its command: ${error.message}`);
        }
        if (by.signer !== keyid) {
          throw new Wrong('command-signature', `a signature under its command is by ${by.signer}, not by whom it names`);
        }
        counts[by.known ? 'people' : 'unknownKinds'] = (counts[by.known ? 'people' : 'unknownKinds'] || 0) + 1;
      }
      if (Json.readObject(found.payload).tenant !== this.tenant) {
        throw new Wrong('command', 'the command that it carries is for another tenant');
      }
    }

    async checkGenerated(body, ring, counts) {
      const found = envelope(body.data.statement);
      const [signature, more] = found ? found.signatures : [];
      const raw = signature && ring.role(signature.keyid, body.tenant, body.time) === 'custodian'
        ? ring.raw(signature.keyid) : null;
      const signed = found && more === undefined && found.type === GENERATED && raw &&
        await ed25519(raw, signature.sig, pae(GENERATED, found.payload));
      if (!signed) throw new Wrong('statement', 'the custodian\'s statement on the key is not signed by a custodian');
      counts.generated = 1;
    }

    // A recorded checkpoint: its note, against the tree so far and the exporter's key.
    async checkCheckpoint({ data, signer }, sequence) {
      this.counts.checkpoints++;
      const wrong = (text) => [new Wrong('checkpoint', text)];
      const found = isText(data.note) ? checkpoint(data.note) : null;
      if (!found) return wrong('its checkpoint can\'t be read');
      if (found.origin !== `keylatch.dev/${this.tenant}`) return wrong('its checkpoint is of another log');
      if (found.size !== sequence - 1 || data.size !== found.size) {
        return wrong(`its checkpoint is for ${found.size} events, and ${sequence - 1} are before it`);
      }
      if (!same(found.root, await this.tree.root()) || data.root !== toBase64(found.root)) {
        return wrong(`the tree of the ${found.size} events before it has another root than its checkpoint says`);
      }
      if (!(await signedByLog(found, this.ring.raw(signer)))) return wrong('its checkpoint is not signed by its signer');
      this.counts.checkpointsGood++;
      return [];
    }

    // Whether the report means this event where it names this place.
    checkCited(sequence, hash, body) {
      for (const cited of this.cited.get(sequence) || []) {
        if (cited === hash) this.counts.cited++;
        else {
          const text = `the report means the event ${cited.slice(0, 8)} here, and this is ${hash.slice(0, 8)}`;
          this.problem({ sequence, hash, body, wrong: new Wrong('another-event', text) });
        }
      }
    }

    add(counts) {
      for (const [name, count] of Object.entries(counts)) this.counts[name] += count;
    }

    // Nothing more can be read.
    stop(code, text) {
      this.stopped = true;
      this.problem({ sequence: this.sequence + 1, wrong: new Wrong(code, text) });
    }

    problem({ sequence, hash = null, body = null, wrong }) {
      const { type = null, time = null } = body || {};
      const found = { sequence, hash, type, time, code: wrong.code, text: wrong.message };
      const known = hash !== null && this.voids.has(hash);
      if (!known) this.problemCount++;
      const list = known ? this.ofVoids : this.problems;
      if (list.length < PROBLEMS_MAX) list.push(found);
    }

    // What is left when all lines were read: whether the report is about this history. `events`, `head`, `treeRoot`: as
    // the report has them.
    async finish({ events, head, treeRoot }) {
      const root = hex(await this.tree.root());
      const said = (text) => this.problem({ sequence: this.sequence, wrong: new Wrong('another-history', text) });
      if (!this.stopped && this.sequence < events) {
        const missing = events - this.sequence;
        said(`the history ends here; the report is about ${events} events, so the last ${missing} are missing`);
      } else if (this.sequence > events) {
        said(`the history has ${this.sequence} events; the report is about ${events}`);
      } else if (this.head !== head) {
        said('the last event has another hash than the report says');
      } else if (root !== treeRoot) {
        said('the tree over all events has another root than the report says');
      }
      this.treeRoot = root;
      return this;
    }

    // The checkpoint that the report names: whether it is over this tree and by an exporter, and whose names stand under it
    // beside.
    async checkNote(note) {
      const found = checkpoint(note);
      const keys = this.ring.ofRole('evidence-exporter');
      const byLog = found ? await Promise.all(keys.map(({ raw }) => signedByLog(found, raw))) : [];
      const root = found && this.roots.get(found.size);
      const names = found ? found.signatures.map(({ name }) => name).filter((name) => name !== found.origin) : [];
      return {
        size: found ? found.size : 0,
        good: Boolean(found && root && same(root, found.root) && byLog.includes(true)),
        names: [...new Set(names)],
      };
    }

    // The manifest of a bundle: what its files must hash to, where an exporter's key signed it.
    async checkManifest(text) {
      let found = null;
      try {
        found = envelope(Json.read(bytesOf(text)));
      } catch (error) {
        if (!(error instanceof Wrong)) throw error;
      }
      const exporters = new Map([...this.ring.keys].filter(([, key]) => key.role === 'evidence-exporter'));
      const signed = found && found.type === IN_TOTO ? await Promise.all(found.signatures.map(({ keyid, sig }) => {
        const key = exporters.get(keyid);
        return key ? ed25519(key.raw, sig, pae(IN_TOTO, found.payload)) : false;
      })) : [];
      if (!signed.includes(true)) throw new Wrong('manifest', 'manifest.json is not signed by an exporter whom the root names');
      const { subject } = Json.readObject(found.payload);
      const files = new Map();
      for (const { name, digest } of Array.isArray(subject) ? subject : []) {
        if (isText(name) && isObject(digest) && isText(digest.sha256)) files.set(name, digest.sha256);
      }
      return files;
    }
  }

  // The members of a payload that does not stand, for people: where it can be read at all.
  function readable(payload) {
    try {
      const body = Json.readObject(payload);
      const text = (value) => (isText(value) ? value.slice(0, 80) : null);
      return { type: text(body.type), time: text(body.time) };
    } catch {
      return null;
    }
  }

  // Whether the browser can do what is needed here: it takes a good Ed25519 signature (RFC 8032 section 7.1, test 2) and
  // refuses a broken one.
  async function able() {
    const bytes = (text) => Uint8Array.from(text.match(/../g), (pair) => parseInt(pair, 16));
    const key = bytes('3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c');
    const signature = bytes('92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da' +
      '085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00');
    try {
      const good = await ed25519(key, signature, Uint8Array.of(0x72));
      return good && !(await ed25519(key, signature, Uint8Array.of(0x73)));
    } catch {
      return false;
    }
  }

  return { Checker, Ring, able, authentic, cosigned, fromBase64, hex, prepare, serviceKey, sha256, sshsig };
})();
