//! What every engine refuses before it looks at its data.
//!
//! Pure: knows the limits and the request, never the state.

use std::collections::HashSet;

use crate::{
    Compare, Error, Op,
    limits::{KEY_BYTES_MAX, LEASE_TTL_S_MAX, TXN_BYTES_MAX, TXN_OPS_MAX, VALUE_BYTES_MAX},
};

/// Refuses what is too large or contradicts itself, before anyone waits for it.
pub(crate) fn check_txn(compares: &[Compare], ops: &[Op]) -> Result<(), Error> {
    if compares.len().max(ops.len()) > TXN_OPS_MAX {
        return Err(Error::TooLarge {
            what: "the number of a transaction's operations",
            limit: TXN_OPS_MAX,
        });
    }
    let mut bytes = 0;
    let mut keys = HashSet::new();
    for op in ops {
        let (key, value_bytes) = match op {
            Op::Put { key, value, .. } => (key, value.len()),
            Op::Delete { key } => (key, 0),
        };
        if key.is_empty() {
            return Err(Error::Invalid("an empty key".into()));
        }
        if !keys.insert(key) {
            return Err(Error::Invalid(format!("key {key:?} is written twice in one transaction")));
        }
        if key.len() > KEY_BYTES_MAX {
            return Err(Error::TooLarge { what: "a key", limit: KEY_BYTES_MAX });
        }
        if value_bytes > VALUE_BYTES_MAX {
            return Err(Error::TooLarge { what: "a value", limit: VALUE_BYTES_MAX });
        }
        bytes += key.len() + value_bytes;
    }
    if bytes > TXN_BYTES_MAX {
        return Err(Error::TooLarge { what: "a transaction", limit: TXN_BYTES_MAX });
    }
    Ok(())
}

/// Refuses a lease that could not be kept.
pub(crate) fn check_ttl(ttl_s: i64) -> Result<(), Error> {
    if (1..=LEASE_TTL_S_MAX).contains(&ttl_s) {
        return Ok(());
    }
    Err(Error::Invalid(format!("a lease of {ttl_s} seconds; 1 to {LEASE_TTL_S_MAX} are possible")))
}
