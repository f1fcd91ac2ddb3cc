//! Resource quantities such as `500m`, `1.5Gi` and `2e3`: read and compared.
//!
//! Never rewrites one: the text is kept as it was given.

/// What a text that is not a quantity is told.
pub const RULE: &str = "quantities must match the regular expression \
     '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

/// Most digits that are looked at: more is no amount of anything.
const MAX_DIGITS: usize = 30;

/// An amount in billionths, so that every suffix is a whole number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity(i128);

impl Quantity {
    /// Reads a quantity. Amounts beyond what fits are capped.
    pub fn parse(text: &str) -> Option<Self> {
        let (sign, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, text.strip_prefix('+').unwrap_or(text)),
        };
        let end =
            unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = whole.len() + fraction.len();
        if digits == 0 || digits > MAX_DIGITS || fraction.contains('.') {
            return None;
        }
        let mantissa: i128 = format!("{whole}{fraction}").parse().ok()?;
        let (multiplier, exponent) = scale(suffix)?;
        let exponent = exponent + 9 - i32::try_from(fraction.len()).ok()?;
        let scaled = mantissa.saturating_mul(multiplier);
        let nanos = if exponent >= 0 {
            scaled.saturating_mul(10_i128.saturating_pow(exponent.unsigned_abs()))
        } else {
            // Rounded up, as amounts finer than the unit are.
            let divisor = 10_i128.saturating_pow(exponent.unsigned_abs());
            scaled / divisor + i128::from(scaled % divisor != 0)
        };
        Some(Self(sign * nanos))
    }

    /// Whether it is below zero.
    pub fn is_negative(self) -> bool {
        self.0 < 0
    }

    /// How many times the other it is.
    #[expect(clippy::cast_precision_loss, reason = "a ratio needs no more digits")]
    pub fn over(self, other: Self) -> f64 {
        self.0 as f64 / other.0 as f64
    }
}

/// Multiplier and power of ten of a suffix.
fn scale(suffix: &str) -> Option<(i128, i32)> {
    let decimal = |exponent| Some((1, exponent));
    let binary = |power: u32| Some((1024_i128.pow(power), 0));
    match suffix {
        "" => decimal(0),
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            (exponent.abs() <= 30).then_some((1, exponent))
        }
    }
}
