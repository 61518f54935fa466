//! The report: what stands in it, and what it finds out in a browser.

mod browser;
mod finding;
mod looking;
mod scene;

use std::collections::BTreeSet;

use evidence::controls::Outcome;
use evidence::export;
use evidence::report::{EMBED_BYTES_MAX, KEYS_MAX, Lines, TIMELINES_MAX};
use journal::Record;
use model::KeyId;

use scene::{EVIL, Scene, scenario};

/// What stands between `before` and `after`, everywhere.
fn between<'a>(html: &'a str, before: &str, after: &str) -> Vec<&'a str> {
    html.split(before).skip(1).map(|rest| rest.split(after).next().unwrap()).collect()
}

/// The page without its scripts, styles and data.
fn markup(html: &str) -> String {
    let mut markup = String::new();
    let mut rest = html;
    while let Some((before, after)) = rest.split_once("<script") {
        markup.push_str(before);
        rest = after.split_once("</script>").unwrap().1;
    }
    markup.push_str(rest);
    let (before, after) = markup.split_once("<style>").unwrap();
    format!("{before}{}", after.split_once("</style>").unwrap().1)
}

#[test]
fn it_says_without_scripts_that_nothing_was_checked() {
    let html = Scene::new(&scenario()).html();
    assert!(html.contains("<html lang='en' data-check='unchecked'>"));
    assert!(html.contains("class='headline'>Nothing has been checked</p>"));
    assert!(markup(&html).contains("<div id='found' hidden>"));
}

#[test]
fn every_section_heading_table_and_link_is_in_order() {
    let html = markup(&Scene::new(&scenario()).html());
    let ids = between(&html, " id='", "'");
    let unique: BTreeSet<&str> = ids.iter().copied().collect();
    assert_eq!(ids.len(), unique.len(), "an id stands twice");
    for link in between(&html, "href='", "'") {
        assert!(unique.contains(link.strip_prefix('#').unwrap()), "{link} leads nowhere");
    }
    for id in ["what", "check", "summary", "controls", "inventory", "timelines", "requests", "people", "law"] {
        assert!(html.contains(&format!("<section id='{id}' aria-labelledby='{id}-title'>")), "{id}");
    }
    let levels: Vec<u8> = html.split("<h").skip(1).filter_map(|rest| rest.bytes().next()).collect();
    let levels: Vec<u8> = levels.into_iter().filter(u8::is_ascii_digit).collect();
    assert_eq!(levels.iter().filter(|level| **level == b'1').count(), 1);
    assert!(levels.windows(2).all(|pair| pair[1] <= pair[0] + 1), "a heading's level is left out");
    for table in between(&html, "<table", "</table>") {
        assert!(table.contains("<caption>") || table.starts_with(" aria-labelledby="), "{table}");
        assert!(between(table, "<th", "<").iter().all(|cell| cell.contains("scope=") || cell.starts_with("ead")));
    }
}

/// What the control tests found comes in the order of what needs looking at, each with its events.
#[test]
fn exceptions_come_first_with_their_events_disposition_and_owner() {
    let scene = Scene::new(&scenario());
    let html = markup(&scene.html());
    let controls = html.split_once("<section id='controls'").unwrap().1.split_once("</section>").unwrap().0;
    let order = between(controls, "<article class='control' id='c-", "'");
    let outcome = |id: &&str| scene.controls.controls.iter().find(|test| test.id == *id).unwrap().outcome;
    let outcomes: Vec<Outcome> = order.iter().map(outcome).collect();
    assert_eq!(order.len(), scene.controls.controls.len());
    assert!(outcomes.is_sorted() && outcomes[0] == Outcome::Exceptions, "{outcomes:?}");
    let disposed =
        scene.controls.controls.iter().flat_map(|test| &test.exceptions).find(|one| one.disposition.is_some());
    let disposed = disposed.unwrap();
    let row = controls.split("<tr>").find(|row| row.contains(&disposed.id.to_string())).unwrap();
    for at in &disposed.events {
        assert!(row.contains(&format!("data-seq='{}' data-hash='{}'", at.sequence.0, at.hash)), "{row}");
    }
    assert!(row.contains("<strong>remediate</strong>, due <time datetime=") && row.contains("<bdi>ann</bdi>"), "{row}");
}

/// Text that people chose stays text: in reasons, notes, headers of events, reasons of voids.
#[test]
fn text_never_becomes_markup() {
    let mut scenario = scenario();
    let header = format!("{EVIL}-->").replace('\n', " ");
    scenario.inject(Record { signature: header, payload: EVIL.as_bytes().to_vec().into() });
    let mut scene = Scene::new(&scenario);
    scene.history.attempts[0].reason = EVIL.to_owned();
    scene.controls.limits.push(EVIL.to_owned());
    scene.controls.controls[0].remarks.push(EVIL.to_owned());
    let html = scene.html();
    assert!(scene.lines.last().unwrap().contains("</script>"), "the header is in the line as it is");
    assert_eq!(html.matches("<script").count(), 4, "two blocks of data, two scripts");
    assert_eq!(html.matches("</script").count(), 4);
    assert!(!html.contains("<img") && !markup(&html).contains('\u{202e}'));
    let escaped = "&lt;/script&gt;&lt;script&gt;document.title=&#39;taken&#39;&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt; \
        &quot;quoted&quot; &#39;quoted&#39; &amp; \\u{202e}drawkcab";
    let exceptions = scene.controls.controls.iter().flat_map(|test| &test.exceptions);
    let disposed = exceptions.filter(|found| found.disposition.is_some()).count();
    assert!(disposed > 0);
    assert_eq!(html.matches(escaped).count(), disposed + 4, "and a rejection, a void, a remark, a limit");
}

/// Nothing in the page points outside, and its policy would let nothing out.
#[test]
fn it_is_one_file_that_fetches_nothing() {
    let html = Scene::new(&scenario()).html().replace("http://www.w3.org/2000/svg", "");
    let policy = between(&html, "http-equiv='Content-Security-Policy' content=\"", "\"")[0];
    assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    for outside in ["http:", "https:", " src='", "@import", "<link", "<iframe", "fetch(", "XMLHttpRequest", "style='"] {
        assert!(!html.contains(outside), "{outside}");
    }
}

#[test]
fn the_same_evidence_gives_the_same_bytes() {
    let scenario = scenario();
    assert_eq!(Scene::new(&scenario).html(), Scene::new(&scenario).html());
}

/// A page about very many keys stays a page, and says what it leaves out.
#[test]
fn what_is_too_much_for_a_page_is_counted_and_named() {
    const KEYS: usize = 3_000;
    let mut scene = Scene::new(&scenario());
    let known = scene.history.keys.values().last().unwrap().clone();
    for number in 0..KEYS {
        let id: KeyId = format!("01930000-0000-7000-8000-{number:012x}").parse().unwrap();
        let mut key = known.clone();
        key.id = id;
        scene.history.keys.insert(id, key);
    }
    let html = scene.html();
    assert_eq!(html.matches("<article class='key'").count(), TIMELINES_MAX);
    assert_eq!(html.matches("<tr data-state=").count(), KEYS_MAX);
    let said =
        "Shown are 100 of 3,006 keys: those with exceptions and the newest. All of them are in <code>keys.csv</code>.";
    assert!(html.contains(said));
    let excepted: BTreeSet<KeyId> =
        scene.controls.controls.iter().flat_map(|test| &test.exceptions).filter_map(|found| found.key_id).collect();
    assert_eq!(excepted.len(), 4);
    assert!(excepted.iter().all(|key| html.contains(&format!("<article class='key' id='k-{key}'"))));
}

#[test]
fn events_stand_in_the_page_up_to_the_limit_and_not_beyond() {
    let mut lines = Lines::default();
    let line = "x".repeat(EMBED_BYTES_MAX / 4 - 1);
    (0..4).for_each(|_| lines.push(&line));
    let scene = Scene::new(&scenario());
    assert!(scene.html_with(&lines).len() > EMBED_BYTES_MAX);
    lines.push("");
    let html = scene.html_with(&lines);
    assert!(html.len() < 1024 * 1024 && html.contains(r#""embedded":false,"bytes":16777217"#));
}

/// Lines are read back by the page's script as they were written: the block holds them all.
#[test]
fn the_lines_in_the_page_are_those_of_the_export() {
    let scene = Scene::new(&scenario());
    let html = scene.html();
    let block = between(&html, "<script type='application/x-ndjson' id='events'>\n", "</script>")[0];
    let lines: Vec<&str> = block.lines().collect();
    assert_eq!(lines, scene.lines);
    assert!(lines.iter().all(|line| export::from_line(line.as_bytes()).is_ok()));
}
