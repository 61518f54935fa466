//! Judging vector files, ours or anybody's.

use std::path::PathBuf;

use journal::vectors::Outcome;

/// Judges each file, of form or of law, whichever it is. A line a case; whether all came out as they say.
pub fn judge(files: &[PathBuf]) -> Result<bool, String> {
    let mut good = true;
    for file in files {
        let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        let outcomes = judge_text(&text).map_err(|error| format!("{}: {error}", file.display()))?;
        for Outcome { name, differences } in outcomes {
            good &= differences.is_empty();
            println!("{} {name}", if differences.is_empty() { "ok  " } else { "DIFF" });
            differences.iter().for_each(|difference| println!("     {difference}"));
        }
    }
    Ok(good)
}

fn judge_text(text: &str) -> Result<Vec<Outcome>, String> {
    let json: serde_json::Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let is_law = json.get("rules").is_some();
    if is_law { lifecycle::vectors::judge(text) } else { journal::vectors::judge(text) }
}
