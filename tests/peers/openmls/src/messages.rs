//! Application messages to the group, and messages to one member of it.

use openmls::prelude::{LeafNodeIndex, MlsMessageBodyIn, MlsMessageIn, OpenMlsProvider};
use serde_json::{Value, json};

use crate::desk::Desk;
use crate::emulation;
use crate::handshake::attach;
use crate::wire::{Fields, Outcome, refused, shown, written, wrong};

/// `client`, `group`, `data`, `authenticated_data`, `safe_aad`, `keep_key` (as a sibling may have used it as well)
/// -> `message`, `generation`, `generation_id`.
pub fn send(desk: &mut Desk, fields: &Fields) -> Outcome<Value> {
    let seat = desk.seat(fields)?;
    attach(seat.group, fields)?;
    let sent = seat
        .group
        .create_unconfirmed_message(seat.provider, seat.signer, &fields.bytes("data")?)
        .map_err(refused)?;
    if !fields.flag("keep_key")? {
        seat.group
            .confirm_application_message(seat.provider.storage(), sent.epoch, sent.generation)
            .map_err(refused)?;
    }
    Ok(json!({
        "message": written(&sent.message)?,
        "generation": sent.generation,
        "generation_id": emulation::shown_name(sent.generation_id.as_ref()),
    }))
}

/// `client`, `group`, `recipient`, `data`, `authenticated_data` -> `message`.
pub fn send_targeted(desk: &mut Desk, fields: &Fields) -> Outcome<Value> {
    let seat = desk.seat(fields)?;
    attach(seat.group, fields)?;
    let recipient = LeafNodeIndex::new(fields.number("recipient")?);
    let message = seat
        .group
        .create_targeted_message(seat.provider, seat.signer, recipient, &fields.bytes("data")?)
        .map_err(refused)?;
    Ok(json!({ "message": written(&message)? }))
}

/// `client`, `group`, `message` -> `sender`, `data`, `authenticated_data`.
pub fn open_targeted(desk: &mut Desk, fields: &Fields) -> Outcome<Value> {
    let MlsMessageBodyIn::TargetedMessage(message) = fields.parsed::<MlsMessageIn>("message")?.extract()
    else {
        return Err(wrong("not a targeted message"));
    };
    let seat = desk.seat(fields)?;
    let opened = seat.group.process_targeted_message(seat.provider, &message).map_err(refused)?;
    Ok(json!({
        "sender": opened.sender_leaf_index().u32(),
        "data": shown(opened.application_data()),
        "authenticated_data": shown(opened.authenticated_data()),
    }))
}
