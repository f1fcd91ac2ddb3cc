//! A number of pods that may be a percentage of all.
//!
//! Never checks it: the API server has.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// The amount in pods, of `total`; what cannot be read is none.
pub fn resolve(value: &IntOrString, total: i32, round_up: bool) -> i32 {
    match value {
        IntOrString::Int(number) => (*number).max(0),
        IntOrString::String(text) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
            let product = percent.max(0) * i64::from(total);
            let pods = if round_up { (product + 99) / 100 } else { product / 100 };
            i32::try_from(pods).unwrap_or(i32::MAX)
        }
    }
}
