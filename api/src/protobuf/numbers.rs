//! The field numbers of every message, read once from the kinds and from the tables of what
//! several of them share.
//!
//! Never says what type a field has: `crate::shape` does.
//!
//! One message after another; its further lines are indented. `replicas=1` is the field 1.
//! `replicas=1*` says that upstream leaves an unset field out, so that a zero is meant:
//! without the star, zeros and empty texts are on the wire for unset fields, too.
//! `+VolumeSource=2` is a message of its own on the wire, whose fields are the outer one's.

use std::{
    collections::{BTreeMap, HashMap},
    sync::LazyLock,
};

use crate::{core, kinds, meta_numbers};

/// Messages of groups that have no kind here, only requests on other kinds.
const REQUESTS: [(&str, &str); 4] = [
    (
        "io.k8s.api.autoscaling.v1",
        "
        Scale metadata=1 spec=2 status=3
        ScaleSpec replicas=1
        ScaleStatus replicas=1* selector=2
        ",
    ),
    (
        "io.k8s.api.policy.v1",
        "
        Eviction metadata=1 deleteOptions=2
        ",
    ),
    (
        "io.k8s.api.authentication.v1",
        "
        SelfSubjectReview metadata=1 status=2
        SelfSubjectReviewStatus userInfo=1
        UserInfo username=1 uid=2 groups=3
        ",
    ),
    (
        "io.k8s.api.authorization.v1",
        "
        FieldSelectorAttributes rawSelector=1 requirements=2
        LabelSelectorAttributes rawSelector=1 requirements=2
        NonResourceAttributes path=1 verb=2
        NonResourceRule verbs=1 nonResourceURLs=2
        ResourceAttributes namespace=1 verb=2 group=3 version=4 resource=5 subresource=6 name=7
          fieldSelector=8 labelSelector=9
        ResourceRule verbs=1 apiGroups=2 resources=3 resourceNames=4
        SelfSubjectAccessReview metadata=1 spec=2 status=3
        SelfSubjectAccessReviewSpec resourceAttributes=1 nonResourceAttributes=2
        SelfSubjectRulesReview metadata=1 spec=2 status=3
        SelfSubjectRulesReviewSpec namespace=1
        SubjectAccessReviewStatus allowed=1* reason=2 evaluationError=3 denied=4
        SubjectRulesReviewStatus resourceRules=1 nonResourceRules=2 incomplete=3*
          evaluationError=4
        ",
    ),
];

const TABLES: [(&str, &str); 6] = [
    core::numbers::NUMBERS,
    meta_numbers::NUMBERS,
    REQUESTS[0],
    REQUESTS[1],
    REQUESTS[2],
    REQUESTS[3],
];

/// What a field number stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// A field of the definition.
    Field {
        /// Its name in JSON.
        name: &'static str,
        /// Whether a zero or an empty text is a value, and not the lack of one.
        zero_is_meant: bool,
    },
    /// A message that holds fields of the same definition: its name among the messages.
    Embedded(String),
}

/// Fields by number.
pub type Numbers = HashMap<u32, Meaning>;

static ALL: LazyLock<BTreeMap<String, Numbers>> = LazyLock::new(|| {
    let mut all = BTreeMap::new();
    let own = kinds::all().iter().map(|kind| (kinds::package(&**kind), kind.numbers()));
    for (prefix, table) in TABLES.into_iter().chain(own) {
        let mut numbers = &mut Numbers::new();
        for word in table.split_whitespace() {
            match word.split_once('=') {
                None => numbers = all.entry(format!("{prefix}.{word}")).or_default(),
                Some((name, number)) => {
                    let zero_is_meant = number.ends_with('*');
                    let meaning = match name.strip_prefix('+') {
                        Some(message) => Meaning::Embedded(format!("{prefix}.{message}")),
                        None => Meaning::Field { name, zero_is_meant },
                    };
                    let number = number.trim_end_matches('*').parse();
                    numbers.insert(number.expect("a field number"), meaning);
                }
            }
        }
    }
    all
});

/// The fields of a message, such as `io.k8s.api.core.v1.PodSpec`.
pub fn of(message: &str) -> Option<&'static Numbers> {
    ALL.get(message)
}
