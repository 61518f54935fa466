//! `profile.json`: what of the catalog is asked of this tenant, which is all of it.

use serde_json::{Value, json};

use super::{CATALOG, Sources};

pub(super) fn content(sources: Sources<'_>) -> Value {
    let title = format!("What CEK-15 asks of {}", sources.name());
    json!({
        "uuid": sources.document_uuid("profile"),
        "metadata": sources.metadata(&title, "profile", CATALOG, json!({})),
        "imports": [{ "href": CATALOG, "include-all": {} }],
        "merge": { "as-is": true },
        "back-matter": { "resources": [sources.resource(CATALOG, "The catalog")] },
    })
}
