//! `catalog.json`: CEK-15 with its sixteen points, each with what it asks for and what an assessor determines. The same
//! for everybody, until its text changes.

use serde_json::{Value, json};

use super::points::{CONTROL, POINTS, Point, TEXT, TITLE};
use super::{VERSION, uuid};

/// The edition of the text below, and the day it is from. Both change with it (a test holds them to it).
pub(super) const EDITION: &str = "1";
const PUBLISHED: &str = "2026-11-27T00:00:00Z";

const AICM: &str =
    "Cloud Security Alliance, AI Controls Matrix, control CEK-15 Key Activation and its auditing guidelines";
const CCM: &str = "Cloud Security Alliance, Cloud Controls Matrix v4, control CEK-15 and its auditing guidelines";

pub(super) fn content() -> Value {
    let (aicm, ccm) = (uuid("source aicm"), uuid("source ccm"));
    let resource = |uuid: &str, title: &str, citation: &str| json!({ "uuid": uuid, "title": title, "citation": { "text": citation } });
    let mut content = json!({
        "metadata": {
            "title": "CEK-15 Key Activation, as sixteen points that can be tested",
            "last-modified": PUBLISHED,
            "version": EDITION,
            "oscal-version": VERSION,
            "remarks": "The statement of CEK-15 quotes the control. Everything else is in words of Keylatch's own.",
        },
        "groups": [{
            "id": "cek",
            "class": "family",
            "title": "Cryptography, Encryption and Key Management",
            "controls": [control(&aicm, &ccm)],
        }],
        "back-matter": { "resources": [
            resource(&aicm, "AICM", AICM),
            resource(&ccm, "CCM", CCM),
        ] },
    });
    let uuid = uuid(&content.to_string());
    if let Some(content) = content.as_object_mut() {
        content.insert("uuid".into(), uuid.into());
    }
    content
}

fn control(aicm: &str, ccm: &str) -> Value {
    let points: Vec<Value> =
        POINTS.iter().map(|point| enhancement(point, if point.number <= 10 { aicm } else { ccm })).collect();
    json!({
        "id": CONTROL,
        "class": "control",
        "title": TITLE,
        "props": [label("CEK-15"), { "name": "sort-id", "value": CONTROL }],
        "links": [reference(aicm), reference(ccm)],
        "parts": [
            { "id": format!("{CONTROL}_smt"), "name": "statement", "prose": TEXT },
            {
                "id": format!("{CONTROL}_obj"),
                "name": "assessment-objective",
                "prose": "Determine whether processes, procedures and technical measures for this are defined, \
                          implemented and evaluated: the sixteen points below, one by one.",
            },
        ],
        "controls": points,
    })
}

fn enhancement(point: &Point, source: &str) -> Value {
    let id = point.control_id();
    json!({
        "id": id,
        "class": "point",
        "title": point.title,
        "props": [label(&point.test_id()), { "name": "sort-id", "value": id }],
        "links": [reference(source)],
        "parts": [
            { "id": format!("{id}_smt"), "name": "statement", "prose": point.statement },
            {
                "id": format!("{id}_obj"),
                "name": "assessment-objective",
                "props": [label(&point.test_id())],
                "prose": format!("Determine whether the following holds. {}", point.objective),
            },
            {
                "id": format!("{id}_asm"),
                "name": "assessment-method",
                "props": [{ "name": "method", "value": "TEST" }, label(&format!("{}-test", point.test_id()))],
                "parts": [{ "name": "assessment-objects", "prose": format!("{}: {}", point.source(), point.objects) }],
            },
        ],
    })
}

fn label(value: &str) -> Value {
    json!({ "name": "label", "value": value })
}

fn reference(uuid: &str) -> Value {
    json!({ "href": format!("#{uuid}"), "rel": "reference" })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever changes the text gives it another edition and another day, and writes its new digest here.
    #[test]
    fn the_text_changes_with_its_edition_only() {
        let digest = model::Digest::of(content().to_string().as_bytes()).to_string();
        assert_eq!(
            (EDITION, digest.as_str()),
            ("1", "2cc53bbd1f241edc46e7bfd054759c7fbffa200609db88f7162247248663ee6f")
        );
    }
}
