//! The values of a row in the order of its table's columns, for a store that takes them one by one.

use std::fmt;

use serde::ser::{Impossible, SerializeMap, SerializeStruct};
use serde::{Serialize, Serializer};

use crate::{Row, Table};

/// What stands in one column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Value {
    Null,
    Integer(i64),
    Text(String),
}

/// One value for each column of the row's table, in their order.
#[expect(clippy::expect_used, reason = "a row is a struct of texts and integers; a test asks one of each table")]
pub(crate) fn values_of<R: Row>(row: &R) -> Vec<Value> {
    let mut values = Vec::with_capacity(R::TABLE.columns.len());
    row.serialize(Collect(&mut values)).expect("a row is made of texts and integers");
    values
}

/// A row as an object with its columns as fields.
pub(crate) struct Object<'a> {
    pub table: &'static Table,
    pub values: &'a [Value],
}

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(Some(self.values.len()))?;
        for (column, value) in self.table.columns.iter().zip(self.values) {
            object.serialize_entry(column.name, value)?;
        }
        object.end()
    }
}

/// Serializes a struct by adding one value a field.
struct Collect<'a>(&'a mut Vec<Value>);

impl Collect<'_> {
    #[expect(clippy::unnecessary_wraps, reason = "what a serializer answers")]
    fn add(self, value: Value) -> Result<(), NoColumn> {
        self.0.push(value);
        Ok(())
    }
}

/// A row holds something that is no column.
#[derive(Debug)]
struct NoColumn(String);

impl fmt::Display for NoColumn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a row is made of texts and integers: {}", self.0)
    }
}

impl std::error::Error for NoColumn {}

impl serde::ser::Error for NoColumn {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

impl SerializeStruct for Collect<'_> {
    type Ok = ();
    type Error = NoColumn;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, _: &'static str, value: &T) -> Result<(), NoColumn> {
        value.serialize(Collect(self.0))
    }

    fn end(self) -> Result<(), NoColumn> {
        Ok(())
    }
}

macro_rules! integers {
    ($($method:ident($kind:ty);)*) => {
        $(fn $method(self, number: $kind) -> Result<(), NoColumn> {
            let number = i64::try_from(number).map_err(|_| NoColumn(format!("{number} is beyond 64 bits, signed")))?;
            self.add(Value::Integer(number))
        })*
    };
}

macro_rules! refused {
    ($($method:ident($($kind:ty),*) -> $answer:ty;)*) => {
        $(fn $method(self, $(_: $kind),*) -> Result<$answer, NoColumn> {
            Err(NoColumn(stringify!($method).to_owned()))
        })*
    };
}

type No = Impossible<(), NoColumn>;

impl<'a> Serializer for Collect<'a> {
    type Ok = ();
    type Error = NoColumn;
    type SerializeSeq = No;
    type SerializeTuple = No;
    type SerializeTupleStruct = No;
    type SerializeTupleVariant = No;
    type SerializeMap = No;
    type SerializeStruct = Collect<'a>;
    type SerializeStructVariant = No;

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Collect<'a>, NoColumn> {
        Ok(self)
    }

    fn serialize_str(self, text: &str) -> Result<(), NoColumn> {
        self.add(Value::Text(text.to_owned()))
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), NoColumn> {
        self.serialize_str(variant)
    }

    fn serialize_none(self) -> Result<(), NoColumn> {
        self.add(Value::Null)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), NoColumn> {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), NoColumn> {
        value.serialize(self)
    }

    integers! {
        serialize_i8(i8);
        serialize_i16(i16);
        serialize_i32(i32);
        serialize_i64(i64);
        serialize_u8(u8);
        serialize_u16(u16);
        serialize_u32(u32);
        serialize_u64(u64);
    }

    refused! {
        serialize_bool(bool) -> ();
        serialize_f32(f32) -> ();
        serialize_f64(f64) -> ();
        serialize_char(char) -> ();
        serialize_bytes(&[u8]) -> ();
        serialize_unit() -> ();
        serialize_unit_struct(&'static str) -> ();
        serialize_seq(Option<usize>) -> No;
        serialize_tuple(usize) -> No;
        serialize_tuple_struct(&'static str, usize) -> No;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> No;
        serialize_map(Option<usize>) -> No;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> No;
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: &T,
    ) -> Result<(), NoColumn> {
        Err(NoColumn(variant.to_owned()))
    }
}
