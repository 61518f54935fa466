//! OSCAL 1.2 (NIST): what the control asks for, what is there to meet it, how it was tested, and what came of it, in the
//! five documents that tools of compliance teams read.
//!
//! Each names the one before it by a relative link and by its digest. They are written in RFC 8785 canonical form, so
//! that a file's SHA-256 is at once the digest that `trestle verify` wants ([`sidecar`]). Nothing in them
//! comes from a clock or from chance: times are the events', and UUIDs are digests in the shape of version 5.

mod catalog;
mod plan;
mod points;
mod profile;
mod results;
mod security_plan;
mod sidecar;

use std::collections::BTreeMap;

use model::{Digest, TenantId};
use serde_json::{Value, json};

use crate::controls::{ControlTest, Controls};
use crate::history::History;

pub(crate) use sidecar::{pem, statement};
pub use sidecar::{public_key, sidecar, sidecars};

/// The version of OSCAL that the documents are written in.
pub const VERSION: &str = "1.2.1";

/// Names that OSCAL does not have are in this name space.
pub const NAMESPACE: &str = "https://keylatch.dev/ns/oscal";

/// The folder of a bundle that the documents are in.
pub const FOLDER: &str = "oscal";

/// The documents' file names, each after the one that it names.
pub const NAMES: [&str; 5] = [CATALOG, PROFILE, SECURITY_PLAN, PLAN, RESULTS];

const CATALOG: &str = "catalog.json";
const PROFILE: &str = "profile.json";
const SECURITY_PLAN: &str = "system-security-plan.json";
const PLAN: &str = "assessment-plan.json";
const RESULTS: &str = "assessment-results.json";

/// What the documents are made of.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// The history.
    pub history: &'a History,
    /// Its control tests.
    pub controls: &'a Controls,
    /// The files of the bundle that are there already, by their names in it. Each document names the one before it with
    /// its digest, and the results name everything else.
    pub files: &'a BTreeMap<String, Digest>,
}

/// A document, in RFC 8785 canonical form. Nothing where there is none of this name.
pub fn document(sources: Sources<'_>, name: &str) -> Vec<u8> {
    let (root, content) = match name {
        CATALOG => ("catalog", catalog::content()),
        PROFILE => ("profile", profile::content(sources)),
        SECURITY_PLAN => ("system-security-plan", security_plan::content(sources)),
        PLAN => ("assessment-plan", plan::content(sources)),
        RESULTS => ("assessment-results", results::content(sources)),
        _ => return Vec::new(),
    };
    // `root` is the one member of the outermost object.
    let mut document = json!({ root: content });
    leave_out_empty(&mut document);
    document.sort_all_objects();
    serde_json::to_vec(&document).unwrap_or_default()
}

/// A document's place in a bundle.
pub fn path(name: &str) -> String {
    format!("{FOLDER}/{name}")
}

/// A file, as a resource in a back matter.
fn resource(uuid: &str, title: &str, href: &str, digest: Option<Digest>) -> Value {
    let media_type = match href.rsplit_once('.').map(|(_, ending)| ending) {
        Some("json") => "application/json",
        Some("jsonl") => "application/jsonl",
        Some("csv") => "text/csv",
        Some("html") => "text/html",
        _ => "text/plain",
    };
    let hashes: Vec<Value> =
        digest.into_iter().map(|digest| json!({ "algorithm": "SHA-256", "value": digest })).collect();
    let link = json!({ "href": href, "media-type": media_type, "hashes": hashes });
    json!({ "uuid": uuid, "title": title, "rlinks": [link] })
}

/// OSCAL has no empty lists and no nulls: what is empty is left out.
fn leave_out_empty(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.values_mut().for_each(leave_out_empty);
            members.retain(|_, member| !member.is_null() && !member.as_array().is_some_and(Vec::is_empty));
        }
        Value::Array(items) => items.iter_mut().for_each(leave_out_empty),
        _ => {}
    }
}

impl Sources<'_> {
    fn tenant(&self) -> TenantId {
        self.controls.tenant
    }

    /// What people call the tenant.
    fn name(&self) -> String {
        self.history.name.as_ref().map_or_else(|| self.tenant().to_string(), ToString::to_string)
    }

    /// The UUID of something in these documents: the same whenever documents are made for this tenant.
    fn uuid(&self, what: &str) -> String {
        uuid(&format!("{}\n{what}", self.tenant()))
    }

    /// The UUID of a document: another whenever what it says may be another.
    fn document_uuid(&self, name: &str) -> String {
        let Controls { root, period, head, .. } = self.controls;
        self.uuid(&format!("{name}\n{root}\n{head}\n{}", period.from))
    }

    /// The UUID of the resource that stands for another document.
    fn document_resource(&self, name: &str) -> String {
        self.uuid(&format!("resource {name}"))
    }

    /// Another document, as a resource in the back matter of one that names it.
    fn resource(&self, name: &str, title: &str) -> Value {
        resource(&self.document_resource(name), title, name, self.files.get(&path(name)).copied())
    }

    /// What every document of a tenant begins with. `names` is the document before it.
    fn metadata(&self, title: &str, document: &str, names: &str, more: Value) -> Value {
        let Controls { tenant, root, period, head, .. } = self.controls;
        let class = self.history.class.map_or("unknown", crate::words::class);
        let mut metadata = json!({
            "title": line(title),
            "last-modified": period.until,
            "version": period.to.0.to_string(),
            "oscal-version": VERSION,
            "document-ids": [{ "identifier": format!("keylatch.dev/{tenant}/{document}") }],
            "props": [
                prop("tenant", tenant),
                prop("root", root),
                prop("head", head),
                prop("events", period.to.0),
                prop("tenant-class", class),
            ],
            "links": [{ "href": format!("#{}", self.document_resource(names)), "rel": "reference" }],
            "remarks": "Made from a replayed history. It says what was found there; it is no statement of compliance.",
        });
        if let (Some(metadata), Value::Object(more)) = (metadata.as_object_mut(), more) {
            metadata.extend(more);
        }
        metadata
    }

    /// The organisation that the tenant is.
    fn party(&self) -> Value {
        json!({ "uuid": self.uuid("party tenant"), "type": "organization", "name": line(&self.name()) })
    }
}

/// A UUID that stands for something: its SHA-256, in the shape of version 5. (OSCAL takes versions 4 and 5 only.)
fn uuid(what: &str) -> String {
    let digest = Digest::of(format!("{NAMESPACE}\n{what}").as_bytes());
    let first = digest.as_bytes().first_chunk::<16>().map_or(0, |bytes| u128::from_be_bytes(*bytes));
    let shaped = first & !(0xf << 76) & !(0x3 << 62) | 0x5 << 76 | 0x2 << 62;
    let part = |shift: u32, mask: u128| shaped >> shift & mask;
    let (low, mid, version) = (part(96, 0xffff_ffff), part(80, 0xffff), part(64, 0xffff));
    format!("{low:08x}-{mid:04x}-{version:04x}-{:04x}-{:012x}", part(48, 0xffff), part(0, 0xffff_ffff_ffff))
}

/// A property in Keylatch's own name space.
fn prop(name: &str, value: impl ToString) -> Value {
    json!({ "name": name, "ns": NAMESPACE, "value": line(&value.to_string()) })
}

/// The identifier of a test's control: `cek-15.01` for `CEK-15.01`.
fn control_id(test: &ControlTest) -> String {
    let known = points::POINTS.iter().any(|point| point.test_id() == test.id);
    // What is claimed beyond the sixteen points belongs to the control as a whole.
    if known { test.id.to_lowercase() } else { points::CONTROL.to_owned() }
}

/// The identifier of what a test determines.
fn objective_id(test: &ControlTest) -> String {
    format!("{}_obj", test.id.to_lowercase())
}

/// Text on one line, as OSCAL's strings are: not empty, no white space around it or running.
fn line(text: &str) -> String {
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c == '\u{feff}').filter(|word| !word.is_empty()).collect();
    if words.is_empty() { "-".to_owned() } else { words.join(" ") }
}

/// The same where OSCAL reads Markdown: what people have written is text there and not markup.
fn markup(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in line(text).chars() {
        if matches!(c, '\\' | '`' | '*' | '[' | ']' | '<' | '>' | '{' | '}' | '&') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_have_the_shape_of_version_5_and_stand_for_what_they_are_made_of() {
        for what in ["", "a", "b"] {
            let uuid = uuid(what);
            assert_eq!((uuid.len(), uuid.get(14..15)), (36, Some("5")), "{uuid}");
            assert!(uuid.get(19..20).is_some_and(|variant| "89ab".contains(variant)), "{uuid}");
        }
        assert_eq!(uuid("a"), uuid("a"));
        assert_ne!(uuid("a"), uuid("b"));
    }

    #[test]
    fn what_people_write_is_one_line_of_text() {
        assert_eq!(line(" a\u{2028}b \u{feff}"), "a b");
        assert_eq!(line(" "), "-");
        assert_eq!(markup("[x](y) {{ insert }} <b>"), r"\[x\](y) \{\{ insert \}\} \<b\>");
    }
}
