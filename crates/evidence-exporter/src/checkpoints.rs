//! Checkpoints as they are recorded, what others have said of them, and proofs by them: answers to `hist.checkpoint`,
//! `hist.prove` and `hist.consistency`.

use journal::merkle::Hash;
use journal::note::{Checkpoint, Note, origin};
use journal::tlog_proof::TlogProof;
use journal::{Body, Journal, Record};
use journal_sled::Archive;
use model::history::{
    CheckpointAnswer, CheckpointRequest, ConsistencyAnswer, ConsistencyRequest, HistoryCheckpoint, ProofAnswer,
    ProofRequest,
};
use model::text::Base64;
use model::{Digest, Event, EventHash, EventType, Problem, ProblemType, Sequence, TenantId};
use service::command::Answer;
use service::{Error, Node};

use crate::witnessed::Witnessed;

/// A checkpoint that is recorded.
pub(crate) struct Recorded {
    pub(crate) checkpoint: Checkpoint,
    /// The note, with the exporter's signature alone.
    pub(crate) note: Note,
    /// The event that records it.
    event: EventHash,
}

/// A tenant's newest checkpoint.
pub(crate) fn newest<J: Journal>(node: &Node<J>, tenant: TenantId) -> Result<Option<Recorded>, Error> {
    match node.view(tenant, lifecycle::Footprint::default())?.progress.covered {
        0 => Ok(None),
        size => at(node, tenant, size),
    }
}

/// The checkpoint of this size: it stands in the event right behind those that it covers. Whether that event is void is
/// not looked at; whoever is given a checkpoint verifies it.
pub(crate) fn at<J: Journal>(node: &Node<J>, tenant: TenantId, size: u64) -> Result<Option<Recorded>, Error> {
    let Some(record) = record(node, tenant, size)? else { return Ok(None) };
    let read = || {
        let body = Body::parse(&record.payload).ok()?;
        let event_type =
            (body.event_type == EventType::CheckpointSigned.full_name()).then_some(EventType::CheckpointSigned)?;
        let Ok(Event::CheckpointSigned(signed)) = Event::parse(event_type, &body.data) else { return None };
        let note = Note::parse(&signed.note).ok()?;
        let checkpoint = note.checkpoint().ok()?;
        let fits = checkpoint.size == size && checkpoint.origin == origin(tenant) && signed.root.0 == checkpoint.root;
        fits.then_some(Recorded { checkpoint, note, event: record.hash() })
    };
    Ok(read())
}

/// The event behind the first `size`: archived, or on its way there.
fn record<J: Journal>(node: &Node<J>, tenant: TenantId, size: u64) -> Result<Option<Record>, Error> {
    if size >= node.replica().head(tenant)?.sequence.0 {
        return Ok(None);
    }
    let wanted = Sequence(size).next();
    let tail = node.replica().tail(tenant, wanted, 1)?;
    if let Some((_, record)) = tail.into_iter().find(|(sequence, _)| *sequence == wanted) {
        return Ok(Some(record));
    }
    let Some(archive) = node.archive() else { return Ok(None) };
    Ok(archive.read(tenant, wanted, 1, 1).map_err(|error| Error::Archive(error.to_string()))?.pop())
}

/// Answers about checkpoints. Blocks.
pub(crate) struct Checkpoints<'a, J> {
    pub(crate) node: &'a Node<J>,
    pub(crate) witnessed: &'a Witnessed,
    pub(crate) tenant: TenantId,
}

impl<J: Journal> Checkpoints<'_, J> {
    /// `hist.checkpoint`
    pub(crate) fn checkpoint(&self, request: &CheckpointRequest) -> Answer {
        let recorded = self.wanted(request.size)?;
        let answer = CheckpointAnswer {
            checkpoint: self.with_beside(&recorded)?,
            cosigned: self.witnessed.newest_cosigned(self.tenant).map_err(failed)?,
            stamped: self.witnessed.newest_stamped(self.tenant).map_err(failed)?,
        };
        to_json(&answer)
    }

    /// `hist.prove`
    pub(crate) fn prove(&self, request: &ProofRequest) -> Answer {
        if request.sequence == 0 {
            return Err(Problem::new(ProblemType::Malformed, "`sequence` starts at 1"));
        }
        let recorded = self.covering(request)?;
        let (size, event) = (recorded.checkpoint.size, Sequence(request.sequence));
        let path = self.archive()?.inclusion(self.tenant, event, size, &recorded.checkpoint.root).map_err(failed)?;
        let note = self.note(&recorded)?;
        let proof = TlogProof { extra: None, index: request.sequence - 1, path, note };
        to_json(&ProofAnswer { size, proof: proof.to_string() })
    }

    /// `hist.consistency`
    pub(crate) fn consistency(&self, request: &ConsistencyRequest) -> Answer {
        let (from, to) = (self.wanted(Some(request.from))?, self.wanted(request.to)?);
        let (older, newer) = (&from.checkpoint, &to.checkpoint);
        if older.size > newer.size {
            return Err(Problem::new(ProblemType::Malformed, "`from` is the older one: it is not above `to`"));
        }
        let hashes = self.archive()?.consistency(self.tenant, older.size, newer.size, &newer.root).map_err(failed)?;
        to_json(&ConsistencyAnswer {
            from: self.with_beside(&from)?,
            to: self.with_beside(&to)?,
            hashes: hashes.into_iter().map(|hash: Hash| Digest::new(hash)).collect(),
        })
    }

    /// The checkpoint that is asked for; the newest where none is named.
    fn wanted(&self, size: Option<u64>) -> Result<Recorded, Problem> {
        let (recorded, missing) = match size {
            Some(size) => (at(self.node, self.tenant, size), format!("none over {size} events")),
            None => (newest(self.node, self.tenant), "there is none yet".to_owned()),
        };
        recorded.map_err(failed)?.ok_or_else(|| Problem::new(ProblemType::UnknownCheckpoint, missing))
    }

    /// The checkpoint by which an event is proved.
    fn covering(&self, request: &ProofRequest) -> Result<Recorded, Problem> {
        let not_covered = |what: String| Problem::new(ProblemType::NotCovered, what);
        let recorded = match (request.size, self.cosigned(request.sequence)?) {
            (Some(size), _) => self.wanted(Some(size))?,
            (None, Some(recorded)) => recorded,
            (None, None) => newest(self.node, self.tenant)
                .map_err(failed)?
                .ok_or_else(|| not_covered("there is no checkpoint yet".to_owned()))?,
        };
        let size = recorded.checkpoint.size;
        if size >= request.sequence {
            return Ok(recorded);
        }
        Err(not_covered(format!("the checkpoint is over {size} events, and the event is number {}", request.sequence)))
    }

    /// The newest checkpoint that a witness has cosigned, where it covers an event.
    fn cosigned(&self, sequence: u64) -> Result<Option<Recorded>, Problem> {
        match self.witnessed.newest_cosigned(self.tenant).map_err(failed)? {
            Some(size) if size >= sequence => at(self.node, self.tenant, size).map_err(failed),
            _ => Ok(None),
        }
    }

    /// The note with the cosignatures that there are.
    fn note(&self, recorded: &Recorded) -> Result<Note, Problem> {
        let mut note = recorded.note.clone();
        for lines in self.witnessed.cosignatures(self.tenant, recorded.checkpoint.size).map_err(failed)? {
            // They were verified before they were kept.
            note.add(&lines).map_err(failed)?;
        }
        Ok(note)
    }

    fn with_beside(&self, recorded: &Recorded) -> Result<HistoryCheckpoint, Problem> {
        let size = recorded.checkpoint.size;
        let stamp = self.witnessed.timestamp(self.tenant, size).map_err(failed)?;
        Ok(HistoryCheckpoint {
            size,
            event: recorded.event,
            note: self.note(recorded)?.to_string(),
            timestamps: stamp.into_iter().map(Base64).collect(),
        })
    }

    fn archive(&self) -> Result<&Archive, Problem> {
        crate::archive(self.node)
    }
}

fn to_json(answer: &impl serde::Serialize) -> Answer {
    serde_json::to_value(answer).map_err(failed)
}

fn failed(error: impl std::fmt::Display) -> Problem {
    Problem::new(ProblemType::Unavailable, error)
}

#[cfg(test)]
mod tests {
    use journal::merkle;
    use journal::note::{Kind, NoteKey, Opened};
    use serde::de::DeserializeOwned;

    use super::*;
    use crate::world::World;

    fn read<T: DeserializeOwned>(answer: Answer) -> T {
        serde_json::from_value(answer.unwrap()).unwrap()
    }

    #[track_caller]
    fn refused(answer: Answer, problem: ProblemType) {
        assert_eq!(answer.unwrap_err().kind(), Some(problem));
    }

    /// Asks in this tenant, with what is kept.
    struct Asked<'a> {
        world: &'a World,
        witnessed: &'a Witnessed,
    }

    impl Asked<'_> {
        fn ask(&self) -> Checkpoints<'_, std::sync::Arc<journal::memory::MemoryJournal>> {
            Checkpoints { node: &self.world.node, witnessed: self.witnessed, tenant: self.world.tenant() }
        }

        /// The proof that an event is there, verified; its checkpoint's size and how many have cosigned it.
        fn proved(&self, sequence: u64, size: Option<u64>, witness: &NoteKey) -> (u64, usize) {
            let answer: ProofAnswer = read(self.ask().prove(&ProofRequest { sequence, size }));
            let proof = TlogProof::parse(&answer.proof).unwrap();
            let event = self.world.scenario.records[usize::try_from(sequence).unwrap() - 1].hash();
            let (log, witnesses) = ([self.world.log_key()], [witness.clone()]);
            let opened = proof.verify(event.as_bytes(), &origin(self.world.tenant()), &log, &witnesses).unwrap();
            assert_eq!((proof.index, opened.checkpoint.size), (sequence - 1, answer.size));
            (answer.size, opened.cosignatures.len())
        }
    }

    #[tokio::test]
    async fn checkpoints_are_given_with_what_others_said_of_them_and_prove_events() {
        let world = World::new().await;
        let witnessed = Witnessed::open(&world.dir.path().join("witnessed.redb")).unwrap();
        let asked = Asked { world: &world, witnessed: &witnessed };
        let (tenant, sizes) = (world.tenant(), world.sizes());
        let [older, middle, newest] = sizes[..] else { panic!("{sizes:?}") };
        let signer = ed25519_dalek::SigningKey::from_bytes(&[3; 32]);
        let witness = NoteKey::new("witness.example/w1", Kind::Cosignature, signer.verifying_key()).unwrap();
        assert_eq!(asked.proved(1, None, &witness), (newest, 0));

        let at = |size| at(&world.node, tenant, size).unwrap().unwrap();
        let line = at(middle).note.cosignature("witness.example/w1", 1_795_451_400, &signer).to_string();
        witnessed.cosigned(tenant, middle, &witness, &line, world.clock.now()).unwrap();
        witnessed.stamped(tenant, older, "http://tsa.example", b"a stamp", world.clock.now()).unwrap();
        let answer: CheckpointAnswer = read(asked.ask().checkpoint(&CheckpointRequest { size: None }));
        assert_eq!((answer.checkpoint.size, answer.cosigned, answer.stamped), (newest, Some(middle), Some(older)));
        assert!(answer.checkpoint.timestamps.is_empty());
        let answer: CheckpointAnswer = read(asked.ask().checkpoint(&CheckpointRequest { size: Some(older) }));
        assert_eq!(answer.checkpoint.timestamps, [Base64(b"a stamp".to_vec())]);
        let record = &world.scenario.records[usize::try_from(older).unwrap()];
        assert_eq!(answer.checkpoint.event, record.hash());

        // By the newest that is cosigned, where it covers the event; by the newest, or by the one that is asked for.
        for sequence in [1, 2, older, middle] {
            assert_eq!(asked.proved(sequence, None, &witness), (middle, 1));
        }
        for sequence in [middle + 1, newest] {
            assert_eq!(asked.proved(sequence, None, &witness), (newest, 0));
        }
        assert_eq!(asked.proved(older, Some(older), &witness), (older, 0));

        let answer: ConsistencyAnswer = read(asked.ask().consistency(&ConsistencyRequest { from: older, to: None }));
        let path: Vec<Hash> = answer.hashes.iter().map(|hash| *hash.as_bytes()).collect();
        let (log, origin) = ([world.log_key()], origin(tenant));
        let opened = |note: &str| Opened::read(&Note::parse(note).unwrap(), &origin, &log, &[]).unwrap().checkpoint;
        let (from, to) = (opened(&answer.from.note), opened(&answer.to.note));
        assert_eq!((from.size, to.size), (older, newest));
        assert!(merkle::continues(from.size, &from.root, to.size, &to.root, &path));
        let same: ConsistencyAnswer =
            read(asked.ask().consistency(&ConsistencyRequest { from: older, to: Some(older) }));
        assert!(same.hashes.is_empty());
    }

    #[tokio::test]
    async fn what_is_not_there_is_refused_with_the_reason() {
        let mut world = World::new().await;
        world.run("generate k4 by kim => key.generated").await;
        let witnessed = Witnessed::open(&world.dir.path().join("witnessed.redb")).unwrap();
        let asked = Asked { world: &world, witnessed: &witnessed };
        let (sizes, events) = (world.sizes(), world.scenario.records.len() as u64);
        let (older, newest) = (sizes[0], *sizes.last().unwrap());
        let prove = |sequence, size| asked.ask().prove(&ProofRequest { sequence, size });
        let consistency = |from, to| asked.ask().consistency(&ConsistencyRequest { from, to });
        refused(prove(0, None), ProblemType::Malformed);
        refused(prove(newest + 1, None), ProblemType::NotCovered);
        refused(prove(u64::MAX, None), ProblemType::NotCovered);
        refused(prove(older + 1, Some(older)), ProblemType::NotCovered);
        // Sizes that no checkpoint has: what stands behind them is another event, or none.
        for size in [0, 1, older - 1, older + 1, newest + 1, events - 1, events, events + 1, u64::MAX] {
            refused(prove(1, Some(size)), ProblemType::UnknownCheckpoint);
            refused(asked.ask().checkpoint(&CheckpointRequest { size: Some(size) }), ProblemType::UnknownCheckpoint);
            refused(consistency(size, None), ProblemType::UnknownCheckpoint);
            refused(consistency(older, Some(size)), ProblemType::UnknownCheckpoint);
        }
        refused(consistency(newest, Some(older)), ProblemType::Malformed);
        let other = Checkpoints { tenant: TenantId::from_bytes([9; 32]), ..asked.ask() };
        refused(other.checkpoint(&CheckpointRequest { size: None }), ProblemType::UnknownCheckpoint);
        refused(other.prove(&ProofRequest { sequence: 1, size: None }), ProblemType::NotCovered);
    }

    /// What can't be had again is there when the process has gone.
    #[tokio::test]
    async fn what_others_said_outlives_the_process() {
        let world = World::new().await;
        let (path, tenant, now) = (world.dir.path().join("witnessed.redb"), world.tenant(), world.clock.now());
        let signer = ed25519_dalek::SigningKey::from_bytes(&[3; 32]);
        let witness = |name| NoteKey::new(name, Kind::Cosignature, signer.verifying_key()).unwrap();
        let (one, two) = (witness("witness.example/w1"), witness("witness.example/w2"));
        let witnessed = Witnessed::open(&path).unwrap();
        assert_eq!(witnessed.newest_cosigned(tenant).unwrap(), None);
        for (size, key, line) in [(7, &one, "seven by one\n"), (7, &two, "seven by two\n"), (9, &one, "nine by one\n")]
        {
            witnessed.cosigned(tenant, size, key, line, now).unwrap();
        }
        witnessed.stamped(tenant, 7, "http://tsa.example", b"a stamp", now).unwrap();
        drop(witnessed);
        let witnessed = Witnessed::open(&path).unwrap();
        assert_eq!(witnessed.cosignatures(tenant, 7).unwrap(), ["seven by one\n", "seven by two\n"]);
        assert_eq!(witnessed.cosignatures(tenant, 8).unwrap(), Vec::<String>::new());
        assert_eq!(
            (witnessed.newest_cosigned(tenant).unwrap(), witnessed.newest_stamped(tenant).unwrap()),
            (Some(9), Some(7))
        );
        assert_eq!(witnessed.timestamp(tenant, 7).unwrap().as_deref(), Some(b"a stamp".as_slice()));
        let last = |who: &str| witnessed.last(tenant, who).unwrap().map(|last| (last.size, last.at));
        assert_eq!((last(&one.to_string()), last(&two.to_string())), (Some((9, now)), Some((7, now))));
        let other = TenantId::from_bytes([9; 32]);
        assert_eq!(witnessed.newest_cosigned(other).unwrap(), None);
        assert!(Witnessed::open(&path).is_err(), "one process has it");
    }
}
