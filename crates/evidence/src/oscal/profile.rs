//! `profile.json`: what of the catalog is asked of this tenant, which is all of it.

use serde_json::json;

use super::{Document, Sources};

pub(super) fn document(sources: Sources<'_>, catalog: &Document) -> Document {
    let link = sources.uuid("resource catalog");
    let title = format!("What CEK-15 asks of {}", sources.name());
    let content = json!({
        "uuid": sources.document_uuid("profile"),
        "metadata": sources.metadata(&title, "profile", &link, json!({})),
        "imports": [{ "href": catalog.name(), "include-all": {} }],
        "merge": { "as-is": true },
        "back-matter": { "resources": [catalog.resource(&link, "The catalog")] },
    });
    Document::new("profile.json", "profile", content)
}
