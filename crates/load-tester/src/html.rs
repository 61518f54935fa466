//! The report as one page, without scripts and without anything from elsewhere.

use std::fmt::Write as _;

use crate::report::{Done, Report, Second};

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1b1f24;--dim:#5b6470;--line:#d5d9de;--paper:#fff;--a:#2563a8;--b:#b3541e;--bad:#a3202b}\
@media(prefers-color-scheme:dark){:root{--ink:#e6e8ea;--dim:#9aa3ad;--line:#3a4048;--paper:#15181c;--a:#7ab3ec;--b:#eba06c;--bad:#f08a92}}\
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:70rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}.wide{overflow-x:auto}\
table{border-collapse:collapse;font-variant-numeric:tabular-nums}th,td{padding:.25rem .7rem;text-align:right;border-bottom:1px solid var(--line)}\
th:first-child,td:first-child{text-align:left}th{color:var(--dim);font-weight:600}.bad{color:var(--bad)}.dim{color:var(--dim)}\
svg{width:100%;height:auto;max-height:16rem}.axis{stroke:var(--line)}text{fill:var(--dim);font-size:11px}\
.a{stroke:var(--a);fill:none;stroke-width:1.5}.b{stroke:var(--b);fill:none;stroke-width:1.5}.bars{fill:var(--a);opacity:.35}\
.key-a{color:var(--a)}.key-b{color:var(--b)}";

/// The page.
pub(crate) fn page(report: &Report) -> String {
    let mut out = String::new();
    let plan = escape(&report.plan);
    let _ = write!(
        out,
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>\
         <title>Load: {plan}</title><style>{STYLE}</style><h1>Load: {plan}</h1>\
         <p>{}, {:.1} s measured, {} events ({:.0} a second).</p>",
        report.of_tenants(),
        report.seconds,
        report.events,
        report.events_per_second
    );
    checked(&mut out, report);
    table(&mut out, report);
    for done in report.done.iter().filter(|done| done.count > 0) {
        plots(&mut out, done);
    }
    out.push_str("</html>\n");
    out
}

fn checked(out: &mut String, report: &Report) {
    let Some(checked) = &report.checked else {
        out.push_str("<p class=dim>What was acknowledged was not looked up in the log.</p>");
        return;
    };
    if checked.holds() {
        let _ = write!(
            out,
            "<p>All {} acknowledged commands stand in the log where the answers said, once.</p>",
            checked.acknowledged
        );
        return;
    }
    let _ = write!(
        out,
        "<p class=bad>{} of {} acknowledged commands stand in the log.</p><ul>",
        checked.standing, checked.acknowledged
    );
    for what in checked.missing.iter().chain(&checked.twice) {
        let _ = write!(out, "<li>{}", escape(what));
    }
    out.push_str("</ul>");
}

fn table(out: &mut String, report: &Report) {
    out.push_str(
        "<h2>Latencies</h2><p class=dim>In milliseconds, from the moment at which something was due: what waited to be \
         sent waited for the platform. The last column counts from the sending on.</p><div class=wide><table><tr><th>\
         <th>count<th>a second<th>p50<th>p90<th>p99<th>p99.9<th>max<th>p99 from sending",
    );
    for done in &report.done {
        let latency = &done.from_due;
        let _ = write!(
            out,
            "<tr><td>{}<td>{}<td>{:.1}<td>{:.2}<td>{:.2}<td>{:.2}<td>{:.2}<td>{:.2}<td>{:.2}",
            escape(&done.what),
            done.count,
            done.per_second,
            latency.p50,
            latency.p90,
            latency.p99,
            latency.p999,
            latency.max,
            done.from_sent.p99
        );
        for (problem, count) in &done.refused {
            let _ = write!(out, "<tr class=bad><td colspan=9>{count} times {}", escape(problem));
        }
    }
    out.push_str("</table></div>");
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 150.0;
const LEFT: f64 = 52.0;

/// How many in each second, and how long they took.
fn plots(out: &mut String, done: &Done) {
    if done.timeline.len() < 2 {
        return;
    }
    let _ = write!(
        out,
        "<h2>{}</h2><p class=dim>Bars: how many in each second. <span class=key-a>Median</span> and <span class=key-b>99th \
         percentile</span> in milliseconds.</p>",
        escape(&done.what)
    );
    let most = done.timeline.iter().map(|second| second.count).max().unwrap_or(1).max(1) as f64;
    let slowest = done.timeline.iter().map(|second| second.p99).fold(0.001, f64::max);
    let step = (WIDTH - LEFT) / done.timeline.len() as f64;
    let _ = write!(out, "<svg viewBox='0 0 {WIDTH} {}' role=img aria-label='over time'>", HEIGHT + 24.0);
    for (place, second) in done.timeline.iter().enumerate() {
        let height = HEIGHT * second.count as f64 / most;
        let _ = write!(
            out,
            "<rect class=bars x='{:.1}' y='{:.1}' width='{:.1}' height='{height:.1}'/>",
            LEFT + step * place as f64,
            HEIGHT - height,
            (step - 0.5).max(0.5)
        );
    }
    line(out, "a", &done.timeline, step, slowest, |second| second.p50);
    line(out, "b", &done.timeline, step, slowest, |second| second.p99);
    let _ = write!(
        out,
        "<line class=axis x1='{LEFT}' y1='{HEIGHT}' x2='{WIDTH}' y2='{HEIGHT}'/>\
         <text x='0' y='12'>{slowest:.1} ms</text><text x='0' y='26'>{most:.0}/s</text><text x='0' y='{HEIGHT}'>0</text>\
         <text x='{LEFT}' y='{}'>0 s</text><text x='{}' y='{}' text-anchor=end>{} s</text></svg>",
        HEIGHT + 16.0,
        WIDTH,
        HEIGHT + 16.0,
        done.timeline.len()
    );
}

fn line(out: &mut String, class: &str, seconds: &[Second], step: f64, top: f64, of: impl Fn(&Second) -> f64) {
    let points: Vec<String> = seconds
        .iter()
        .enumerate()
        .filter(|(_, second)| second.count > 0)
        .map(|(place, second)| {
            format!("{:.1},{:.1}", LEFT + step * (place as f64 + 0.5), HEIGHT * (1.0 - (of(second) / top).min(1.0)))
        })
        .collect();
    let _ = write!(out, "<polyline class={class} points='{}'/>", points.join(" "));
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('\'', "&#39;").replace('"', "&quot;")
}
