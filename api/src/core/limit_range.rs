//! LimitRange: least, most and usual amounts of resources in a namespace.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{LimitRange, LimitRangeItem},
    apimachinery::pkg::api::resource::Quantity as Amount,
};
use serde_json::Value;

use crate::{
    check::Checks,
    field::{FieldError, Path},
    kind::{Column, Names, Rules},
    names,
    quantity::Quantity,
    table,
};

const CONTAINER: &str = "Container";
const POD: &str = "Pod";
const CLAIM: &str = "PersistentVolumeClaim";
const STORAGE: &str = "storage";
const CONTAINER_RESOURCES: [&str; 3] = ["cpu", "ephemeral-storage", "memory"];

type Amounts = BTreeMap<String, Amount>;

/// Rules of `limitranges`.
pub struct LimitRangeRules;

impl Rules for LimitRangeRules {
    type Object = LimitRange;

    fn names() -> Names {
        Names::namespaced("", "v1", "LimitRange", "limitranges").short(&["limits"])
    }

    fn default(range: &mut LimitRange) {
        let limits = range.spec.iter_mut().flat_map(|spec| spec.limits.iter_mut());
        for limit in limits.filter(|limit| limit.type_ == CONTAINER) {
            fill(&mut limit.default, limit.max.as_ref());
            fill(&mut limit.default_request, limit.default.as_ref());
            fill(&mut limit.default_request, limit.min.as_ref());
        }
    }

    fn validate(range: &LimitRange) -> Vec<FieldError> {
        let mut checks = Checks::new();
        let path = Path::new("spec.limits");
        let mut types = BTreeSet::new();
        let limits = range.spec.iter().flat_map(|spec| &spec.limits);
        for (index, limit) in limits.enumerate() {
            let path = path.index(index);
            validate_type(&mut checks, &path.child("type"), &limit.type_);
            if !types.insert(&limit.type_) {
                checks.push(FieldError::duplicate(&path.child("type"), &limit.type_));
            }
            validate_limit(&mut checks, &path, limit);
        }
        checks.into_errors()
    }

    const COLUMNS: &'static [Column] = &[
        table::NAME,
        Column {
            name: "Created At",
            kind: "date",
            format: "",
            description: "When the object was created.",
            priority: 0,
        },
    ];

    fn row(range: &LimitRange, _now: Timestamp) -> Vec<Value> {
        let created = range.metadata.creation_timestamp.as_ref();
        let created = created.map_or(Value::Null, |time| Value::from(time.0.to_string()));
        vec![table::name(range), created]
    }

    const NUMBERS: &'static str = "
        LimitRange metadata=1 spec=2
        LimitRangeItem type=1* max=2 min=3 default=4 defaultRequest=5 maxLimitRequestRatio=6
        LimitRangeSpec limits=1
    ";

    const FACTS: &'static str = "
        LimitRangeSpec.limits list=atomic
    ";
}

/// Takes over what is not there yet.
fn fill(amounts: &mut Option<Amounts>, from: Option<&Amounts>) {
    for (resource, amount) in from.into_iter().flatten() {
        let amounts = amounts.get_or_insert_default();
        amounts.entry(resource.clone()).or_insert_with(|| amount.clone());
    }
}

fn validate_type(checks: &mut Checks, path: &Path, type_: &str) {
    let reasons = names::qualified_name(type_);
    checks.reasons(path, type_, &reasons);
    let known = type_.contains('/') || [CONTAINER, POD, CLAIM].contains(&type_);
    let detail = "must be a standard limit type or fully qualified";
    checks.holds(known || !reasons.is_empty(), path, type_, detail);
}

fn validate_limit(checks: &mut Checks, path: &Path, limit: &LimitRangeItem) {
    let is_pod = limit.type_ == POD;
    let lists = [
        ("max", &limit.max),
        ("min", &limit.min),
        ("default", &limit.default),
        ("defaultRequest", &limit.default_request),
        ("maxLimitRequestRatio", &limit.max_limit_request_ratio),
    ];
    let mut resources = BTreeSet::new();
    for (field, amounts) in lists {
        let path = path.child(field);
        if is_pod && field.starts_with("default") {
            let empty = amounts.as_ref().is_none_or(BTreeMap::is_empty);
            checks.allowed(empty, &path, "may not be specified when `type` is 'Pod'");
            continue;
        }
        for (resource, amount) in amounts.iter().flatten() {
            let path = path.key(resource);
            validate_resource(checks, &path, &limit.type_, resource);
            let amount_reads = Quantity::parse(&amount.0).is_some();
            checks.holds(amount_reads, &path, &amount.0, crate::quantity::RULE);
            resources.insert(resource);
        }
    }
    if limit.type_ == CLAIM
        && of(limit.min.as_ref(), STORAGE).or(of(limit.max.as_ref(), STORAGE)).is_none()
    {
        let detail =
            "either minimum or maximum storage value is required, but neither was provided";
        checks.push(FieldError::required(&path.child("limits"), detail));
    }
    for resource in resources {
        validate_order(checks, path, limit, resource);
    }
}

fn validate_resource(checks: &mut Checks, path: &Path, type_: &str, resource: &str) {
    checks.reasons(path, resource, &names::qualified_name(resource));
    if resource.contains('/') {
        return;
    }
    let of_container = CONTAINER_RESOURCES.contains(&resource) || is_huge_pages(resource);
    let known = of_container || resource == STORAGE;
    checks.holds(known, path, resource, "must be a standard resource type or fully qualified");
    if type_ == CONTAINER || type_ == POD {
        checks.holds(of_container, path, resource, "must be a standard resource for containers");
    }
}

fn is_huge_pages(resource: &str) -> bool {
    resource.starts_with("hugepages-")
}

/// Whether more of it may be promised than there is.
fn may_be_overcommitted(resource: &str) -> bool {
    let native = !resource.contains('/') || resource.contains("kubernetes.io/");
    native && !is_huge_pages(resource)
}

/// An amount as it was given, and what it is worth.
type Worth<'a> = (&'a str, Quantity);

fn of<'a>(amounts: Option<&'a Amounts>, resource: &str) -> Option<Worth<'a>> {
    let text = amounts?.get(resource)?.0.as_str();
    Some((text, Quantity::parse(text)?))
}

/// What is less must not be more: the amounts of one resource beside each other.
fn validate_order(checks: &mut Checks, path: &Path, limit: &LimitRangeItem, resource: &str) {
    let is_pod = limit.type_ == POD;
    let min = of(limit.min.as_ref(), resource);
    let max = of(limit.max.as_ref(), resource);
    let default = of(limit.default.as_ref(), resource).filter(|_| !is_pod);
    let request = of(limit.default_request.as_ref(), resource).filter(|_| !is_pod);
    // The field, the value that upstream shows, and both amounts with their names.
    let pairs = [
        ("min", min, (min, "min"), (max, "max")),
        ("defaultRequest", request, (min, "min"), (request, "default request")),
        ("defaultRequest", request, (request, "default request"), (max, "max")),
        ("defaultRequest", request, (request, "default request"), (default, "default limit")),
        ("default", min, (min, "min"), (default, "default")),
        ("default", max, (default, "default"), (max, "max")),
    ];
    for (field, shown, (less, less_name), (more, more_name)) in pairs {
        let (Some(shown), Some(less), Some(more)) = (shown, less, more) else {
            continue;
        };
        let detail =
            format!("{less_name} value {} is greater than {more_name} value {}", less.0, more.0);
        checks.holds(less.1 <= more.1, &path.child(field).key(resource), shown.0, &detail);
    }
    if let Some((text, ratio)) = of(limit.max_limit_request_ratio.as_ref(), resource) {
        let path = path.child("maxLimitRequestRatio").key(resource);
        let one = Quantity::parse("1");
        checks.holds(Some(ratio) >= one, &path, text, &format!("ratio {text} is less than 1"));
        if let (Some((_, min)), Some((_, max))) = (min, max) {
            let most = max.over(min);
            let detail = format!("ratio {text} is greater than max/min = {most:.6}");
            checks.holds(one.is_none_or(|one| ratio.over(one) <= most), &path, text, &detail);
        }
    }
    if let (Some(default), Some(request), false) =
        (default, request, may_be_overcommitted(resource))
    {
        let detail = format!(
            "default value {} must equal to defaultRequest value {} in {resource}",
            default.0, request.0
        );
        let path = path.child("defaultRequest").key(resource);
        checks.holds(default.1 == request.1, &path, request.0, &detail);
    }
}
