//! Structures of the mls-extensions draft by themselves: written by OpenMLS, and read by it.

use openmls::component::ComponentsList;
use openmls::prelude::{AppDataDictionary, SafeAad, SafeAadItem};
use serde_json::{Value, json};

use crate::desk::Desk;
use crate::settings;
use crate::wire::{Fields, Outcome, refused, shown_entries, written, wrong};

/// `structure` and `entries` or `numbers` -> `bytes`.
pub fn encode(_: &mut Desk, fields: &Fields) -> Outcome<Value> {
    let bytes = match fields.text("structure")? {
        "AppDataDictionary" => written(&settings::dictionary(fields.entries("entries")?))?,
        "ComponentsList" => written(&ComponentsList::new(fields.numbers("numbers")?))?,
        "SafeAAD" => {
            let items =
                fields.entries("entries")?.into_iter().map(|(id, data)| SafeAadItem::new(id, data)).collect();
            written(&SafeAad::from_items(items).map_err(refused)?)?
        }
        other => return Err(wrong(format!("no structure {other:?}"))),
    };
    Ok(json!({ "bytes": bytes }))
}

/// `structure` and `bytes` -> `entries` or `numbers`.
pub fn decode(_: &mut Desk, fields: &Fields) -> Outcome<Value> {
    Ok(match fields.text("structure")? {
        "AppDataDictionary" => {
            let read: AppDataDictionary = fields.parsed("bytes")?;
            json!({ "entries": shown_entries(read.entries().map(|entry| (entry.id(), entry.data()))) })
        }
        "ComponentsList" => json!({ "numbers": fields.parsed::<ComponentsList>("bytes")?.ids() }),
        "SafeAAD" => {
            let read: SafeAad = fields.parsed("bytes")?;
            json!({ "entries": shown_entries(read.items().iter().map(|item| (item.component_id(), item.data()))) })
        }
        other => return Err(wrong(format!("no structure {other:?}"))),
    })
}
