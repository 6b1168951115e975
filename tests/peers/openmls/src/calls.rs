//! The calls by name. What each takes and answers is said where it is implemented.

use serde_json::{Value, json};

use crate::desk::{self, Desk};
use crate::wire::{Fields, Outcome, wrong};
use crate::{emulation, encoding, groups, handshake, messages, secrets};

type Call = fn(&mut Desk, &Fields) -> Outcome<Value>;

const CALLS: &[(&str, Call)] = &[
    ("about", about),
    ("client", desk::create_client),
    ("virtual_client", desk::create_virtual_client),
    ("use_key", desk::use_key),
    ("key_package", groups::key_package),
    ("create", groups::create),
    ("join", groups::join),
    ("join_externally", groups::join_externally),
    ("group_info", groups::group_info),
    ("state", groups::state),
    ("forget", desk::forget),
    ("propose", handshake::propose),
    ("commit", handshake::commit),
    ("merge", handshake::merge),
    ("clear", handshake::clear),
    ("process", handshake::process),
    ("send", messages::send),
    ("send_targeted", messages::send_targeted),
    ("open_targeted", messages::open_targeted),
    ("export", secrets::export),
    ("safe_export", secrets::safe_export),
    ("export_tree", secrets::export_tree),
    ("store_psk", secrets::store_psk),
    ("register_epoch", emulation::register_epoch),
    ("key_package_batch", emulation::key_package_batch),
    ("take_upload", emulation::take_upload),
    ("join_at_creation", emulation::join_at_creation),
    ("join_after_sibling", emulation::join_after_sibling),
    ("encode", encoding::encode),
    ("decode", encoding::decode),
];

pub fn perform(desk: &mut Desk, fields: &Fields) -> Outcome<Value> {
    let name = fields.text("call")?;
    let found = CALLS.iter().find(|(each, _)| *each == name);
    let (_, call) = found.ok_or_else(|| wrong(format!("no call {name:?}")))?;
    call(desk, fields)
}

/// -> `suites`, `calls`.
fn about(_: &mut Desk, _: &Fields) -> Outcome<Value> {
    use openmls::prelude::{OpenMlsCrypto, OpenMlsProvider};
    let provider = openmls_rust_crypto::OpenMlsRustCrypto::default();
    let suites: Vec<u16> = provider.crypto().supported_ciphersuites().into_iter().map(u16::from).collect();
    let calls: Vec<&str> = CALLS.iter().map(|(name, _)| *name).collect();
    Ok(json!({ "suites": suites, "calls": calls }))
}
