//! What verifying a history, and making and checking a bundle of it, costs on this machine, beside what its signatures cost alone, in one run on one core.
//!
//! `cargo run --release -p evidence --example throughput`
#![allow(clippy::unwrap_used, reason = "an example that measures")]

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::sync::Mutex;
use std::time::Instant;

use evidence::bundle::{EVENTS, LINES, MANIFEST};
use evidence::verdict::{self, Folder, Given};
use evidence::{Bundle, Verifier};
use journal::command::SignedCommand;
use journal::note::{Checkpoint, Note};
use journal::{Authentic, Record, Ring};
use lifecycle::scenario::Scenario;
use model::{Event, EventType, Sequence, ServiceRole};

const KEYS: usize = 150;

fn main() {
    let scenario = history();
    let (records, ring) = (&scenario.records, scenario.tenant.ring());
    let bytes: usize = records.iter().map(|record| record.payload.len()).sum();
    println!("{} events of {} bytes on average", records.len(), bytes / records.len());
    let one_core = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();

    let events = rate(records.len(), || records.iter().for_each(|record| drop(opened(record, &ring))));
    let commands: Vec<_> = records.iter().filter_map(|record| command(record, &ring)).collect();
    let whole = rate(records.len(), || {
        let mut verifier = Verifier::new(scenario.tenant.chain.tenant(), scenario.tenant.root);
        let judged = one_core.install(|| verifier.take(records.clone()));
        assert!(verifier.report().is_clean() && judged.len() == records.len());
    });
    let signed = rate(commands.len(), || {
        for command in &commands {
            SignedCommand::open(command.clone()).unwrap();
        }
    });
    println!("form of events (signature, JSON)      {events:>9.0} /s");
    println!("commands (signatures, JSON)           {signed:>9.0} /s");
    println!("form and law, everything              {whole:>9.0} events/s, {:.2} of form alone", whole / events);
    let made = rate(records.len(), || one_core.install(|| drop(bundle(&scenario))));
    println!("a bundle made                         {made:>9.0} events/s, {:.2} of verifying", made / whole);
    let files = bundle(&scenario);
    let checked = rate(records.len(), || {
        let given = Given::root(scenario.tenant.root);
        let verdict = one_core.install(|| verdict::check(&mut Shelf(&files), &given, &mut |_| ())).unwrap();
        assert!(verdict.holds, "{:?}", verdict.findings().next());
    });
    println!("a bundle checked                      {checked:>9.0} events/s, {:.2} of verifying", checked / whole);
}

/// The bundle of a scenario, in memory.
fn bundle(scenario: &Scenario) -> BTreeMap<String, Vec<u8>> {
    let tenant = scenario.tenant.chain.tenant();
    let exporter = scenario.service(ServiceRole::EvidenceExporter);
    let note = Checkpoint::of(tenant, scenario.tenant.chain.tree()).sign(exporter.signing_key());
    let mut bundle = Bundle::new(tenant, scenario.tenant.root, Sequence(1));
    let (mut events, mut ocsf) = (Vec::new(), Vec::new());
    scenario.records.chunks(512).for_each(|records| bundle.take(records.to_vec(), &mut events, &mut ocsf).unwrap());
    let made = bundle.finish(&[Note::parse(&note).unwrap()]).unwrap();
    let files: Mutex<BTreeMap<String, Vec<u8>>> = Mutex::default();
    let statement = made.write(exporter, |name: &str| Ok(Out(&files, name.to_owned()))).unwrap();
    let mut files = files.into_inner().unwrap();
    files.extend(
        [(EVENTS, events), (LINES, ocsf), (MANIFEST, statement.sign(exporter))]
            .map(|(name, bytes)| (name.to_owned(), bytes)),
    );
    files
}

/// A file being written.
struct Out<'a>(&'a Mutex<BTreeMap<String, Vec<u8>>>, String);

impl Write for Out<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().entry(self.1.clone()).or_default().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A folder in memory.
struct Shelf<'a>(&'a BTreeMap<String, Vec<u8>>);

impl Folder for Shelf<'_> {
    fn names(&mut self) -> io::Result<Vec<String>> {
        Ok(self.0.keys().cloned().collect())
    }

    fn open<'a>(&'a mut self, name: &str) -> io::Result<Box<dyn Read + 'a>> {
        let file = self.0.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(file.as_slice()))
    }
}

fn history() -> Scenario {
    let mut scenario = Scenario::new();
    for at in 0..KEYS {
        scenario.run(&format!(
            "generate k{at} by kim => key.generated
             apply k{at} => custody.applied
             request k{at} by rae => activation.requested
             approve k{at} by sam => activation.approved
             approve k{at} by lou => activation.approved
             due => activation.authorized, key.activated
             apply k{at} => custody.applied
             suspend k{at} by opa => key.suspended
             apply k{at} => custody.applied"
        ));
    }
    scenario
}

fn opened(record: &Record, ring: &Ring) -> Option<Authentic> {
    Authentic::open(record, ring).ok()
}

fn command(record: &Record, ring: &Ring) -> Option<model::Envelope> {
    let body = opened(record, ring)?.body;
    let event_type: EventType = body.event_type.parse().ok()?;
    Event::parse(event_type, &body.data).ok()?.command().cloned()
}

/// How many a second: the best of five.
fn rate(count: usize, run: impl Fn()) -> f64 {
    let seconds = (0..5).map(|_| {
        let started = Instant::now();
        run();
        started.elapsed().as_secs_f64()
    });
    count as f64 / seconds.fold(f64::INFINITY, f64::min)
}
