//! The bridge from `Rules` (typed) to `Kind` and `Object` (erased), written once for every kind.
//!
//! Never holds a rule of a kind.

use std::{any::Any, marker::PhantomData};

use jiff::Timestamp;
use k8s_openapi::{Metadata, Resource, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use serde::Serialize;
use serde_json::Value;

use crate::{
    decode::DecodeError,
    field::FieldError,
    kind::{Column, Kind, NameRule, Names, Object, Rules},
    meta, openapi,
};

impl<T> Object for T
where
    T: Metadata<Ty = ObjectMeta> + Serialize + Clone + PartialEq + Send + Sync + 'static,
{
    fn metadata(&self) -> &ObjectMeta {
        Metadata::metadata(self)
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        Metadata::metadata_mut(self)
    }

    fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a typed object has string keys only")
    }

    fn to_value(&self) -> Value {
        serde_json::to_value(self).expect("a typed object has string keys only")
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn clone_object(&self) -> Box<dyn Object> {
        Box::new(self.clone())
    }

    fn equals(&self, other: &dyn Object) -> bool {
        other.as_any().downcast_ref::<T>() == Some(self)
    }
}

/// `R`'s rules behind the erased trait.
pub struct Typed<R>(PhantomData<fn() -> R>);

impl<R> Typed<R> {
    /// A value that carries nothing but the type.
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<R> Default for Typed<R> {
    fn default() -> Self {
        Self::new()
    }
}

impl<R: Rules> Typed<R> {
    fn get(object: &dyn Object) -> &R::Object {
        object.as_any().downcast_ref().unwrap_or_else(|| wrong::<R>())
    }

    fn get_mut(object: &mut dyn Object) -> &mut R::Object {
        object.as_any_mut().downcast_mut().unwrap_or_else(|| wrong::<R>())
    }
}

fn wrong<R: Rules>() -> ! {
    panic!("the object was decoded as another kind than {}", R::NAMES.kind)
}

impl<R: Rules> Kind for Typed<R> {
    fn names(&self) -> &'static Names {
        &R::NAMES
    }

    fn name_rule(&self) -> NameRule {
        R::NAME_RULE
    }

    fn decode(&self, json: &[u8]) -> Result<Box<dyn Object>, DecodeError> {
        match serde_json::from_slice::<R::Object>(json) {
            Ok(object) => Ok(Box::new(object)),
            Err(error) => Err(DecodeError { message: error.to_string() }),
        }
    }

    fn default(&self, object: &mut dyn Object) {
        R::default(Self::get_mut(object));
    }

    fn prepare_create(&self, object: &mut dyn Object) {
        object.metadata_mut().generation = None;
        R::prepare_create(Self::get_mut(object));
    }

    fn prepare_update(&self, new: &mut dyn Object, old: &dyn Object) {
        meta::keep(new.metadata_mut(), old.metadata());
        R::prepare_update(Self::get_mut(new), Self::get(old));
    }

    fn prepare_status_update(&self, new: &mut dyn Object, old: &dyn Object) {
        meta::keep(new.metadata_mut(), old.metadata());
        R::prepare_status_update(Self::get_mut(new), Self::get(old));
    }

    fn validate(&self, object: &dyn Object) -> Vec<FieldError> {
        let mut errors = meta::validate(&R::NAMES, R::NAME_RULE, object.metadata());
        errors.extend(R::validate(Self::get(object)));
        errors
    }

    fn validate_update(&self, new: &dyn Object, old: &dyn Object) -> Vec<FieldError> {
        let mut errors = meta::validate_update(new.metadata(), old.metadata());
        errors.extend(R::validate_update(Self::get(new), Self::get(old)));
        errors
    }

    fn warnings(&self, object: &dyn Object) -> Vec<String> {
        R::warnings(Self::get(object))
    }

    fn deprecated(&self) -> Option<&'static str> {
        R::DEPRECATED
    }

    fn fields(&self, object: &dyn Object) -> Vec<(&'static str, String)> {
        let metadata = object.metadata();
        let mut fields = vec![("metadata.name", metadata.name.clone().unwrap_or_default())];
        if R::NAMES.namespaced {
            fields.push(("metadata.namespace", metadata.namespace.clone().unwrap_or_default()));
        }
        fields.extend(R::fields(Self::get(object)));
        fields
    }

    fn field_names(&self) -> Vec<&'static str> {
        let mut names = vec!["metadata.name"];
        if R::NAMES.namespaced {
            names.push("metadata.namespace");
        }
        names.extend(R::FIELDS);
        names
    }

    fn columns(&self) -> &'static [Column] {
        R::COLUMNS
    }

    fn row(&self, object: &dyn Object, now: Timestamp) -> Vec<Value> {
        R::row(Self::get(object), now)
    }

    fn definition(&self) -> &'static str {
        openapi::definition(R::Object::API_VERSION, R::Object::KIND)
            .expect("every generated type of a kind has a definition")
    }
}
