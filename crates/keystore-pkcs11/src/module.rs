//! The module, loaded once a process and path: PKCS#11 is initialised for a process, not for a user of it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, RwLock, RwLockReadGuard, Weak};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error as Pkcs11Error, RvError};

use crate::Error;

/// A module, initialised. Finalised when the last store that uses it is closed.
pub(crate) struct Module {
    path: PathBuf,
    context: Pkcs11,
    /// How often it was initialised. Held shared by every call, alone by whoever initialises it anew.
    ///
    /// Handles of sessions and objects are numbers that a module counts from the start again: those of an earlier time must
    /// never be used, or they may be those of another token, or of another key.
    times: RwLock<u64>,
}

static MODULES: LazyLock<Mutex<HashMap<PathBuf, Weak<Module>>>> = LazyLock::new(Mutex::default);

impl Module {
    /// The module of this path.
    pub(crate) fn load(path: &Path) -> Result<Arc<Self>, Error> {
        let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(module) = modules.get(path).and_then(Weak::upgrade) {
            return Ok(module);
        }
        let failed = |error: Pkcs11Error| Error::Module { path: path.to_owned(), what: error.to_string() };
        let context = Pkcs11::new(path).map_err(failed)?;
        initialise(&context).map_err(failed)?;
        let module = Arc::new(Self { path: path.to_owned(), context, times: RwLock::new(1) });
        modules.insert(path.to_owned(), Arc::downgrade(&module));
        Ok(module)
    }

    /// The context, for as long as the guard is kept, which says how often it was initialised.
    pub(crate) fn enter(&self) -> (&Pkcs11, RwLockReadGuard<'_, u64>) {
        let guard = self.times.read().unwrap_or_else(PoisonError::into_inner);
        (&self.context, guard)
    }

    /// Finalises and initialises it, when nobody is in a call: what makes a module look again for tokens that went away.
    /// All sessions end, those of other stores too, which open theirs again. Does nothing where somebody else has done it
    /// since it was `seen` so many times initialised.
    pub(crate) fn restart(&self, seen: u64) -> Result<(), Error> {
        let mut times = self.times.write().unwrap_or_else(PoisonError::into_inner);
        if *times != seen {
            return Ok(());
        }
        *times += 1;
        // Whatever it says: it is to be initialised.
        let _ = self.context.clone().finalize();
        initialise(&self.context).map_err(|error| Error::Module { path: self.path.clone(), what: error.to_string() })
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        // Under the lock, so that nobody loads it anew between the last store's end and this.
        let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
        if modules.get(&self.path).is_some_and(|module| module.strong_count() == 0) {
            modules.remove(&self.path);
            let _ = self.context.clone().finalize();
        }
    }
}

fn initialise(context: &Pkcs11) -> Result<(), Pkcs11Error> {
    match context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        // By another part of this process, which uses it too.
        Err(Pkcs11Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(()),
        outcome => outcome,
    }
}
