//! The bridge from `Rules` (typed) to `Kind` (erased), written once for every kind.

use std::{marker::PhantomData, net::SocketAddr};

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    allocate::{Claim, Pool, Refusal},
    decode_error::DecodeError,
    definitions,
    field::FieldError,
    kind::{Column, FieldValues, Kind, Names, Object, Role, Rules},
    meta,
    object::{typed, typed_mut},
    subresource::Subresource,
    version::Version,
};

/// `R`'s rules behind the erased trait.
pub struct Typed<R> {
    names: Names,
    subresources: Vec<Subresource>,
    versions: Vec<Version>,
    rules: PhantomData<fn() -> R>,
}

impl<R: Rules> Typed<R> {
    /// The erased kind.
    #[expect(clippy::new_without_default, reason = "`default` is the kind's own defaulting")]
    pub fn new() -> Self {
        Self {
            names: R::names(),
            subresources: R::subresources(),
            versions: R::versions(),
            rules: PhantomData,
        }
    }
}

impl<R: Rules> Kind for Typed<R> {
    fn names(&self) -> &Names {
        &self.names
    }

    fn role(&self) -> Option<Role> {
        R::ROLE
    }

    fn subresources(&self) -> &[Subresource] {
        &self.subresources
    }

    fn versions(&self) -> &[Version] {
        &self.versions
    }

    fn decode(&self, json: &[u8]) -> Result<Box<dyn Object>, DecodeError> {
        match serde_json::from_slice::<R::Object>(json) {
            Ok(object) => Ok(Box::new(object)),
            Err(error) => Err(DecodeError::new(error.to_string())),
        }
    }

    fn default(&self, object: &mut dyn Object) {
        R::default(typed_mut(object));
    }

    fn prepare_create(&self, object: &mut dyn Object) {
        object.metadata_mut().generation = None;
        R::prepare_create(typed_mut(object));
    }

    fn prepare_update(&self, new: &mut dyn Object, old: &dyn Object) {
        meta::keep(new.metadata_mut(), old.metadata());
        R::prepare_update(typed_mut(new), typed(old));
    }

    fn prepare_status_update(&self, new: &mut dyn Object, old: &dyn Object) {
        meta::keep(new.metadata_mut(), old.metadata());
        R::prepare_status_update(typed_mut(new), typed(old));
    }

    fn validate(&self, object: &dyn Object) -> Vec<FieldError> {
        let mut errors = meta::validate(&self.names, R::NAME_RULE, object.metadata());
        errors.extend(R::validate(typed(object)));
        errors
    }

    fn validate_update(&self, new: &dyn Object, old: &dyn Object) -> Vec<FieldError> {
        let mut errors = meta::validate_update(new.metadata(), old.metadata());
        errors.extend(R::validate_update(typed(new), typed(old)));
        errors
    }

    fn is_admitted_among_others(&self) -> bool {
        R::ADMITTED_AMONG_OTHERS
    }

    fn admit_among(&self, new: &dyn Object, others: &[Box<dyn Object>]) -> Result<(), String> {
        let others: Vec<&R::Object> = others.iter().map(|other| typed(&**other)).collect();
        R::admit_among(typed(new), &others)
    }

    fn warnings(&self, object: &dyn Object) -> Vec<String> {
        R::warnings(typed(object))
    }

    fn deprecated(&self) -> Option<&str> {
        R::DEPRECATED
    }

    fn allocates(&self) -> bool {
        R::ALLOCATES
    }

    fn claims(&self, object: &dyn Object) -> Vec<Claim> {
        R::claims(typed(object))
    }

    fn allocate(
        &self,
        new: &mut dyn Object,
        old: Option<&dyn Object>,
        pool: &mut dyn Pool,
    ) -> Result<(), Refusal> {
        R::allocate(typed_mut(new), old.map(typed), pool)
    }

    fn expires(&self) -> bool {
        R::EXPIRES
    }

    fn immortal(&self, name: &str) -> Option<&str> {
        R::immortal(name)
    }

    fn grace_s(&self, object: &dyn Object, asked: Option<i64>) -> i64 {
        R::grace_s(typed(object), asked)
    }

    fn is_held(&self, object: &dyn Object) -> bool {
        R::is_held(typed(object))
    }

    fn begin_deletion(&self, object: &mut dyn Object) {
        R::begin_deletion(typed_mut(object));
    }

    fn is_returned_when_deleted(&self) -> bool {
        R::RETURNED_WHEN_DELETED
    }

    fn is_closed(&self, field: FieldValues<'_>) -> bool {
        R::is_closed(field)
    }

    fn agent(&self, object: &dyn Object) -> Result<SocketAddr, String> {
        R::agent(typed(object))
    }

    fn fields(&self, object: &dyn Object) -> Vec<(&'static str, String)> {
        let mut fields = meta::fields(&self.names, object.metadata());
        fields.extend(R::fields(typed(object)));
        fields
    }

    fn field_names(&self) -> Vec<&'static str> {
        let mut names = meta::field_names(&self.names);
        names.extend(R::FIELDS);
        names
    }

    fn columns(&self) -> &[Column] {
        R::COLUMNS
    }

    fn row(&self, object: &dyn Object, now: Timestamp) -> Vec<Value> {
        R::row(typed(object), now)
    }

    fn definition(&self) -> &str {
        definitions::definition_of::<R::Object>()
    }

    fn numbers(&self) -> &'static str {
        R::NUMBERS
    }

    fn facts(&self) -> &'static str {
        R::FACTS
    }
}
