//! What `keylatch verify` takes for a bundle: a folder, the same as `.tar.gz`, or its events alone. And the way from the
//! first to the second.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use evidence::bundle::EVENTS;
use evidence::verdict::Folder;
use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;
use tar::{Builder, EntryType, Header};

/// The folder that everything in a `.tar.gz` stands in.
const TOP: &str = "evidence";
/// What a gzip file begins with.
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// The most files that are looked at. A bundle has a few dozen.
const FILES_MAX: usize = 10_000;

/// A bundle, in whichever form.
pub enum Bundle {
    /// A folder.
    Dir(Dir),
    /// A `.tar.gz`.
    Tar(Tar),
    /// A file of events.
    Events(Events),
}

impl Bundle {
    /// Opens what stands at a path.
    pub fn open(path: &Path) -> io::Result<Self> {
        if path.is_dir() {
            return Dir::open(path).map(Self::Dir);
        }
        let (mut begins, mut file) = ([0; 2], File::open(path)?);
        let is_gzip = file.read_exact(&mut begins).is_ok() && begins == GZIP;
        if is_gzip { Tar::open(path).map(Self::Tar) } else { Ok(Self::Events(Events { path: path.to_owned() })) }
    }

    /// How many bytes the events have, where there are any.
    pub fn events_bytes(&self) -> u64 {
        match self {
            Self::Dir(Dir { root, .. }) => root.join(EVENTS).metadata().map_or(0, |metadata| metadata.len()),
            Self::Tar(tar) => tar.files.get(EVENTS).map_or(0, |place| place.length),
            Self::Events(Events { path }) => path.metadata().map_or(0, |metadata| metadata.len()),
        }
    }
}

impl Folder for Bundle {
    fn names(&mut self) -> io::Result<Vec<String>> {
        Ok(match self {
            Self::Dir(dir) => dir.names.clone(),
            Self::Tar(tar) => tar.files.keys().cloned().collect(),
            Self::Events(_) => vec![EVENTS.to_owned()],
        })
    }

    fn open<'a>(&'a mut self, name: &str) -> io::Result<Box<dyn Read + 'a>> {
        match self {
            Self::Dir(dir) => Ok(Box::new(File::open(dir.root.join(name))?)),
            Self::Tar(tar) => tar.read(name).map(|read| Box::new(read) as Box<dyn Read>),
            Self::Events(Events { path }) => Ok(Box::new(File::open(path)?)),
        }
    }
}

// === A folder ===

/// A folder of files.
pub struct Dir {
    root: PathBuf,
    names: Vec<String>,
}

impl Dir {
    /// A folder, and those in it.
    pub fn open(root: &Path) -> io::Result<Self> {
        let (mut names, mut folders) = (Vec::new(), vec![String::new()]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(root.join(&folder))? {
                let entry = entry?;
                let name = entry.file_name().into_string();
                let name = name.map_err(|name| io::Error::other(format!("{name:?} is no name of a bundle's file")))?;
                let name = if folder.is_empty() { name } else { format!("{folder}/{name}") };
                if entry.file_type()?.is_dir() {
                    folders.push(name);
                } else {
                    names.push(name);
                }
                few(names.len() + folders.len())?;
            }
        }
        names.sort();
        Ok(Self { root: root.to_owned(), names })
    }

    /// How many bytes its files have.
    pub fn bytes(&self) -> io::Result<u64> {
        self.names.iter().map(|name| Ok(self.root.join(name).metadata()?.len())).sum()
    }
}

fn few(count: usize) -> io::Result<()> {
    if count <= FILES_MAX {
        return Ok(());
    }
    Err(io::Error::other(format!("there are more than {FILES_MAX} files: this is no bundle")))
}

// === A file of events ===

/// A file of events, and nothing beside it.
pub struct Events {
    path: PathBuf,
}

// === A .tar.gz ===

/// A `.tar.gz`. Nothing of it is unpacked: names are looked up, and files are read where they stand.
pub struct Tar {
    path: PathBuf,
    files: BTreeMap<String, Place>,
}

/// Where a file begins in the unpacked stream, and how long it is.
#[derive(Clone, Copy)]
struct Place {
    offset: u64,
    length: u64,
}

impl Tar {
    fn open(path: &Path) -> io::Result<Self> {
        let mut files = BTreeMap::new();
        let mut tar = tar::Archive::new(unpacked(path)?);
        for entry in tar.entries()? {
            let entry = entry?;
            let name = String::from_utf8(entry.path_bytes().into_owned()).map_err(io::Error::other)?;
            let name = name.strip_prefix("./").unwrap_or(&name).to_owned();
            match entry.header().entry_type() {
                EntryType::Directory => continue,
                EntryType::Regular => {}
                other => return Err(io::Error::other(format!("`{name}` is no file, but of type {other:?}"))),
            }
            let place = Place { offset: entry.raw_file_position(), length: entry.size() };
            // Who unpacks it has the last one of a name; nobody is to be shown another.
            if files.insert(name.clone(), place).is_some() {
                return Err(io::Error::other(format!("`{name}` stands in it twice")));
            }
            few(files.len())?;
        }
        Ok(Self { path: path.to_owned(), files: below_top(files) })
    }

    fn read(&self, name: &str) -> io::Result<impl Read + use<>> {
        let place = self.files.get(name).ok_or(io::ErrorKind::NotFound)?;
        let mut stream = unpacked(&self.path)?;
        let skipped = io::copy(&mut stream.by_ref().take(place.offset), &mut io::sink())?;
        if skipped < place.offset {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(stream.take(place.length))
    }
}

fn unpacked(path: &Path) -> io::Result<GzDecoder<BufReader<File>>> {
    Ok(GzDecoder::new(BufReader::new(File::open(path)?)))
}

/// The names without the folder that all of them stand in.
fn below_top(files: BTreeMap<String, Place>) -> BTreeMap<String, Place> {
    let top = files.keys().next().and_then(|first| Some(format!("{}/", first.split_once('/')?.0)));
    match top.filter(|top| files.keys().all(|name| name.starts_with(top))) {
        Some(top) => {
            files.iter().filter_map(|(name, place)| Some((name.strip_prefix(&top)?.to_owned(), *place))).collect()
        }
        None => files,
    }
}

/// Writes a folder as `.tar.gz`: the same bytes from the same files, by the same program. The events come last, so that
/// everything else is found without reading them. `progress` hears how many bytes were taken in.
pub fn pack(folder: &Dir, out: &mut dyn Write, progress: &mut dyn FnMut(u64)) -> io::Result<()> {
    let mut names: Vec<&String> = folder.names.iter().collect();
    names.sort_by_key(|name| (*name == EVENTS, *name));
    let packed = GzEncoder::new(BufWriter::new(out), Compression::default());
    let mut tar = Builder::new(packed);
    let mut done = 0;
    for name in names {
        let file = File::open(folder.root.join(name))?;
        let length = file.metadata()?.len();
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Regular);
        header.set_size(length);
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        let told = Told { file, before: done, read: 0, progress: &mut *progress };
        tar.append_data(&mut header, format!("{TOP}/{name}"), told)?;
        done += length;
    }
    let mut out = tar.into_inner()?.finish()?;
    out.flush()
}

/// A file that tells how much of it was read.
struct Told<'a> {
    file: File,
    before: u64,
    read: u64,
    progress: &'a mut dyn FnMut(u64),
}

impl Read for Told<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.read += count as u64;
        (self.progress)(self.before + self.read);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, files: &[(&str, &str)]) {
        for (name, text) in files {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    fn packed(folder: &Path) -> Vec<u8> {
        let mut out = Vec::new();
        pack(&Dir::open(folder).unwrap(), &mut out, &mut |_| ()).unwrap();
        out
    }

    /// Every file of a bundle, by name.
    fn all(path: &Path) -> io::Result<BTreeMap<String, String>> {
        let mut bundle = Bundle::open(path)?;
        let names = bundle.names()?;
        let read = |name: String| {
            let mut text = String::new();
            bundle.open(&name)?.read_to_string(&mut text)?;
            Ok((name, text))
        };
        names.into_iter().map(read).collect()
    }

    const FILES: [(&str, &str); 4] =
        [("events.jsonl", "e\n"), ("manifest.json", "{}"), ("oscal/catalog.json", "[]"), ("zz.csv", "")];

    #[test]
    fn a_folder_and_the_same_packed_are_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let (one, other) = (dir.path().join("one"), dir.path().join("other"));
        write(&one, &FILES);
        let mut reversed = FILES;
        reversed.reverse();
        write(&other, &reversed);
        let bytes = packed(&one);
        assert_eq!(bytes, packed(&other), "whoever wrote them, and when");
        let path = dir.path().join("packed.tar.gz");
        fs::write(&path, &bytes).unwrap();
        let wanted: BTreeMap<String, String> =
            FILES.map(|(name, text)| (name.to_owned(), text.to_owned())).into_iter().collect();
        assert_eq!(all(&one).unwrap(), wanted);
        assert_eq!(all(&path).unwrap(), wanted);
        assert_eq!(Bundle::open(&path).unwrap().events_bytes(), 2);
        assert_eq!(all(&one.join("events.jsonl")).unwrap(), BTreeMap::from([(EVENTS.to_owned(), "e\n".to_owned())]));
    }

    fn tar_of(entries: &[(&str, EntryType)]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mut tar = Builder::new(GzEncoder::new(&mut file, Compression::fast()));
        for (name, entry_type) in entries {
            let mut header = Header::new_ustar();
            header.set_entry_type(*entry_type);
            header.set_size(0);
            tar.append_data(&mut header, name, io::empty()).unwrap();
        }
        tar.into_inner().unwrap().finish().unwrap();
        file
    }

    #[test]
    fn what_two_readers_would_see_differently_is_refused() {
        let regular = EntryType::Regular;
        let good = tar_of(&[("evidence/manifest.json", regular), ("evidence/oscal/a", regular)]);
        assert_eq!(all(good.path()).unwrap().into_keys().collect::<Vec<_>>(), ["manifest.json", "oscal/a"]);
        let flat = tar_of(&[("./manifest.json", regular), ("./oscal/a", regular)]);
        assert_eq!(all(flat.path()).unwrap().into_keys().collect::<Vec<_>>(), ["manifest.json", "oscal/a"]);
        for bad in [
            tar_of(&[("e/a", regular), ("e/a", regular)]),
            tar_of(&[("e/a", regular), ("./e/a", regular)]),
            tar_of(&[("e/a", regular), ("e/b", EntryType::Symlink)]),
            tar_of(&[("e/a", EntryType::Link)]),
        ] {
            assert!(all(bad.path()).is_err());
        }
        let mut cut = fs::read(good.path()).unwrap();
        cut.truncate(cut.len() / 2);
        fs::write(good.path(), cut).unwrap();
        assert!(all(good.path()).is_err());
    }
}
