//! Addresses of Google's, parsed once: each model has few, and parsing costs more than sending.

use std::collections::HashMap;

use parking_lot::Mutex;
use reqwest::Url;

/// Models are named by clients, so there may be any number of them.
const MOST: usize = 256;

/// The addresses that were asked lately.
#[derive(Debug, Default)]
pub(super) struct Urls(Mutex<HashMap<String, Url>>);

impl Urls {
    /// The parsed address; `None` when it is none.
    pub(super) fn parsed(&self, text: String) -> Option<Url> {
        let mut known = self.0.lock();
        if let Some(url) = known.get(&text) {
            return Some(url.clone());
        }
        let url = Url::parse(&text).ok()?;
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(text, url.clone());
        Some(url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_parsed_and_bounded() {
        let urls = Urls::default();
        assert_eq!(urls.parsed("https://:".to_owned()), None);
        for nth in 0..=MOST {
            let text = format!("https://example.com/v1beta/models/m{nth}:generateContent");
            for _ in 0..2 {
                let url = urls.parsed(text.clone()).expect("an address");
                assert_eq!(url.as_str(), text);
            }
            assert!(urls.0.lock().len() <= MOST);
        }
    }
}
