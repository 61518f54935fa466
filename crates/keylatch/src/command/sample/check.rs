//! Drawing a sample again, and comparing.

use std::path::Path;

use evidence::export;
use evidence::sample::{Drawn, Sample, Signed, checkpoints, text};
use journal::note::Note;
use journal::tlog_proof::TlogProof;
use serde_json::json;

use super::folder::{event_of, proof_of, read};
use crate::error::{Error, Exit};
use crate::layout::{BOLD, Fields, GREEN, RED, safe};
use crate::look_back::{LookBack, Source, Wanted};
use crate::screen::{Screen, Shown};

pub(super) async fn check(folder: &Path, mut source: Source<'_>, screen: &mut Screen) -> Result<Exit, Error> {
    let (sample, population) = read(folder)?;
    let back = source.look_back(Wanted::default(), screen).await?;
    back.warn_of_voids(screen);
    let known = checkpoints(&back.replay, &[back.notes.as_slice(), &notes_of(folder, &sample)].concat());
    let mut faults = again(&back, &known, &sample, &population);
    for (place, drawn) in sample.items.iter().enumerate() {
        let fault = item(&known, &sample, folder, place, drawn).err();
        faults.extend(fault.map(|fault| format!("item {}: {fault}", place + 1)));
    }
    screen.show(&shown(folder, &sample, &faults))?;
    Ok(if faults.is_empty() { Exit::Ok } else { Exit::Refused })
}

/// The checkpoints in the proofs: one of them may be over all events of an export, whose own event comes after them.
fn notes_of(folder: &Path, sample: &Sample) -> Vec<Note> {
    let proof = |place| std::fs::read_to_string(proof_of(folder, place)).ok();
    let proofs = (0..sample.items.len()).filter_map(proof);
    proofs.filter_map(|proof| Some(TlogProof::parse(&proof).ok()?.note)).collect()
}

/// What comes of drawing again.
fn again(back: &LookBack, known: &[Signed], sample: &Sample, population: &str) -> Vec<String> {
    let (again, items) = match Sample::draw(&back.replay, known, &sample.asked()) {
        Ok(drawn) => drawn,
        Err(error) => return vec![error.to_string()],
    };
    let mut faults = Vec::new();
    let mut compare = |same: bool, what: &str| faults.extend((!same).then(|| what.to_owned()));
    compare(sample.format == again.format, "it is of another form");
    compare(sample.tenant == again.tenant, "it is of another tenant");
    compare(sample.trust_root == again.trust_root, "it was drawn from a history under another root");
    compare(sample.checkpoint == again.checkpoint, "the checkpoint is another than the exporter's");
    compare(sample.population == again.population, "the population is another than the history's");
    compare(population == text(&items), "population.txt is not the history's population");
    compare(sample.items == again.items, "the items are not those that are drawn from it");
    faults
}

fn item(known: &[Signed], sample: &Sample, folder: &Path, place: usize, drawn: &Drawn) -> Result<(), String> {
    let line = std::fs::read(event_of(folder, place)).map_err(|error| format!("its event: {error}"))?;
    let record = export::from_line(&line).map_err(|error| format!("its event: {error}"))?;
    if record.hash() != drawn.item.hash {
        return Err(format!("its event has the hash {}, and {} was drawn", record.hash(), drawn.item.hash));
    }
    let proof = std::fs::read_to_string(proof_of(folder, place)).map_err(|error| format!("its proof: {error}"))?;
    sample.proves(known, drawn, &proof).map_err(|error| format!("its proof: {error}"))
}

fn shown(folder: &Path, sample: &Sample, faults: &[String]) -> Shown {
    let mut fields = Fields::default();
    let (population, seed) = (&sample.population, &sample.checkpoint);
    fields.text("items", format!("{} of {} {}", sample.items.len(), population.count, population.of));
    fields.text("checkpoint", format!("over {} events", seed.size));
    fields.text("tenant", sample.tenant.to_string());
    fields.text("root", sample.trust_root.to_string());
    let verdict = match faults {
        [] => format!("{GREEN}it holds{GREEN:#}: drawn again, the same; every event is there and proved\n"),
        faults => {
            let lines: String = faults.iter().map(|fault| format!("  {RED}{}{RED:#}\n", safe(fault))).collect();
            format!("{RED}it does not hold{RED:#}\n{lines}")
        }
    };
    let name = safe(&folder.display().to_string());
    let json = json!({ "ok": faults.is_empty(), "folder": folder, "faults": faults, "sample": sample });
    Shown { json, people: format!("{BOLD}{name}{BOLD:#}  {verdict}{}", fields.to_people(2)) }
}
