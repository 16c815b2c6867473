//! Opens an address in the browser: the programs of `BROWSER`, else the system's opener.

use std::process::{Command, Stdio};

use crate::terminal;

const OPENER: &str = if cfg!(target_os = "macos") {
    "open"
} else {
    "xdg-open"
};

/// Opens `url`, and says so when that fails; the address can be opened by hand.
pub(super) fn open(url: &str) {
    let named = std::env::var("BROWSER").unwrap_or_default();
    let named = named
        .split(':')
        .filter(|program| !program.trim().is_empty());
    let programs: Vec<_> = named.chain([OPENER]).map(str::to_owned).collect();
    let url = url.to_owned();
    // Some openers stay as long as the browser does.
    std::thread::spawn(move || {
        if !programs.iter().any(|program| opens(program, &url)) {
            terminal::note(
                "No browser could be started here. Open the address yourself; if your browser \
                 runs on another machine, end this with Ctrl-C and log in with --no-browser.",
            );
        }
    });
}

/// Whether `program` has opened it. `%s` in it stands for the address; there is no shell.
fn opens(program: &str, url: &str) -> bool {
    let mut words: Vec<String> = program.split_whitespace().map(str::to_owned).collect();
    if words.iter().any(|word| word.contains("%s")) {
        for word in &mut words {
            *word = word.replace("%s", url);
        }
    } else {
        words.push(url.to_owned());
    }
    let mut words = words.into_iter();
    let Some(program) = words.next() else {
        return false;
    };
    let status = Command::new(program)
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}
