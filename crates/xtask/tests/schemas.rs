//! The published schemas are those of the types.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn published(folder: &Path, below: &Path, files: &mut BTreeMap<PathBuf, String>) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let name = below.join(entry.file_name());
        if entry.path().is_dir() {
            published(&entry.path(), &name, files);
        } else {
            files.insert(name, std::fs::read_to_string(entry.path()).unwrap());
        }
    }
}

#[test]
fn the_published_schemas_are_those_of_the_types() {
    let mut files = BTreeMap::new();
    published(&xtask::checkout().join("schemas"), Path::new(""), &mut files);
    files.retain(|path, _| !path.starts_with("vectors"));
    let made = xtask::schemas::all();
    assert_eq!(files.keys().collect::<Vec<_>>(), made.keys().collect::<Vec<_>>(), "run `cargo xtask schemas`");
    for (path, text) in made {
        assert!(files.get(&path) == Some(&text), "{} differs: run `cargo xtask schemas`", path.display());
    }
}

#[test]
fn the_page_of_problems_is_that_of_the_types() {
    let page = std::fs::read_to_string(xtask::checkout().join("docs/problems.md")).unwrap();
    assert!(page == xtask::schemas::problems_page(), "docs/problems.md differs: run `cargo xtask schemas`");
}
