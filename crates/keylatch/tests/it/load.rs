//! The load tester on the real platform, as whoever runs one uses it.

use serde_json::Value;

use crate::world::World;
use crate::{json, keylatch};

/// Every scenario, in an open loop over two tenants: all of it is done, nothing is refused, and what was acknowledged stands.
/// Then a closed loop with the page.
#[tokio::test(flavor = "multi_thread")]
async fn a_platform_under_load_keeps_what_it_acknowledged() {
    let world = World::start().await;
    let (platform, home) = (world.path().to_owned(), world.dir.path().to_owned());
    let run = move |arguments: &str| {
        let arguments: Vec<&str> = arguments.split_whitespace().collect();
        let output = keylatch(&home, &[&["--json"], arguments.as_slice()].concat());
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        json(&output)
    };
    let cast = world.dir.path().join("cast").display().to_string();
    let page = world.dir.path().join("load.html");
    tokio::task::spawn_blocking(move || {
        run(&format!("load prepare --dir {} --out {cast} --tenants 2", platform.display()));
        let mix = "lifecycle=3,issue=1,approvals=1,suspend=1,use=2,read=1,replay=1";
        let report = run(&format!("load run {cast} --mix {mix} --rate 4..8 --for 5s --warm-up 1s --subscribers 2"));
        let done = |what: &str| -> Value {
            let all = report["done"].as_array().unwrap();
            all.iter().find(|done| done["what"] == what).unwrap_or_else(|| panic!("no {what} in {report}")).clone()
        };
        for what in ["lifecycle", "issue", "approvals", "suspend", "use", "read", "replay", "suspend to refusal"] {
            let done = done(what);
            assert!(done["count"].as_u64().unwrap() > 0, "{done}");
            assert_eq!(done["refused"], serde_json::json!({}), "{what}");
            assert!(done["from_due"]["p50"].as_f64().unwrap() > 0.0, "{done}");
        }
        let checked = &report["checked"];
        assert_eq!(checked["standing"], checked["acknowledged"]);
        assert!(checked["acknowledged"].as_u64().unwrap() > 20, "{checked}");
        assert!(report["delivered"].as_u64().unwrap() > 20, "{report}");
        run(&format!("load run {cast} --at-once 4 --for 2s --warm-up 0s --report {}", page.display()));
        let page = std::fs::read_to_string(page).unwrap();
        assert!(page.contains("acknowledged commands stand in the log") && !page.contains("<script"));
    })
    .await
    .unwrap();
}
