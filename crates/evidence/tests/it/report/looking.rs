//! The page as people use and see it: by keyboard, narrow, in the dark, on paper. The pictures are left in the target
//! folder, for somebody to look at.

use std::path::PathBuf;

use serde_json::json;

use super::browser::Browser;
use super::scene::{Scene, embedded, scenario};

/// Where the pictures go.
fn gallery() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("report");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn the_inventory_is_sorted_and_filtered_by_keyboard() {
    let scene = Scene::new(&scenario());
    let file = gallery().join("keyboard.html");
    std::fs::write(&file, scene.html()).unwrap();
    let mut browser = Browser::start();
    browser.look(1280, "light", "screen");
    browser.open(&file);
    browser.checked();
    let rows = "[...document.querySelectorAll('.inventory tbody tr')].filter((row) => !row.hidden).map((row) => row.cells[0].querySelector('bdi').textContent)";
    let shown = browser.eval(rows);
    assert_eq!(shown.as_array().unwrap().len(), 6);
    browser.eval("document.getElementById('filter-state').focus()");
    while browser.eval("document.activeElement.matches('.sort')") != true {
        browser.press("Tab");
    }
    browser.press("Enter");
    let sorted = json!(["incident-7", "k5-batch", "k6-batch", "prompts-1", "prompts-2", "weights-eu"]);
    assert_eq!(browser.eval(rows), sorted);
    assert_eq!(browser.eval("document.activeElement.parentElement.getAttribute('aria-sort')"), "ascending");
    browser.press("Enter");
    let downwards: Vec<_> = sorted.as_array().unwrap().iter().rev().cloned().collect();
    assert_eq!(browser.eval(rows), json!(downwards));
    browser.eval("document.getElementById('filter-text').focus()");
    browser.type_text("PROMPT");
    assert_eq!(browser.eval(rows), json!(["prompts-2", "prompts-1"]));
    assert_eq!(browser.text("#filter-count"), "2 of 6 keys shown");
    browser.eval("const state = document.getElementById('filter-state'); state.value = 'active'; state.dispatchEvent(new Event('change'))");
    assert_eq!(browser.eval(rows), json!(["prompts-1"]));
}

/// Nothing is wider than the window but what scrolls by itself, and every colour of text stands out from what is behind it
/// (WCAG 2.2 AA), on a wide and on a narrow screen, light and dark, in a good and a bad state.
#[test]
fn it_fits_and_reads_on_every_screen() {
    let scene = Scene::new(&scenario());
    let mut lines = scene.lines.clone();
    lines[29] = lines[29].replacen("\"payload\":\"eyJ", "\"payload\":\"eyK", 1);
    let touched = embedded(&lines);
    let mut browser = Browser::start();
    for (name, html) in [("good", scene.html()), ("tampered", scene.html_with(&touched))] {
        let file = gallery().join(format!("{name}.html"));
        std::fs::write(&file, html).unwrap();
        for (width, scheme) in [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")] {
            browser.look(width, scheme, "screen");
            browser.open(&file);
            assert_eq!(browser.checked(), if name == "good" { "good" } else { "bad" });
            browser.screenshot(&gallery().join(format!("{name}-{width}-{scheme}.png")));
            assert_eq!(browser.eval("document.documentElement.scrollWidth <= innerWidth"), true, "{name} {width}");
            assert_eq!(browser.eval(FAINT), json!([]), "{name} {width} {scheme}");
        }
    }
}

/// Texts whose contrast with what is behind them is under 4.5 to 1.
const FAINT: &str = r"(() => {
    const channel = (value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
    const parse = (colour) => colour.match(/[\d.]+/g).map(Number);
    const light = ([r, g, b]) => 0.2126 * channel(r / 255) + 0.7152 * channel(g / 255) + 0.0722 * channel(b / 255);
    const behind = (element) => {
        for (let at = element; at; at = at.parentElement) {
            const colour = parse(getComputedStyle(at).backgroundColor);
            if (colour.length === 3 || colour[3] > 0) return colour;
        }
        return [255, 255, 255];
    };
    const faint = new Set();
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
        const element = texts.currentNode.parentElement;
        if (texts.currentNode.data.trim() === '' || !element.checkVisibility() || element.closest('script, style, .sr')) continue;
        const [a, b] = [light(parse(getComputedStyle(element).color)), light(behind(element))].sort((a, b) => b - a);
        if ((a + 0.05) / (b + 0.05) < 4.5) faint.add(`${element.tagName} ${element.className}: ${texts.currentNode.data.trim().slice(0, 40)}`);
    }
    return [...faint];
})()";

/// On paper: no tools, no links' colours, black on white also where the screen is dark, every section there.
#[test]
fn it_prints() {
    let scene = Scene::new(&scenario());
    let file = gallery().join("print.html");
    std::fs::write(&file, scene.html()).unwrap();
    let mut browser = Browser::start();
    browser.look(800, "dark", "print");
    browser.open(&file);
    browser.checked();
    assert_eq!(browser.eval("getComputedStyle(document.body).backgroundColor"), "rgb(255, 255, 255)");
    for gone in ["#check-tools", "#inventory-tools", ".contents", ".skip"] {
        let script = format!("document.querySelector('{gone}').checkVisibility()");
        assert_eq!(browser.eval(&script), false, "{gone}");
    }
    assert_eq!(
        browser.eval("[...document.querySelectorAll('main > section')].every((section) => section.checkVisibility())"),
        true
    );
    browser.pdf(&gallery().join("print.pdf"));
    let pdf = std::fs::read(gallery().join("print.pdf")).unwrap();
    assert!(pdf.starts_with(b"%PDF-") && pdf.len() > 50_000);
    browser.screenshot(&gallery().join("print.png"));
}
