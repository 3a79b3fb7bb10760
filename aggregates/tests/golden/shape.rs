//! The shape of an event: what it asks for when it is read. Found out by reading a sample with a deserializer that takes notes, so
//! also an optional field is seen that no sample has.

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde::de::value::{MapDeserializer, StrDeserializer};
use serde::de::{DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, VariantAccess, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::{Error, Value};

/// What stands at each path, dots between the names: `identity.subject`, `optional text`. A field that no sample has is empty.
pub(crate) type Shape = BTreeMap<String, String>;

/// Reads a payload as `T` and tells what was asked for.
pub(crate) fn shape_of<'de, T: serde::Deserialize<'de>>(payload: Value) -> Result<Shape, Error> {
    let notes = RefCell::new(Shape::new());
    T::deserialize(Asked { value: payload, path: String::new(), optional: false, notes: &notes })?;
    Ok(notes.into_inner())
}

/// A part of a payload that is about to be read.
struct Asked<'n> {
    value: Value,
    path: String,
    optional: bool,
    notes: &'n RefCell<Shape>,
}

impl Asked<'_> {
    fn note(&self, kind: &str) {
        let optional = if self.optional { "optional " } else { "" };
        self.notes.borrow_mut().insert(self.path.clone(), format!("{optional}{kind}"));
    }

    fn fields<'de, V: Visitor<'de>>(self, names: &[&str], visitor: V) -> Result<V::Value, Error> {
        let path = |name: &str| if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
        for name in names {
            self.notes.borrow_mut().insert(path(name), String::new());
        }
        let Value::Object(fields) = self.value else { return self.value.deserialize_any(visitor) };
        let asked = fields.into_iter().map(|(name, value)| {
            let path = path(&name);
            (name, Asked { value, path, optional: false, notes: self.notes })
        });
        visitor.visit_map(MapDeserializer::new(asked))
    }
}

macro_rules! noted {
    ($($method:ident is $kind:literal),+ $(,)?) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.note($kind);
            self.value.deserialize_any(visitor)
        })+
    };
}

impl<'de> Deserializer<'de> for Asked<'_> {
    type Error = Error;

    noted!(
        deserialize_bool is "boolean",
        deserialize_u8 is "u8",
        deserialize_u16 is "u16",
        deserialize_u32 is "u32",
        deserialize_u64 is "u64",
        deserialize_i8 is "i8",
        deserialize_i16 is "i16",
        deserialize_i32 is "i32",
        deserialize_i64 is "i64",
        deserialize_str is "text",
        deserialize_string is "text",
        deserialize_seq is "list",
        deserialize_map is "map",
        deserialize_any is "anything",
    );

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(Self { optional: true, ..self })
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.note("fields");
        self.fields(names, visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match &self.value {
            // The event itself: its one member is the type's name.
            Value::Object(_) if self.path.is_empty() => visitor.visit_enum(self),
            _ => {
                self.note(&format!("one of {}", variants.join(", ")));
                self.value.deserialize_enum("", variants, visitor)
            }
        }
    }

    forward_to_deserialize_any! {
        i128 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct identifier ignored_any
    }
}

impl IntoDeserializer<'_, Error> for Asked<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de, 'n> EnumAccess<'de> for Asked<'n> {
    type Error = Error;
    type Variant = Asked<'n>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Error> {
        let payload = self.value.as_object().and_then(|payload| payload.iter().next());
        let (name, value) = payload.map(|(name, value)| (name.clone(), value.clone())).unwrap_or_default();
        let name: StrDeserializer<'_, Error> = name.as_str().into_deserializer();
        Ok((seed.deserialize(name)?, Self { value, ..self }))
    }
}

impl<'de> VariantAccess<'de> for Asked<'_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        Err(serde::de::Error::custom("an event has braces, also without fields"))
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, _: S) -> Result<S::Value, Error> {
        Err(serde::de::Error::custom("the fields of an event have names"))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Error> {
        Err(serde::de::Error::custom("the fields of an event have names"))
    }

    fn struct_variant<V: Visitor<'de>>(self, names: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        self.fields(names, visitor)
    }
}
