//! Encrypting and decrypting files under a data key that the custodian wraps.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use model::command::{UseUnwrap, UseWrap};
use model::text::Base64;
use model::{Action, KeyId, Name};
use rand_core::{OsRng, RngCore as _};
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{DecryptArgs, EncryptArgs, perform, unreadable};
use crate::error::Error;
use crate::layout::{BOLD, GREEN};
use crate::lookup;
use crate::screen::{Progress, Screen, Show};
use crate::sealed_file::{self, Header};
use crate::session::Session;

/// A file that was encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The encrypted file.
    pub output: PathBuf,
    /// Under which key.
    pub key_id: KeyId,
    /// Its label.
    pub label: Name,
    /// How long the plaintext is.
    pub bytes: u64,
}

/// A file that was decrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The plaintext.
    pub output: PathBuf,
    /// Under which key.
    pub key_id: KeyId,
    /// Its label.
    pub label: Name,
    /// How long the plaintext is.
    pub bytes: u64,
}

fn to_json(output: &Path, key_id: KeyId, bytes: u64) -> Value {
    json!({ "ok": true, "output": output, "key_id": key_id, "bytes": bytes })
}

impl Show for Stored {
    fn to_json(&self) -> Value {
        to_json(&self.output, self.key_id, self.bytes)
    }

    fn to_people(&self) -> String {
        let Self { output, label, bytes, .. } = self;
        format!("{GREEN}encrypted{GREEN:#} {bytes} bytes under {BOLD}{label}{BOLD:#} into {}\n", output.display())
    }
}

impl Show for Opened {
    fn to_json(&self) -> Value {
        to_json(&self.output, self.key_id, self.bytes)
    }

    fn to_people(&self) -> String {
        let Self { output, label, bytes, .. } = self;
        format!("{GREEN}decrypted{GREEN:#} {bytes} bytes under {BOLD}{label}{BOLD:#} into {}\n", output.display())
    }
}

/// Encrypts a file under a new data key, which the key wraps.
pub async fn encrypt(session: &Session, screen: &mut Screen, args: &EncryptArgs) -> Result<Stored, Error> {
    let key = lookup::key(session.state(), &args.key)?;
    let input = Input::open(&args.file)?;
    let output = Output::beside(&args.output, args.force)?;
    let result = perform(session, key.id, |reply_to| Action::UseWrap(UseWrap { reply_to })).await?;
    let (data_key, wrapped) = data_key(&result)?;
    let mut nonce = [0; 7];
    OsRng.fill_bytes(&mut nonce);
    let wrapped = wrapped.ok_or_else(|| unreadable(&"it has no wrapped data key"))?.0;
    let header = Header { tenant: session.tenant(), key_id: key.id, nonce, wrapped };
    let bytes = run("encrypting", input, output, screen, |input, output, progress| {
        sealed_file::encrypt(&header, &data_key, input, output, progress)
    })?;
    Ok(Stored { output: args.output.clone(), key_id: key.id, label: key.spec.label.clone(), bytes })
}

/// Decrypts a file that [`encrypt`] wrote, with the data key that the key named in it unwraps.
pub async fn decrypt(session: &Session, screen: &mut Screen, args: &DecryptArgs) -> Result<Opened, Error> {
    let mut input = Input::open(&args.file)?;
    let header = Header::read(&mut input.file).map_err(|error| input.damaged(&error))?;
    let key = key_of(session, args, &header)?;
    let output = Output::beside(&args.output, args.force)?;
    let wrapped = Base64(header.wrapped.clone());
    let action = |reply_to| Action::UseUnwrap(UseUnwrap { reply_to, wrapped: wrapped.clone() });
    let result = perform(session, key.id, action).await?;
    let (data_key, _) = data_key(&result)?;
    let bytes = run("decrypting", input, output, screen, |input, output, progress| {
        sealed_file::decrypt(&header, &data_key, input, output, progress)
    })?;
    Ok(Opened { output: args.output.clone(), key_id: key.id, label: key.spec.label.clone(), bytes })
}

/// The key that a file takes, which must be one of this tenant, and the one that was named where one was.
fn key_of<'a>(session: &'a Session, args: &DecryptArgs, header: &Header) -> Result<&'a lifecycle::Key, Error> {
    if header.tenant != session.tenant() {
        let what = format!("it is a file of tenant {}", header.tenant);
        return Err(Error::file(&args.file, what, "take that tenant's context with --context"));
    }
    let key = lookup::key(session.state(), &header.key_id.to_string())?;
    match &args.key {
        Some(named) if lookup::key(session.state(), named)?.id != key.id => {
            let what = format!("it takes key `{}` ({})", key.spec.label, key.id);
            Err(Error::file(&args.file, what, "leave --key out, or name that key"))
        }
        _ => Ok(key),
    }
}

/// The data key and its wrapped form. The key's text is borrowed from the result, which is wiped.
fn data_key(result: &[u8]) -> Result<(Zeroizing<[u8; 32]>, Option<Base64>), Error> {
    #[derive(Deserialize)]
    struct DataKey<'a> {
        data_key: &'a str,
        wrapped: Option<Base64>,
    }
    let DataKey { data_key, wrapped } = serde_json::from_slice(result).map_err(|error| unreadable(&error))?;
    let bytes = data_encoding::BASE64.decode(data_key.as_bytes()).map(Zeroizing::new);
    let bytes = bytes.map_err(|error| unreadable(&error))?;
    let mut key = Zeroizing::new([0; 32]);
    if bytes.len() != key.len() {
        return Err(unreadable(&"a data key has 32 bytes"));
    }
    key.copy_from_slice(&bytes);
    Ok((key, wrapped))
}

struct Input {
    path: PathBuf,
    file: BufReader<File>,
    bytes: u64,
}

impl Input {
    fn open(path: &Path) -> Result<Self, Error> {
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?, file)));
        let (about, file) = opened.map_err(|error| Error::file(path, error, "name a file that you can read"))?;
        if about.is_dir() {
            return Err(Error::file(path, "it is a folder", "name a file; put a folder into an archive first"));
        }
        Ok(Self { path: path.to_owned(), file: BufReader::with_capacity(1 << 17, file), bytes: about.len() })
    }

    fn damaged(&self, error: &sealed_file::Error) -> Error {
        let what = format!("{}: {error}", self.path.display());
        match error {
            sealed_file::Error::Io(_) => Error::usage(what, "see that the files can be read and written"),
            _ => Error::failed(what, "nothing was written; get the file again from where it came from"),
        }
    }
}

/// A file that comes into being whole or not at all.
struct Output {
    path: PathBuf,
    new: tempfile::NamedTempFile,
    force: bool,
}

impl Output {
    fn beside(path: &Path, force: bool) -> Result<Self, Error> {
        if path.exists() && !force {
            return Err(Error::file(path, "there is such a file", "take another name, or give --force"));
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let new = tempfile::Builder::new().prefix(".keylatch-").tempfile_in(folder);
        let new = new.map_err(|error| Error::file(path, format!("can't be written: {error}"), "see its folder"))?;
        Ok(Self { path: path.to_owned(), new, force })
    }

    fn put_in_place(self) -> Result<(), Error> {
        let persisted = || -> io::Result<()> {
            self.new.as_file().sync_all()?;
            match self.force {
                true => self.new.persist(&self.path)?,
                false => self.new.persist_noclobber(&self.path)?,
            };
            Ok(())
        };
        let path = self.path.clone();
        persisted().map_err(|error| Error::file(&path, format!("can't be written: {error}"), "see its folder"))
    }
}

/// Runs a conversion from input to output, which appears only when it is complete.
fn run(
    what: &str,
    mut input: Input,
    mut output: Output,
    screen: &mut Screen,
    convert: impl FnOnce(&mut dyn io::Read, &mut dyn Write, &mut dyn FnMut(u64)) -> Result<u64, sealed_file::Error>,
) -> Result<u64, Error> {
    let mut progress = Progress::default();
    let total = input.bytes;
    let converted = {
        let mut writer = BufWriter::new(output.new.as_file_mut());
        let mut on_chunk = |done| screen.progress(what, done, total, &mut progress);
        convert(&mut input.file, &mut writer, &mut on_chunk)
            .and_then(|bytes| writer.flush().map(|()| bytes).map_err(sealed_file::Error::Io))
    };
    screen.progress_done(&progress);
    let bytes = converted.map_err(|error| input.damaged(&error))?;
    output.put_in_place()?;
    Ok(bytes)
}
