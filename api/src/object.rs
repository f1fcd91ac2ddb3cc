//! A decoded object of any kind.

use std::any::Any;

use k8s_openapi::{Metadata, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use serde::Serialize;
use serde_json::Value;

/// A decoded object of any kind.
pub trait Object: Any + Send + Sync {
    /// The object's metadata.
    fn metadata(&self) -> &ObjectMeta;
    /// The object's metadata, to change.
    fn metadata_mut(&mut self) -> &mut ObjectMeta;
    /// Canonical JSON, which begins with `apiVersion`, `kind` and `metadata`.
    fn to_json(&self) -> Vec<u8>;
    /// The same as a tree.
    fn to_value(&self) -> Value;
    /// The typed object, for its kind's own rules.
    fn as_any(&self) -> &dyn Any;
    /// The typed object, to change.
    fn as_any_mut(&mut self) -> &mut dyn Any;
    /// A copy.
    fn clone_object(&self) -> Box<dyn Object>;
    /// Whether both are of one type and equal.
    fn equals(&self, other: &dyn Object) -> bool;
}

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

/// The object as its Rust type. Panics where it is another: whoever has it decoded it by the
/// same kind.
pub(crate) fn typed<T: 'static>(object: &dyn Object) -> &T {
    object.as_any().downcast_ref().unwrap_or_else(|| wrong::<T>())
}

/// The same, to change.
pub(crate) fn typed_mut<T: 'static>(object: &mut dyn Object) -> &mut T {
    object.as_any_mut().downcast_mut().unwrap_or_else(|| wrong::<T>())
}

fn wrong<T>() -> ! {
    panic!("the object was decoded as another kind than {}", std::any::type_name::<T>())
}
