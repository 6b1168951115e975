//! What a call brings and why it fails: named fields out of a JSON object, bytes out of hexadecimal.

use std::fmt::Debug;

use openmls::prelude::tls_codec::{DeserializeBytes, Serialize};
use serde_json::{Map, Value, json};

/// Why a call was not carried out.
#[derive(Debug)]
pub enum Failure {
    /// OpenMLS would not.
    Refused(String),
    /// The call itself makes no sense.
    Wrong(String),
}

/// Pairs of a number and bytes: entries of a dictionary, items of a SafeAAD, extensions.
pub type Entries = Vec<(u16, Vec<u8>)>;

pub type Outcome<T> = Result<T, Failure>;

/// OpenMLS's own error, in its own words.
pub fn refused(error: impl Debug) -> Failure {
    Failure::Refused(format!("{error:?}"))
}

pub fn wrong(why: impl Into<String>) -> Failure {
    Failure::Wrong(why.into())
}

/// The fields of a call, or of an object within it.
#[derive(Clone, Copy)]
pub struct Fields<'a>(&'a Map<String, Value>);

impl<'a> Fields<'a> {
    pub fn of(value: &'a Value) -> Outcome<Self> {
        value.as_object().map(Self).ok_or_else(|| wrong("not an object"))
    }

    fn find(&self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    fn need<T>(name: &str, value: Option<T>) -> Outcome<T> {
        value.ok_or_else(|| wrong(format!("no field {name:?}")))
    }

    fn read<T>(&self, name: &str, read: impl Fn(&'a Value) -> Option<T>) -> Outcome<Option<T>> {
        match self.find(name) {
            None => Ok(None),
            Some(value) => match read(value) {
                None => Err(wrong(format!("field {name:?} is of another kind"))),
                found => Ok(found),
            },
        }
    }

    pub fn text(&self, name: &str) -> Outcome<&'a str> {
        Self::need(name, self.read(name, Value::as_str)?)
    }

    pub fn bytes_if_any(&self, name: &str) -> Outcome<Option<Vec<u8>>> {
        self.read(name, |value| hex::decode(value.as_str()?).ok())
    }

    pub fn bytes(&self, name: &str) -> Outcome<Vec<u8>> {
        Self::need(name, self.bytes_if_any(name)?)
    }

    pub fn number_if_any<T: TryFrom<u64>>(&self, name: &str) -> Outcome<Option<T>> {
        self.read(name, |value| T::try_from(value.as_u64()?).ok())
    }

    pub fn number<T: TryFrom<u64>>(&self, name: &str) -> Outcome<T> {
        Self::need(name, self.number_if_any(name)?)
    }

    /// False if it is not there.
    pub fn flag(&self, name: &str) -> Outcome<bool> {
        Ok(self.read(name, Value::as_bool)?.unwrap_or(false))
    }

    pub fn object(&self, name: &str) -> Outcome<Option<Fields<'a>>> {
        self.read(name, |value| value.as_object().map(Fields))
    }

    /// Empty if it is not there.
    pub fn objects(&self, name: &str) -> Outcome<Vec<Fields<'a>>> {
        let each =
            |value: &'a Value| value.as_array()?.iter().map(|each| each.as_object().map(Fields)).collect();
        Ok(self.read(name, each)?.unwrap_or_default())
    }

    /// Empty if it is not there.
    pub fn numbers(&self, name: &str) -> Outcome<Vec<u16>> {
        let each = |value: &'a Value| value.as_array()?.iter().map(as_u16).collect();
        Ok(self.read(name, each)?.unwrap_or_default())
    }

    /// Byte strings; empty if it is not there.
    pub fn strings(&self, name: &str) -> Outcome<Vec<Vec<u8>>> {
        let each = |value: &'a Value| value.as_array()?.iter().map(as_bytes).collect();
        Ok(self.read(name, each)?.unwrap_or_default())
    }

    pub fn entries_if_any(&self, name: &str) -> Outcome<Option<Entries>> {
        self.read(name, |value| value.as_array()?.iter().map(as_entry).collect())
    }

    pub fn entries(&self, name: &str) -> Outcome<Entries> {
        Ok(self.entries_if_any(name)?.unwrap_or_default())
    }

    /// Something that OpenMLS reads, to the last byte.
    pub fn parsed_if_any<T: DeserializeBytes>(&self, name: &str) -> Outcome<Option<T>> {
        self.bytes_if_any(name)?.as_deref().map(parse).transpose()
    }

    pub fn parsed<T: DeserializeBytes>(&self, name: &str) -> Outcome<T> {
        Self::need(name, self.parsed_if_any(name)?)
    }
}

fn as_u16(value: &Value) -> Option<u16> {
    value.as_u64()?.try_into().ok()
}

fn as_bytes(value: &Value) -> Option<Vec<u8>> {
    hex::decode(value.as_str()?).ok()
}

fn as_entry(value: &Value) -> Option<(u16, Vec<u8>)> {
    let [number, data] = value.as_array()?.as_slice() else { return None };
    Some((as_u16(number)?, as_bytes(data)?))
}

pub fn parse<T: DeserializeBytes>(bytes: &[u8]) -> Outcome<T> {
    T::tls_deserialize_exact_bytes(bytes).map_err(refused)
}

/// Bytes as they go into an answer.
pub fn shown(bytes: impl AsRef<[u8]>) -> Value {
    Value::String(hex::encode(bytes))
}

/// What OpenMLS writes for this, as it goes into an answer.
pub fn written(value: &impl Serialize) -> Outcome<Value> {
    Ok(shown(value.tls_serialize_detached().map_err(refused)?))
}

/// Pairs of a number and bytes, as they go into an answer.
pub fn shown_entries<'a>(entries: impl IntoIterator<Item = (u16, &'a [u8])>) -> Value {
    entries.into_iter().map(|(number, data)| json!([number, hex::encode(data)])).collect()
}
