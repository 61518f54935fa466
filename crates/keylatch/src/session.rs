//! One tenant's connection: a bus, a verified history, a hand that signs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use evidence::Point;
use journal::command::Hand;
use lifecycle::{Governance, Tenant};
use model::{Action, Command, Fingerprint, KeyId, ProblemType, Span, TenantId, Timestamp};
use service::{Clock, clock};

use crate::bus::{Bus, NatsBus};
use crate::context::Context;
use crate::error::Error;
use crate::identity::Identity;
use crate::reader::{Known, Reader, Seen};
use crate::screen::{Progress, Screen};

/// Somebody's hand, that may go to another thread.
pub type SharedHand = Arc<dyn Hand + Send + Sync>;

/// What commands work with.
pub struct Session {
    tenant: TenantId,
    bus: Arc<dyn Bus>,
    reader: Reader,
    clock: Clock,
    signer: Signer,
    /// Where commands are kept that were sent and not answered.
    unanswered: Option<PathBuf>,
}

/// Who signs.
enum Signer {
    /// Nobody was named.
    Nobody,
    /// Whoever has the key in this file, which is read when something is signed.
    File(PathBuf),
    /// This one. Whether signing takes somebody's effort is known of files only.
    Hand(SharedHand),
}

impl Session {
    /// A session on a bus, without anybody who signs.
    pub fn new(bus: Arc<dyn Bus>, tenant: TenantId, root: Fingerprint) -> Self {
        let reader = Reader::new(bus.clone(), Known::new(tenant, root));
        Self { tenant, bus, reader, clock: Clock::default(), signer: Signer::Nobody, unanswered: None }
    }

    /// Connects as a context says.
    pub async fn connect(context: &Context) -> Result<Self, Error> {
        let bus = NatsBus::connect(&context.url, &context.credentials, context.tenant).await?;
        let session = Self::new(Arc::new(bus), context.tenant, context.root);
        Ok(match &context.identity {
            Some(path) => session.signing_with_file(path.clone()),
            None => session,
        })
    }

    /// Signs with the key in this file. It is read when something is signed.
    #[must_use]
    pub fn signing_with_file(self, path: PathBuf) -> Self {
        Self { signer: Signer::File(path), ..self }
    }

    /// Signs with this hand.
    #[must_use]
    pub fn signing_with(self, hand: SharedHand) -> Self {
        Self { signer: Signer::Hand(hand), ..self }
    }

    /// Goes by this clock.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// Keeps commands that were sent and not answered in this folder.
    #[must_use]
    pub fn keeping_unanswered_in(self, folder: PathBuf) -> Self {
        Self { unanswered: Some(folder), ..self }
    }

    /// Whose it is.
    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// The bus.
    pub fn bus(&self) -> &Arc<dyn Bus> {
        &self.bus
    }

    /// What was read.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// What was read, to read on.
    pub fn reader_mut(&mut self) -> &mut Reader {
        &mut self.reader
    }

    /// What is known: the verified state and what open requests say.
    pub fn known(&self) -> &Known {
        self.reader.known()
    }

    /// The verified state.
    pub fn state(&self) -> &Tenant {
        self.reader.state()
    }

    /// The people, policy and authority.
    pub fn governance(&self) -> Result<&Governance, Error> {
        self.state().governance.as_deref().ok_or_else(|| {
            let detail = format!("{} has no history that stands under root {}", self.tenant, self.state().root);
            lifecycle::Rejection::new(ProblemType::UnknownTenant, detail).into()
        })
    }

    /// Where commands are kept that were sent and not answered.
    pub fn unanswered_folder(&self) -> Option<&PathBuf> {
        self.unanswered.as_ref()
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The file of whoever signs, where it is one.
    pub fn identity_file(&self) -> Option<&Path> {
        match &self.signer {
            Signer::File(path) => Some(path),
            Signer::Nobody | Signer::Hand(_) => None,
        }
    }

    /// The hand that signs.
    pub fn hand(&self) -> Result<SharedHand, Error> {
        match &self.signer {
            Signer::Hand(hand) => Ok(hand.clone()),
            Signer::File(path) => Ok(Arc::new(Identity::load(path)?)),
            Signer::Nobody => Err(Error::usage(
                "nobody is named who signs",
                "name your SSH key with --identity FILE, KEYLATCH_IDENTITY, or `identity` in the context",
            )),
        }
    }

    /// Whether another signature would take nobody's effort.
    pub fn signs_effortlessly(&self) -> bool {
        match &self.signer {
            Signer::Nobody => false,
            Signer::File(path) => Identity::load(path).is_ok_and(|identity| identity.is_effortless()),
            Signer::Hand(_) => true,
        }
    }

    /// Reads and verifies everything there is.
    pub async fn refresh(&mut self, screen: &mut Screen) -> Result<(), Error> {
        let mut progress = Progress::default();
        let read = self
            .reader
            .catch_up(&mut |known, _, last| {
                let done = known.state().chain.head().sequence.0;
                screen.progress("verifying the history", done, last, &mut progress);
                Ok(())
            })
            .await;
        screen.progress_done(&progress);
        read
    }

    /// Reads and verifies the whole history from the first event on, and tells of each page. What was read before is read
    /// once more.
    pub async fn replay(
        &mut self,
        screen: &mut Screen,
        on_page: &mut (dyn FnMut(&Known, &[Seen]) + Send),
    ) -> Result<(), Error> {
        if self.reader.head().0 > 0 {
            self.reader = Reader::new(self.bus.clone(), Known::new(self.tenant, self.state().root));
        }
        let mut progress = Progress::default();
        let read = self
            .reader
            .catch_up(&mut |known, seen, last| {
                screen.progress("verifying the history", known.state().chain.head().sequence.0, last, &mut progress);
                on_page(known, seen);
                Ok(())
            })
            .await;
        screen.progress_done(&progress);
        read
    }

    /// Reads and verifies the history up to a point: the session then knows how things stood there.
    pub async fn read_until(&mut self, until: Point, screen: &mut Screen) -> Result<(), Error> {
        let mut progress = Progress::default();
        let read = self
            .reader
            .read_until(until, &mut |known, _, last| {
                let done = known.state().chain.head().sequence.0;
                screen.progress("verifying the history", done, last, &mut progress);
                Ok(())
            })
            .await;
        screen.progress_done(&progress);
        read
    }

    /// A new command, issued now.
    pub fn command(&self, action: Action, key_id: Option<KeyId>, lifetime: Span) -> Command {
        let issued_at = self.now();
        Command {
            id: clock::command_id(),
            tenant: self.tenant,
            key_id,
            issued_at,
            expires_at: issued_at + lifetime,
            action,
        }
    }
}
