//! What counts as unset when defaults are filled in: as upstream sees it, empty text and zero too.
//!
//! Never knows a kind.

/// Sets a text that is missing or empty.
pub fn text(field: &mut Option<String>, value: &str) {
    if field.as_deref().unwrap_or_default().is_empty() {
        *field = Some(value.to_owned());
    }
}

/// Sets a number that is missing or zero.
pub fn number(field: &mut Option<i32>, value: i32) {
    if field.unwrap_or(0) == 0 {
        *field = Some(value);
    }
}

/// Drops a text that is empty.
pub fn drop_empty(field: &mut Option<String>) {
    if field.as_deref() == Some("") {
        *field = None;
    }
}

/// Drops a number that is zero.
pub fn drop_zero(field: &mut Option<i32>) {
    if *field == Some(0) {
        *field = None;
    }
}
