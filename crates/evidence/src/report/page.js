// What the page does beside being read: it has its events checked (verify.js), shows in words what came of it, marks what
// does not stand, and lets the inventory be sorted and filtered. Everything it writes is text, never markup.
'use strict';

(() => {
  // Larger files are not hashed: a browser's SHA-256 wants the whole file in memory.
  const FILE_BYTES_MAX = 512 * 1024 * 1024;
  const LISTED_MAX = 200;
  const LINE_CHARS_MAX = 1024 * 1024;

  const report = JSON.parse(document.getElementById('report-data').textContent);
  const byId = (id) => document.getElementById(id);
  const root = document.documentElement;

  function element(name, text = '', attributes = {}) {
    const made = document.createElement(name);
    if (text !== '') made.textContent = text;
    for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
    return made;
  }

  const counted = (count, one, many = `${one}s`) => `${count.toLocaleString('en')} ${count === 1 ? one : many}`;

  // A name of an event type, for people: `dev.keylatch.key.suspended.v1` is `key suspended`.
  const typeName = (type) => (type ? type.replace(/^dev\.keylatch\./, '').replace(/\.v1$/, '').replace('.', ' ') : '');

  // === What a check is about ===

  // Every place in the page that names an event.
  const cites = new Map();
  for (const place of document.querySelectorAll('[data-seq]')) {
    const sequence = Number(place.dataset.seq);
    if (!cites.has(sequence)) cites.set(sequence, []);
    cites.get(sequence).push(place);
  }

  function newChecker() {
    const cited = new Map();
    for (const [sequence, places] of cites) {
      cited.set(sequence, new Set(places.map((place) => place.dataset.hash).filter(Boolean)));
    }
    const voids = new Set(report.voids);
    const sizes = report.checkpoint ? [report.checkpoint.size] : [];
    return new Keylatch.Checker({ tenant: report.tenant, root: report.root, voids, cited, sizes });
  }

  const contentsEntry = document.querySelector('.contents a[href="#check"]');

  // === Running ===

  let run = 0;
  let last = null;

  async function* embeddedLines() {
    const lines = byId('events').textContent.split('\n').filter((line) => line !== '');
    for (let at = 0; at < lines.length; at += 256) yield lines.slice(at, at + 256);
  }

  // The lines of a file, some at a time: it is never in memory as a whole.
  async function* fileLines(file) {
    const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
    const reader = file.stream().getReader();
    let rest = '';
    for (;;) {
      const { done, value } = await reader.read();
      rest += done ? decoder.decode() : decoder.decode(value, { stream: true });
      const lines = rest.split('\n');
      rest = done ? '' : lines.pop();
      if (rest.length > LINE_CHARS_MAX) throw new Error('a line of it has no end');
      const whole = lines.filter((line, at) => line !== '' || !done || at < lines.length - 1);
      if (whole.length > 0) yield whole;
      if (done) return;
    }
  }

  // Checks events, and the files of a folder where there is one, and shows what came of it. `what` says in words what is
  // read.
  async function check(what, batches, files = null) {
    const mine = ++run;
    last = null;
    clearMarks();
    show({ state: 'running', what });
    try {
      if (!(await Keylatch.able())) return show({ state: 'unable' });
      const found = await find(mine, what, batches, files);
      if (mine !== run) return undefined;
      last = { what, ...found };
    } catch (error) {
      return mine === run ? show({ state: 'failed', what: error.message }) : undefined;
    }
    mark(last.checker.problems, 'wrong');
    mark(last.checker.ofVoids, 'void');
    return show({ state: 'done' });
  }

  async function find(mine, what, batches, files) {
    const checker = newChecker();
    try {
      for await (const lines of batches) {
        await checker.take(lines);
        if (checker.stopped || mine !== run) break;
        show({ state: 'running', what, done: checker.sequence });
      }
    } catch (error) {
      checker.stop('unreadable', `it can't be read: ${error.message}`);
    }
    await checker.finish({ events: report.events, head: report.head, treeRoot: report.tree_root });
    const note = report.checkpoint ? await checker.checkNote(report.checkpoint.note) : null;
    return { checker, note, witnesses: await checkWitnesses(), folder: files ? await checkFiles(checker, files) : null };
  }

  // The checkpoint against the keys of witnesses that were given.
  async function checkWitnesses() {
    const keys = byId('witness-keys').value.split(/\s+/).filter((key) => key !== '');
    return report.checkpoint ? Promise.all(keys.map((key) => Keylatch.cosigned(report.checkpoint.note, key))) : [];
  }

  async function witnessesGiven() {
    const [mine, witnesses] = [run, await checkWitnesses()];
    if (!last || mine !== run) return;
    last.witnesses = witnesses;
    show({ state: 'done' });
  }

  // The files of a bundle against its manifest.
  async function checkFiles(checker, files) {
    const found = { checked: 0, wrong: [], skipped: [] };
    const manifest = files.get('manifest.json');
    if (!manifest) {
      found.skipped.push('there is no manifest.json in the folder');
      return found;
    }
    let wanted;
    try {
      wanted = await checker.checkManifest(await manifest.text());
    } catch (error) {
      found.wrong.push(error.message);
      return found;
    }
    for (const [name, digest] of wanted) {
      const file = files.get(name);
      if (!file) found.wrong.push(`${name} is missing`);
      else if (file.size > FILE_BYTES_MAX) found.skipped.push(`${name} is too large to hash in a browser`);
      else if (Keylatch.hex(await Keylatch.sha256(new Uint8Array(await file.arrayBuffer()))) !== digest) {
        found.wrong.push(`${name} is not the file that the manifest names`);
      } else found.checked++;
    }
    for (const name of files.keys()) {
      if (name !== 'manifest.json' && !wanted.has(name)) found.wrong.push(`${name} is not in the manifest`);
    }
    return found;
  }

  // === Showing ===

  const pinned = () => byId('pin').value.trim();

  // What a finished check comes to: a state and a sentence.
  function verdict({ checker, note, witnesses, folder, what }) {
    const pin = pinned();
    const wrongRoot = isFingerprint(pin) && pin !== report.root;
    const [first] = checker.problems;
    const noteWrong = (note && !note.good) || witnesses.some(({ state }) => state === 'wrong');
    if (wrongRoot) {
      return ['bad', 'Does not hold', 'This file names another root than the one you pinned.'];
    }
    if (first) {
      return ['bad', 'Does not hold', `${inWords(first)}.`];
    }
    if (folder && folder.wrong.length > 0) {
      return ['bad', 'Does not hold', `The events in ${what} hold, but of the folder's files: ${folder.wrong[0]}.`];
    }
    if (noteWrong) {
      return ['bad', 'Does not hold', 'The checkpoint that this report names does not fit the events or its signatures.'];
    }
    if (checker.counts.voids > 0 || report.void_count > 0) {
      const count = counted(report.void_count, 'event does', 'events do');
      return ['voids', 'Holds, with events that do not stand',
        `Hashes, links and signatures are as this report says, and ${count} not stand: somebody wrote to the log who should not have.`];
    }
    const under = pin && pin === report.root
      ? 'under the root that you pinned'
      : 'with the root that this file names; whether it is the right one, only you can tell';
    return ['good', 'Holds', `Everything that this page can check holds, ${under}.`];
  }

  const isFingerprint = (text) => /^SHA256:[A-Za-z0-9+/]{43}$/.test(text);

  function inWords({ sequence, type, text }) {
    return `Event ${sequence}${type ? ` (${typeName(type)})` : ''}: ${text}`;
  }

  const HEADLINES = {
    running: 'Checking…',
    waiting: 'Nothing has been checked yet',
    unable: 'Nothing has been checked',
    failed: 'The check could not be finished',
  };

  function show({ state, what = '', done = 0 }) {
    const [name, headline, sentence] = state === 'done' ? verdict(last) : [state, HEADLINES[state], {
      running: `${counted(done, 'event')} of ${report.events.toLocaleString('en')} read from ${what}.`,
      waiting: `The events (${mebibytes(report.bytes)} MiB) are too many to stand in this page. Choose the bundle's folder, or its events.jsonl.`,
      unable: 'This browser can\'t check Ed25519 signatures. Use a newer one, or keylatch verify.',
      failed: `Nothing is known of what was to be checked: ${what}. Use keylatch verify.`,
    }[state]];
    byId('verdict-headline').textContent = headline;
    contentsEntry.textContent = state === 'running' ? 'Check result' : `Check result: ${headline.toLowerCase()}`;
    byId('verdict-text').textContent = `${sentence} `;
    const progress = byId('check-progress');
    progress.hidden = state !== 'running';
    progress.max = Math.max(report.events, 1);
    progress.value = done;
    byId('found').hidden = state !== 'done';
    if (state === 'done') showFound(last);
    pinNote();
    // Last, because it says that all the rest is there.
    root.dataset.check = name;
  }

  const mebibytes = (bytes) => (bytes / 1024 / 1024).toFixed(1);

  function pinNote() {
    const pin = pinned();
    byId('pin-note').textContent = pin === '' ? 'Not given.'
      : !isFingerprint(pin) ? 'That is not a fingerprint: SHA256: and 43 characters, as ssh-keygen -l prints it.'
        : pin === report.root ? 'The same as in this file.' : 'Another one than in this file.';
    byId('pin').setAttribute('aria-invalid', String(pin !== '' && pin !== report.root));
  }

  function showFound({ what, checker, note, witnesses, folder }) {
    const { counts } = checker;
    const rows = [];
    const row = (state, name, text) => rows.push([state, name, text]);
    // What is wrong with void events alone is no fault of the file.
    const all = (good, of) => (good === of ? 'holds' : checker.problemCount > 0 ? 'wrong' : 'aside');
    const of = (good, total) => `${good.toLocaleString('en')} of ${total.toLocaleString('en')}`;
    row(all(counts.links, counts.events), 'Hashes and links', `${of(counts.links, counts.events)} events name the hash of the one before`);
    row(all(counts.signatures, counts.events), 'Signatures of services, places, times', `${of(counts.signatures, counts.events)} events are in form and in their place`);
    row(counts.statements > 0 ? 'holds' : 'wrong', 'Authority', `${counted(counts.statements, 'statement')} signed by the root ${report.root}`);
    row(wrongOf(checker, ['command', 'command-signature']) ? 'wrong' : 'holds', 'Signatures of people and workloads',
      `${counted(counts.people, 'signature')} under the commands that events carry`);
    if (counts.unknownKinds > 0) row('open', 'Signatures of other kinds', `${counted(counts.unknownKinds, 'signature')} by passkeys are not checked here`);
    row(wrongOf(checker, ['statement']) ? 'wrong' : 'holds', 'Statements of custodians', `${counted(counts.generated, 'key')} generated by a custodian whom the root names`);
    row(all(counts.checkpointsGood, counts.checkpoints), 'Recorded checkpoints', `${of(counts.checkpointsGood, counts.checkpoints)} fit the tree and the exporter's key`);
    row(wrongOf(checker, ['another-history']) || checker.stopped ? 'wrong' : 'holds', 'Head and tree root',
      `over ${counted(counts.events, 'event')}, as this report says`);
    row(wrongOf(checker, ['another-event']) ? 'wrong' : 'holds', 'Events that this report names', `${counted(counts.cited, 'hash', 'hashes')} found in their places`);
    if (note) showNote(row, note, witnesses);
    showFolder(row, folder);
    if (report.void_count > 0) showVoids(row, checker);
    const body = byId('found-rows');
    body.replaceChildren(...rows.map(foundRow));
    byId('found-what').textContent = `Read: ${what}.`;
    showProblems(checker);
  }

  const wrongOf = (checker, codes) => checker.problems.some((problem) => codes.includes(problem.code));

  const WITNESSED = {
    holds: ['holds', 'its signature under the checkpoint, by the key that you gave'],
    wrong: ['wrong', 'its signature under the checkpoint, by the key that you gave'],
    missing: ['open', 'the checkpoint has no signature by the key that you gave'],
    unknown: ['open', 'that is not the key of a witness, or of a kind that is not checked here'],
  };

  function showNote(row, note, witnesses) {
    row(note.good ? 'holds' : 'wrong', 'The checkpoint of this report', `over ${counted(note.size, 'event')}, against the tree and the exporter's key`);
    for (const { name, state } of witnesses) row(WITNESSED[state][0], `Witness ${name}`, WITNESSED[state][1]);
    const others = note.names.filter((name) => !witnesses.some((witness) => witness.name === name));
    for (const name of others) row('open', `Witness ${name}`, 'give its key above to have its signature checked');
    if (note.names.length === 0) row('open', 'Witnesses', 'nobody else has signed the checkpoint');
  }

  function showFolder(row, folder) {
    const name = 'Other files of the bundle';
    if (!folder) return row('open', name, 'choose the bundle\'s folder to have them checked');
    if (folder.wrong.length > 0) return folder.wrong.forEach((text) => row('wrong', name, text));
    if (folder.checked > 0) row('holds', name, `${counted(folder.checked, 'file')} as in manifest.json, which an exporter's key signed`);
    return folder.skipped.forEach((text) => row('open', name, text));
  }

  function showVoids(row, checker) {
    const byForm = new Set(checker.ofVoids.map(({ sequence }) => sequence)).size;
    row('void', 'Events that do not stand', `${counted(report.void_count, 'event')}; ${byForm} of them found here as well, ` +
      'the others (what only the law forbids) are this report\'s word');
  }

  const WORDS = {
    holds: 'holds', wrong: 'does not hold', open: 'not checked', void: 'do not stand', aside: 'holds, void ones aside',
  };
  const GLYPHS = {
    holds: 'no-exceptions', wrong: 'wrong', open: 'not-applicable', void: 'exceptions', aside: 'exceptions',
  };

  function foundRow([state, name, text]) {
    const row = element('tr', '', { 'data-found': state });
    const cell = element('td', '', { class: 'found-word' });
    cell.replaceChildren(glyph(state), element('span', WORDS[state]));
    row.replaceChildren(element('th', name, { scope: 'row' }), cell, element('td', text));
    return row;
  }

  // A shape beside each word, so that neither colour nor shape alone says it.
  function glyph(state) {
    const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
    const use = document.createElementNS('http://www.w3.org/2000/svg', 'use');
    svg.setAttribute('class', 'glyph');
    svg.setAttribute('aria-hidden', 'true');
    use.setAttribute('href', `#g-${GLYPHS[state]}`);
    svg.replaceChildren(use);
    return svg;
  }

  function showProblems(checker) {
    const items = checker.problems.slice(0, LISTED_MAX);
    byId('problems').hidden = items.length === 0;
    byId('problem-list').replaceChildren(...items.map(problemItem));
    const more = checker.problemCount - items.length;
    byId('problem-more').textContent = more > 0 ? `And ${more.toLocaleString('en')} more.` : '';
    const first = items[0];
    if (first) byId('verdict-text').insertAdjacentElement('beforeend', placeLink(first, 'Go to it'));
  }

  function problemItem(problem, place) {
    const item = element('li', '', { 'data-problem': problem.code, id: `problem-${place + 1}` });
    const about = [typeName(problem.type), problem.time].filter(Boolean).join(', ');
    const places = cites.get(problem.sequence) || [];
    item.replaceChildren(
      element('strong', `Event ${problem.sequence}`), about ? ` (${about})` : '', ': ', element('code', problem.code),
      ` ${problem.text}. `, problem.hash ? element('code', problem.hash.slice(0, 16), { title: problem.hash }) : '', ' ',
      places.length > 0 ? placeLink(problem, `Where this report speaks of it (${places.length})`) : '',
    );
    return item;
  }

  // A link to where the page speaks of the event: its entry in a timeline, else the first place that names it.
  function placeLink({ sequence }, text) {
    const places = cites.get(sequence) || [];
    const place = places.find((found) => found.id) || places[0];
    if (place && !place.id) place.id = `cited-${sequence}`;
    return element('a', text, { href: `#${place ? place.id : 'problem-1'}` });
  }

  function clearMarks() {
    document.querySelectorAll('[data-bad]').forEach((place) => delete place.dataset.bad);
    document.querySelectorAll('.mark').forEach((made) => made.remove());
  }

  // Marks every place that names an event of which something is wrong, in words.
  function mark(problems, as) {
    const marked = new Set();
    for (const { sequence, code } of problems) {
      if (marked.has(sequence)) continue;
      marked.add(sequence);
      for (const place of cites.get(sequence) || []) {
        place.dataset.bad = as;
        const made = element('strong', '', { class: 'mark' });
        made.replaceChildren(glyph(as), element('span', ` does not stand: ${code}`));
        place.insertAdjacentElement('beforeend', made);
      }
    }
  }

  // === Files that somebody gives ===

  function checkFileList(files) {
    const named = new Map();
    for (const [path, file] of files) named.set(path, file);
    const folder = [...named.keys()].every((path) => path.includes('/'));
    // The folder's own name is not part of the names in the manifest.
    const inside = new Map([...named].map(([path, file]) => [folder ? path.slice(path.indexOf('/') + 1) : path, file]));
    const events = inside.get('events.jsonl') || (inside.size === 1 ? [...inside.values()][0] : null);
    if (!events) {
      byId('pick-note').textContent = 'There is no events.jsonl in what you chose.';
      return;
    }
    byId('pick-note').textContent = '';
    check(folder ? 'the folder that you chose' : events.name, fileLines(events), folder ? inside : null);
  }

  const chosen = (input) => [...input.files].map((file) => [file.webkitRelativePath || file.name, file]);

  // The files below what was dropped, with their paths.
  async function dropped(entry, path = '') {
    if (entry.isFile) return [[path + entry.name, await new Promise((found, failed) => entry.file(found, failed))]];
    const reader = entry.createReader();
    const files = [];
    for (;;) {
      const some = await new Promise((found, failed) => reader.readEntries(found, failed));
      if (some.length === 0) return files;
      for (const inner of some) files.push(...await dropped(inner, `${path}${entry.name}/`));
    }
  }

  function takeFiles() {
    for (const input of [byId('pick-folder'), byId('pick-file')]) {
      // So that the same can be chosen again, when it has changed.
      input.addEventListener('click', () => { input.value = ''; });
      input.addEventListener('change', () => checkFileList(chosen(input)));
    }
    const zone = byId('check');
    zone.addEventListener('dragover', (event) => {
      event.preventDefault();
      zone.dataset.over = '';
    });
    zone.addEventListener('dragleave', () => delete zone.dataset.over);
    zone.addEventListener('drop', async (event) => {
      event.preventDefault();
      delete zone.dataset.over;
      const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry()).filter(Boolean);
      const files = (await Promise.all(entries.map((entry) => dropped(entry)))).flat();
      if (files.length > 0) checkFileList(files);
    });
  }

  // === The inventory ===

  function inventory() {
    const table = document.querySelector('table.inventory');
    if (!table) return;
    const rows = [...table.tBodies[0].rows];
    const columns = [...table.tHead.rows[0].cells];
    columns.forEach((cell, column) => {
      const button = element('button', cell.textContent, { type: 'button', class: 'sort' });
      cell.replaceChildren(button);
      cell.setAttribute('aria-sort', 'none');
      button.addEventListener('click', () => sortBy(table, rows, columns, column));
    });
    const filter = () => filterRows(rows);
    byId('filter-text').addEventListener('input', filter);
    byId('filter-state').addEventListener('change', filter);
    byId('inventory-tools').hidden = false;
    filter();
  }

  function sortBy(table, rows, columns, column) {
    const downwards = columns[column].getAttribute('aria-sort') === 'ascending';
    columns.forEach((cell) => cell.setAttribute('aria-sort', 'none'));
    columns[column].setAttribute('aria-sort', downwards ? 'descending' : 'ascending');
    const value = (row) => row.cells[column].dataset.sort ?? row.cells[column].textContent;
    const compare = (a, b) => value(a).localeCompare(value(b), 'en', { numeric: true });
    const sorted = [...rows].sort((a, b) => (downwards ? compare(b, a) : compare(a, b)));
    table.tBodies[0].replaceChildren(...sorted);
  }

  function filterRows(rows) {
    const text = byId('filter-text').value.trim().toLowerCase();
    const state = byId('filter-state').value;
    let shown = 0;
    for (const row of rows) {
      const fits = (state === '' || row.dataset.state === state) && row.textContent.toLowerCase().includes(text);
      row.hidden = !fits;
      shown += fits ? 1 : 0;
    }
    byId('filter-count').textContent = `${shown.toLocaleString('en')} of ${counted(rows.length, 'key')} shown`;
  }

  // What scrolls is reached by keyboard; what does not is no stop on the way.
  function scrollers() {
    for (const box of document.querySelectorAll('.scroll')) {
      if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
      else box.removeAttribute('tabindex');
    }
  }

  // === Begin ===

  byId('check-tools').hidden = false;
  byId('pin').addEventListener('input', () => (last ? show({ state: 'done' }) : pinNote()));
  byId('witness-keys').addEventListener('input', witnessesGiven);
  takeFiles();
  inventory();
  pinNote();
  scrollers();
  addEventListener('resize', scrollers);
  if (report.embedded) check('this page', embeddedLines());
  else show({ state: 'waiting' });
})();
