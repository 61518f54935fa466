//! A token: found by its label, logged in to, come back to when it has been away.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use cryptoki::context::{Function, Pkcs11};
use cryptoki::error::{Error as Pkcs11Error, RvError};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, ObjectHandle};
use cryptoki::session::{Session, SessionState, UserType};
use cryptoki::slot::{Slot, TokenInfo};
use model::Digest;

use crate::config::{TokenConfig, auth_pin};
use crate::index::TokenMeta;
use crate::lock::{Lock, Mode};
use crate::module::Module;
use crate::object::ObjectId;
use crate::{Config, Error};

/// Sessions that are kept for later. More are opened when more threads are at work, and closed when they are done.
const SESSIONS_KEPT: usize = 32;
/// Handles that are remembered. Beyond it all are forgotten at once: that costs each a search, and bounds the memory.
const HANDLES_MAX: usize = 1 << 17;

/// A token, by its label and serial number.
pub(crate) struct Token {
    config: TokenConfig,
    /// `None` until the token was seen for the first time: from then on another one of its label is another one.
    serial: Option<String>,
    /// A key of the store's own that is always there, from the first time on.
    landmark: Option<ObjectId>,
    module: Arc<Module>,
    lock: Lock,
    link: Mutex<Option<Arc<Link>>>,
    /// Digest of a PIN that the token has refused.
    refused: Mutex<Option<Digest>>,
}

/// A login, with the sessions it is good for.
struct Link {
    slot: Slot,
    /// How often the module was initialised then.
    times: u64,
    idle: Mutex<Vec<Session>>,
    /// Where objects are. Good for every session of the login.
    handles: Mutex<HashMap<ObjectId, ObjectHandle>>,
    /// Keeps the login: it ends with the last session. Never used otherwise.
    _keeper: Mutex<Session>,
}

/// A session at work.
pub(crate) struct Work<'a> {
    token: &'a Token,
    link: &'a Link,
    context: &'a Pkcs11,
    pub(crate) session: Session,
}

impl Token {
    /// The token, with what is known of it; it is looked for when it is first used.
    pub(crate) fn new(
        config: &Config,
        token: &TokenConfig,
        known: Option<(&TokenMeta, ObjectId)>,
    ) -> Result<Self, Error> {
        Self::at(&config.module, &config.locks, token, known)
    }

    /// The same of a module and a folder of locks.
    pub(crate) fn at(
        module: &Path,
        locks: &Path,
        token: &TokenConfig,
        known: Option<(&TokenMeta, ObjectId)>,
    ) -> Result<Self, Error> {
        Ok(Self {
            config: token.clone(),
            serial: known.map(|(meta, _)| meta.serial.clone()),
            landmark: known.map(|(_, landmark)| landmark),
            module: Module::load(module)?,
            lock: Lock::new(locks, &token.label)?,
            link: Mutex::new(None),
            refused: Mutex::new(None),
        })
    }

    pub(crate) fn label(&self) -> &str {
        &self.config.label
    }

    /// Works with the token in a session of its own. Where the login was lost before anything was done, logs in and does
    /// it again; where that does not help, after initialising the module anew.
    pub(crate) fn work<T>(&self, mode: Mode, work: impl Fn(&Work<'_>) -> Result<T, Error>) -> Result<T, Error> {
        let _lock = self.lock.take(mode)?;
        let (_, outcome) = self.attempt(&work);
        if !outcome.as_ref().is_err_and(nothing_done) {
            return outcome;
        }
        let (times, outcome) = self.attempt(&work);
        if !outcome.as_ref().is_err_and(nothing_done) {
            return outcome;
        }
        self.module.restart(times)?;
        self.attempt(&work).1
    }

    /// Also says how often the module was initialised then.
    fn attempt<T>(&self, work: &impl Fn(&Work<'_>) -> Result<T, Error>) -> (u64, Result<T, Error>) {
        let (context, times) = self.module.enter();
        let outcome = self.link(context, *times).and_then(|link| {
            let outcome = self.work_in(context, &link, work);
            if outcome.as_ref().is_err_and(link_lost) {
                self.forget(&link);
            }
            outcome
        });
        (*times, outcome)
    }

    fn work_in<T>(
        &self,
        context: &Pkcs11,
        link: &Link,
        work: &impl Fn(&Work<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let session = link.session(context).map_err(self.failed("opening a session"))?;
        let at_work = Work { token: self, link, context, session };
        let done = work(&at_work)?;
        // One that failed is not kept: an operation may have been left open in it, or an object.
        link.keep(at_work.session);
        Ok(done)
    }

    fn link(&self, context: &Pkcs11, times: u64) -> Result<Arc<Link>, Error> {
        let mut current = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(link) = current.as_ref().filter(|link| link.times == times) {
            return Ok(Arc::clone(link));
        }
        // One of an earlier time is let go first: its sessions' numbers will be given out again.
        *current = None;
        let (slot, _) = self.find(context)?;
        let keeper = context.open_rw_session(slot).map_err(self.failed("opening a session"))?;
        self.login(&keeper)?;
        let link = Arc::new(Link {
            slot,
            times,
            idle: Mutex::default(),
            handles: Mutex::default(),
            _keeper: Mutex::new(keeper),
        });
        *current = Some(Arc::clone(&link));
        Ok(link)
    }

    /// The one token of its label. Slots change their numbers.
    fn find(&self, context: &Pkcs11) -> Result<(Slot, TokenInfo), Error> {
        let slots = context.get_slots_with_token().map_err(self.failed("listing slots"))?;
        // A slot that does not answer has no token that would do.
        let tokens = slots.into_iter().filter_map(|slot| Some((slot, context.get_token_info(slot).ok()?)));
        let is_it = |info: &TokenInfo| {
            info.token_initialized()
                && info.label() == self.config.label
                && self.serial.as_ref().is_none_or(|serial| serial == info.serial_number())
        };
        let mut found: Vec<_> = tokens.filter(|(_, info)| is_it(info)).collect();
        match (found.pop(), found.len()) {
            (Some(token), 0) => Ok(token),
            (last, others) => Err(Error::NoToken {
                label: self.config.label.clone(),
                serial: self.serial.clone(),
                found: others + usize::from(last.is_some()),
                advice: "Put it in, or look at the module's configuration",
            }),
        }
    }

    /// Logs in, never twice with a PIN that was refused: a few wrong ones lock a token.
    fn login(&self, session: &Session) -> Result<(), Error> {
        let pin = self.config.pin.read()?;
        let digest = Digest::of(pin.as_bytes());
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let refusal = || Error::PinRefused { label: self.config.label.clone(), place: self.config.pin.to_string() };
        if *refused == Some(digest) {
            return Err(refusal());
        }
        match session.login(UserType::User, Some(&auth_pin(&pin))) {
            // By another part of this process.
            Ok(()) | Err(Pkcs11Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
            Err(Pkcs11Error::Pkcs11(RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange, _)) => {
                *refused = Some(digest);
                Err(refusal())
            }
            Err(error) => Err(self.failed("logging in")(error)),
        }
    }

    /// Lets a lost login go. Who is still at work with it finds out by itself.
    fn forget(&self, link: &Arc<Link>) {
        let mut current = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, link)) {
            *current = None;
        }
    }

    fn failed(&self, what: &'static str) -> impl Fn(Pkcs11Error) -> Error {
        move |source| Error::Token { label: self.config.label.clone(), what, source }
    }

    /// Does something as the token's security officer, in a session of its own. Nobody may be logged in.
    pub(crate) fn as_officer(
        &self,
        pin: &str,
        work: impl FnOnce(&Session) -> Result<(), Pkcs11Error>,
    ) -> Result<(), Error> {
        let _lock = self.lock.take(Mode::Alone)?;
        let (context, _inside) = self.module.enter();
        let (slot, _) = self.find(context)?;
        let session = context.open_rw_session(slot).map_err(self.failed("opening a session"))?;
        session.login(UserType::So, Some(&auth_pin(pin))).map_err(self.failed("logging the security officer in"))?;
        work(&session).map_err(self.failed("making the transport key"))?;
        session.logout().map_err(self.failed("logging the security officer out"))
    }

    /// What the token says of itself.
    pub(crate) fn info(&self) -> Result<(TokenInfo, String), Error> {
        self.work(Mode::Shared, |work| {
            let info = work.context.get_token_info(work.link.slot).map_err(work.failed("asking what it is"))?;
            let module = work.context.get_library_info().map_err(work.failed("asking what the module is"))?;
            let module =
                format!("{} {} {}", module.manufacturer_id(), module.library_description(), module.library_version());
            Ok((info, module))
        })
    }

    /// Whether the mechanisms are there that the store needs.
    pub(crate) fn has(&self, wanted: &[MechanismType]) -> Result<bool, Error> {
        self.work(Mode::Shared, |work| {
            let there = work.context.get_mechanism_list(work.link.slot).map_err(work.failed("listing mechanisms"))?;
            Ok(wanted.iter().all(|mechanism| there.contains(mechanism)))
        })
    }

    /// Whether it has a mechanism for keys of so many bits.
    pub(crate) fn has_for(&self, mechanism: &Mechanism<'_>, bits: usize) -> Result<bool, Error> {
        let mechanism = mechanism.mechanism_type();
        if !self.has(&[mechanism])? {
            return Ok(false);
        }
        self.work(Mode::Shared, |work| {
            let info = work.context.get_mechanism_info(work.link.slot, mechanism);
            let info = info.map_err(work.failed("asking about a mechanism"))?;
            Ok((info.min_key_size()..=info.max_key_size()).contains(&bits))
        })
    }
}

/// The token does not answer any more, or not to us: another login is wanted.
fn link_lost(error: &Error) -> bool {
    let unsure = matches!(
        error.answer(),
        Some(
            RvError::GeneralError
                | RvError::FunctionFailed
                | RvError::DeviceError
                | RvError::DeviceMemory
                | RvError::DeviceRemoved
                | RvError::HostMemory
        )
    );
    unsure || nothing_done(error)
}

/// The same, and what was asked was not even begun.
fn nothing_done(error: &Error) -> bool {
    // Some modules list tokens when they are initialised, and never again.
    let not_found = matches!(error, Error::NoToken { found: 0, .. });
    not_found
        || matches!(
            error.answer(),
            Some(
                RvError::CryptokiNotInitialized
                    | RvError::SessionClosed
                    | RvError::SessionHandleInvalid
                    | RvError::SlotIdInvalid
                    | RvError::TokenNotPresent
                    | RvError::TokenNotRecognized
                    | RvError::UserNotLoggedIn
            )
        )
}

impl Link {
    fn session(&self, context: &Pkcs11) -> Result<Session, Pkcs11Error> {
        let kept = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        kept.map_or_else(|| context.open_rw_session(self.slot), Ok)
    }

    fn keep(&self, session: Session) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < SESSIONS_KEPT {
            idle.push(session);
        }
    }
}

impl Work<'_> {
    /// The error of something that was tried.
    pub(crate) fn failed(&self, what: &'static str) -> impl Fn(Pkcs11Error) -> Error {
        self.token.failed(what)
    }

    /// Works with one object of the token. Where it is is remembered, and looked for again where that is not so any more.
    pub(crate) fn on<T>(
        &self,
        id: ObjectId,
        what: &'static str,
        work: impl Fn(ObjectHandle) -> Result<T, Pkcs11Error>,
    ) -> Result<T, Error> {
        let known = self.handles().get(&id).copied();
        if let Some(handle) = known {
            match work(handle) {
                Err(Pkcs11Error::Pkcs11(
                    RvError::ObjectHandleInvalid | RvError::KeyHandleInvalid | RvError::UnwrappingKeyHandleInvalid,
                    _,
                )) => {
                    self.handles().remove(&id);
                }
                outcome => return outcome.map_err(self.failed(what)),
            }
        }
        let handle = self.handle(id)?;
        work(handle).map_err(self.failed(what))
    }

    /// Where the one object of this name is, as far as is remembered.
    pub(crate) fn handle_of(&self, id: ObjectId) -> Result<ObjectHandle, Error> {
        let known = self.handles().get(&id).copied();
        known.map_or_else(|| self.handle(id), Ok)
    }

    /// Where the one object of this name is, looked for.
    fn handle(&self, id: ObjectId) -> Result<ObjectHandle, Error> {
        let found = self.find(&[Attribute::Token(true), id.attribute()])?;
        let [handle] = found[..] else {
            let (label, object) = (self.token.label().to_owned(), id.to_string());
            return Err(Error::Missing { label, object, found: found.len() });
        };
        self.remember(id, handle);
        Ok(handle)
    }

    /// Objects that have these attributes. That there are none is believed of a token only that has at least the key of the
    /// store's own: one that was taken out, or that we are not logged in to, shows nothing and says nothing.
    pub(crate) fn find(&self, template: &[Attribute]) -> Result<Vec<ObjectHandle>, Error> {
        let looking = "looking for an object";
        let found = self.session.find_objects(template).map_err(self.failed(looking))?;
        let Some(landmark) = self.token.landmark.filter(|_| found.is_empty()) else { return Ok(found) };
        let state = self.session.get_session_info().map_err(self.failed(looking))?.session_state();
        let away = |answer| Err(self.failed(looking)(Pkcs11Error::Pkcs11(answer, Function::FindObjects)));
        if !matches!(state, SessionState::RwUser | SessionState::RoUser) {
            return away(RvError::UserNotLoggedIn);
        }
        let template = [Attribute::Token(true), landmark.attribute()];
        match self.session.find_objects(&template).map_err(self.failed(looking))?.is_empty() {
            true => away(RvError::TokenNotPresent),
            false => Ok(found),
        }
    }

    /// Remembers where an object is.
    pub(crate) fn remember(&self, id: ObjectId, handle: ObjectHandle) {
        let mut handles = self.handles();
        if handles.len() >= HANDLES_MAX {
            handles.clear();
        }
        handles.insert(id, handle);
    }

    /// Destroys every object of this name. There may be none.
    pub(crate) fn destroy(&self, id: ObjectId) -> Result<(), Error> {
        for handle in self.find(&[Attribute::Token(true), id.attribute()])? {
            self.session.destroy_object(handle).map_err(self.failed("destroying an object"))?;
        }
        self.handles().remove(&id);
        Ok(())
    }

    fn handles(&self) -> std::sync::MutexGuard<'_, HashMap<ObjectId, ObjectHandle>> {
        self.link.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a path is there at all.
pub(crate) fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}
