//! Secrets that leave a group, and pre-shared keys that enter it.

use openmls::prelude::{Ciphersuite, GroupId, OpenMlsProvider, OpenMlsRand};
use openmls::schedule::PreSharedKeyId;
use openmls::schedule::psk::ResumptionPskUsage;
use openmls_rust_crypto::OpenMlsRustCrypto;
use openmls_traits::storage::{CURRENT_VERSION, Entity, StorageProvider, traits};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::desk::Desk;
use crate::wire::{Fields, Outcome, refused, shown, wrong};

/// `client`, `group`, `label`, `context`, `length` -> `secret`.
pub fn export(desk: &mut Desk, fields: &Fields) -> Outcome<Value> {
    let seat = desk.seat(fields)?;
    let secret = seat
        .group
        .export_secret(
            seat.provider.crypto(),
            fields.text("label")?,
            &fields.bytes("context")?,
            fields.number("length")?,
        )
        .map_err(refused)?;
    Ok(json!({ "secret": shown(secret) }))
}

/// `client`, `group`, `component`, `pending` (of the commit that waits) -> `secret`.
pub fn safe_export(desk: &mut Desk, fields: &Fields) -> Outcome<Value> {
    let seat = desk.seat(fields)?;
    let (crypto, storage, component) =
        (seat.provider.crypto(), seat.provider.storage(), fields.number("component")?);
    let secret = match fields.flag("pending")? {
        true => seat.group.safe_export_secret_from_pending(crypto, storage, component).map_err(refused)?,
        false => seat.group.safe_export_secret(crypto, storage, component).map_err(refused)?,
    };
    Ok(json!({ "secret": shown(secret) }))
}

/// What OpenMLS stores of a group's tree of exporter secrets: nodes by the leading bits of their path from the root
/// and how many there are. It can only be had from storage, where OpenMLS writes it when the group is made and after
/// each export.
#[derive(Serialize, Deserialize)]
struct StoredTree {
    nodes: Vec<((u16, u8), Vec<u8>)>,
    width: usize,
}

impl Entity<CURRENT_VERSION> for StoredTree {}
impl traits::ApplicationExportTree<CURRENT_VERSION> for StoredTree {}

/// `client`, `group` -> `nodes`: depth, leading bits, secret, in no order.
pub fn export_tree(desk: &mut Desk, fields: &Fields) -> Outcome<Value> {
    let seat = desk.seat(fields)?;
    let stored: Option<StoredTree> =
        seat.provider.storage().application_export_tree(seat.group.group_id()).map_err(refused)?;
    let tree = stored.ok_or_else(|| wrong("nothing is stored"))?;
    let nodes: Value =
        tree.nodes.iter().map(|((bits, depth), secret)| json!([depth, bits, hex::encode(secret)])).collect();
    Ok(json!({ "nodes": nodes, "width": tree.width }))
}

/// `kind` ("external" with `id`, "application" with `component` and `id`, "resumption" with `of` and `epoch`), and
/// `nonce` if it is not to be random.
pub fn psk_id(provider: &OpenMlsRustCrypto, suite: Ciphersuite, fields: &Fields) -> Outcome<PreSharedKeyId> {
    let nonce = match fields.bytes_if_any("nonce")? {
        Some(nonce) => nonce,
        None => provider.rand().random_vec(suite.hash_length()).map_err(refused)?,
    };
    Ok(match fields.text("kind")? {
        "external" => PreSharedKeyId::external(fields.bytes("id")?, nonce),
        "application" => PreSharedKeyId::application(fields.number("component")?, fields.bytes("id")?, nonce),
        "resumption" => {
            let (of, epoch) = (GroupId::from_slice(&fields.bytes("of")?), fields.number::<u64>("epoch")?);
            PreSharedKeyId::resumption(ResumptionPskUsage::Application, of, epoch.into(), nonce)
        }
        other => return Err(wrong(format!("no kind of PSK {other:?}"))),
    })
}

/// `client`, what `psk_id` takes, `secret` -> nothing.
pub fn store_psk(desk: &mut Desk, fields: &Fields) -> Outcome<Value> {
    let client = desk.client(fields)?;
    psk_id(client.provider.as_ref(), client.suite, fields)?
        .store(client.provider.as_ref(), &fields.bytes("secret")?)
        .map_err(refused)?;
    Ok(json!({}))
}
