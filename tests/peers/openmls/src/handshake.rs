//! Proposals and commits: made, and received.

use openmls::messages::proposals::AppEphemeralProposal;
use openmls::prelude::{
    Ciphersuite, CommitBuilder, Extensions, GroupContext, HandshakeConfirmationData, Initial, KeyPackage,
    LeafNodeIndex, MlsGroup, MlsMessageBodyIn, MlsMessageIn, OpenMlsProvider, PreSharedKeyProposal,
    ProcessedMessage, ProcessedMessageContent, Proposal, ProposalOrRefType, Propose, QueuedProposal,
    SafeAadItem, Sender, StagedCommit,
};
use openmls_rust_crypto::OpenMlsRustCrypto;
use serde_json::{Value, json};

use crate::components;
use crate::desk::{Desk, Seat, VERSION};
use crate::emulation;
use crate::groups::{app_data_update, state_of};
use crate::secrets::psk_id;
use crate::settings;
use crate::wire::{Fields, Outcome, refused, shown, shown_entries, written, wrong};

/// `authenticated_data`, and `safe_aad` as items, are for the next message and then forgotten.
pub fn attach(group: &mut MlsGroup, fields: &Fields) -> Outcome<()> {
    group.set_aad(fields.bytes_if_any("authenticated_data")?.unwrap_or_default());
    let items =
        fields.entries("safe_aad")?.into_iter().map(|(id, data)| SafeAadItem::new(id, data)).collect();
    group.set_safe_aad(items).map_err(refused)
}

/// Forget the key of a message that is on its way, unless `keep_key` says that a sibling may have used it as well.
/// What names that key, if a virtual client sent the message.
fn confirm(
    seat: &mut Seat,
    fields: &Fields,
    confirmation: Option<&HandshakeConfirmationData>,
) -> Outcome<Value> {
    let Some(data) = confirmation else { return Ok(Value::Null) };
    if !fields.flag("keep_key")? {
        seat.group
            .confirm_handshake_message(seat.provider.storage(), data.epoch, data.generation)
            .map_err(refused)?;
    }
    Ok(emulation::shown_name(data.generation_id.as_ref()))
}

fn package(provider: &OpenMlsRustCrypto, fields: &Fields) -> Outcome<KeyPackage> {
    match fields.parsed::<MlsMessageIn>("key_package")?.extract() {
        MlsMessageBodyIn::KeyPackage(package) => {
            package.validate(provider.crypto(), VERSION).map_err(refused)
        }
        _ => Err(wrong("not a KeyPackage")),
    }
}

fn context_extensions(fields: &Fields) -> Outcome<Extensions<GroupContext>> {
    settings::extensions(fields, "components", "extensions")
}

fn proposed(seat: &Seat, fields: &Fields) -> Outcome<Propose> {
    Ok(match fields.text("type")? {
        "add" => Propose::Add(package(seat.provider, fields)?),
        "update" => Propose::Update(settings::leaf(seat.provider, fields)?),
        "remove" => Propose::Remove(fields.number("leaf")?),
        "psk" => Propose::PreSharedKey(psk_id(seat.provider, seat.group.ciphersuite(), fields)?),
        "context" => Propose::GroupContextExtensions(context_extensions(fields)?),
        "app_data_update" => {
            let component_id = fields.number("component")?;
            match fields.bytes_if_any("data")? {
                Some(update) => Propose::UpdateAppDataComponent { component_id, update },
                None => Propose::RemoveAppDataComponent { component_id },
            }
        }
        other => return Err(wrong(format!("{other:?} cannot be proposed"))),
    })
}

/// `client`, `group`, `proposal`, `authenticated_data`, `safe_aad`, `keep_key` -> `message`, and `reference` and
/// `generation_id` unless it is a self_remove. The proposal waits in the group.
pub fn propose(desk: &mut Desk, fields: &Fields) -> Outcome<Value> {
    let mut seat = desk.seat(fields)?;
    attach(seat.group, fields)?;
    let proposal = fields.object("proposal")?.ok_or_else(|| wrong("no proposal"))?;
    if proposal.text("type")? == "self_remove" {
        let message = seat.group.leave_group_via_self_remove(seat.provider, seat.signer).map_err(refused)?;
        return Ok(json!({ "message": written(&message)? }));
    }
    let wanted = proposed(&seat, &proposal)?;
    let (message, reference, confirmation) = seat
        .group
        .propose_unconfirmed(seat.provider, seat.signer, wanted, ProposalOrRefType::Reference)
        .map_err(refused)?;
    let name = confirm(&mut seat, fields, confirmation.as_ref())?;
    Ok(json!({
        "message": written(&message)?,
        "reference": shown(reference.as_slice()),
        "generation_id": name,
    }))
}

type Commit<'a> = CommitBuilder<'a, Initial, &'a mut MlsGroup>;

/// The commit with one proposal more, by value.
fn with_proposal<'a>(
    builder: Commit<'a>,
    provider: &OpenMlsRustCrypto,
    suite: Ciphersuite,
    fields: &Fields,
) -> Outcome<Commit<'a>> {
    Ok(match fields.text("type")? {
        "add" => builder.propose_adds([package(provider, fields)?]),
        "remove" => builder.propose_removals([LeafNodeIndex::new(fields.number("leaf")?)]),
        "context" => {
            builder.propose_group_context_extensions(context_extensions(fields)?).map_err(refused)?
        }
        "psk" => {
            let proposal = PreSharedKeyProposal::new(psk_id(provider, suite, fields)?);
            builder.add_proposal(Proposal::PreSharedKey(Box::new(proposal)))
        }
        "app_data_update" => {
            builder.add_proposal(Proposal::AppDataUpdate(Box::new(app_data_update(fields)?)))
        }
        "app_ephemeral" => {
            let proposal = AppEphemeralProposal::new(fields.number("component")?, fields.bytes("data")?);
            builder.add_proposal(Proposal::AppEphemeral(Box::new(proposal)))
        }
        other => return Err(wrong(format!("{other:?} cannot be committed by value"))),
    })
}

/// `client`, `group`, `proposals` (by value), `leave_pending`, `path`, `leaf` (a new one), `info_components` and
/// `info_extensions` (for the GroupInfo), `emulation_epoch`, `authenticated_data`, `safe_aad`, `keep_key` -> `message`,
/// `welcome`, `group_info`, `generation_id`. The commit waits for `merge` or `clear`.
pub fn commit(desk: &mut Desk, fields: &Fields) -> Outcome<Value> {
    let mut seat = desk.seat(fields)?;
    attach(seat.group, fields)?;
    let suite = seat.group.ciphersuite();
    let mut builder = seat
        .group
        .commit_builder()
        .consume_proposal_store(!fields.flag("leave_pending")?)
        .force_self_update(fields.flag("path")?);
    if let Some(leaf) = fields.object("leaf")? {
        builder = builder.leaf_node_parameters(settings::leaf(seat.provider, &leaf)?);
    }
    if let Some(epoch) = emulation::epoch_if_any(fields)? {
        builder =
            builder.vc_emulation(seat.provider.crypto(), seat.provider.storage(), epoch).map_err(refused)?;
    }
    for proposal in fields.objects("proposals")? {
        builder = with_proposal(builder, seat.provider, suite, &proposal)?;
    }
    let mut loaded = builder.load_psks(seat.provider.storage()).map_err(refused)?;
    components::carry_out(&mut loaded);
    let more = settings::listed(fields, "info_components", "info_extensions")?;
    if !more.is_empty() {
        loaded = loaded.create_group_info_with_extensions(more).map_err(refused)?;
    }
    let sent = loaded
        .build(seat.provider.rand(), seat.provider.crypto(), seat.signer, |_| true)
        .map_err(refused)?
        .stage_commit(seat.provider)
        .map_err(refused)?;
    let name = confirm(&mut seat, fields, sent.confirmation())?;
    let (message, welcome, info) = sent.into_messages();
    Ok(json!({
        "message": written(&message)?,
        "generation_id": name,
        "welcome": welcome.as_ref().map(written).transpose()?,
        "group_info": info.as_ref().map(written).transpose()?,
    }))
}

/// `client`, `group` -> the group's state, after its own commit.
pub fn merge(desk: &mut Desk, fields: &Fields) -> Outcome<Value> {
    let seat = desk.seat(fields)?;
    seat.group.merge_pending_commit(seat.provider).map_err(refused)?;
    state_of(seat.group)
}

/// `client`, `group` -> the group's state, without its own commit and without proposals.
pub fn clear(desk: &mut Desk, fields: &Fields) -> Outcome<Value> {
    let seat = desk.seat(fields)?;
    seat.group.clear_pending_commit(seat.provider.storage()).map_err(refused)?;
    seat.group.clear_pending_proposals(seat.provider.storage()).map_err(refused)?;
    state_of(seat.group)
}

fn shown_sender(sender: &Sender) -> Value {
    match sender {
        Sender::Member(leaf) => json!(leaf.u32()),
        Sender::External(_) => json!("external"),
        Sender::NewMemberProposal => json!("new_member_proposal"),
        Sender::NewMemberCommit => json!("new_member_commit"),
    }
}

fn shown_proposal(queued: &QueuedProposal) -> Outcome<Value> {
    Ok(json!({ "sender": shown_sender(queued.sender()), "proposal": written(queued.proposal())? }))
}

fn take_up(seat: &mut Seat, commit: StagedCommit) -> Outcome<Value> {
    let proposals = commit.queued_proposals().map(shown_proposal).collect::<Outcome<Vec<_>>>()?;
    let removed = commit.self_removed();
    seat.group.merge_staged_commit(seat.provider, commit).map_err(refused)?;
    let state = if removed { Value::Null } else { state_of(seat.group)? };
    Ok(json!({ "kind": "commit", "proposals": proposals, "removed": removed, "state": state }))
}

fn shown_outside(message: &ProcessedMessage) -> Value {
    let items = message
        .safe_aad()
        .map(|aad| shown_entries(aad.items().iter().map(|item| (item.component_id(), item.data()))));
    json!({
        "sender": shown_sender(message.sender()),
        "emulator": message.emulator_sender_leaf_index().map(|leaf| leaf.u32()),
        "epoch": message.epoch().as_u64(),
        "authenticated_data": shown(message.aad()),
        "safe_aad": items,
        "tail": shown(message.tail_aad()),
    })
}

/// `client`, `group`, `message` -> `sender`, `emulator` (the device, by its leaf), `epoch`, `authenticated_data`, `safe_aad`, `tail`, and `kind` with
/// `data` ("application"), `proposal` ("proposal") or `proposals`, `removed`, `state` ("commit"). Proposals wait in
/// the group; commits are carried out.
pub fn process(desk: &mut Desk, fields: &Fields) -> Outcome<Value> {
    let mut seat = desk.seat(fields)?;
    let message = fields.parsed::<MlsMessageIn>("message")?.try_into_protocol_message().map_err(refused)?;
    let processed = seat.group.process_message(seat.provider, message).map_err(refused)?;
    let outside = shown_outside(&processed);
    let mut answer = match processed.into_content() {
        ProcessedMessageContent::ApplicationMessage(message) => {
            json!({ "kind": "application", "data": shown(message.into_bytes()) })
        }
        ProcessedMessageContent::ProposalMessage(queued)
        | ProcessedMessageContent::ExternalJoinProposalMessage(queued) => {
            let shown = shown_proposal(&queued)?;
            seat.group.store_pending_proposal(seat.provider.storage(), *queued).map_err(refused)?;
            json!({ "kind": "proposal", "proposal": shown["proposal"] })
        }
        ProcessedMessageContent::StagedCommitMessage(commit) => take_up(&mut seat, *commit)?,
        ProcessedMessageContent::UnresolvedAppDataCommit(unresolved) => {
            let updates = components::outcome(
                seat.group.app_data_dictionary_updater(),
                unresolved.app_data_update_proposals(),
            );
            let commit =
                seat.group.stage_app_data_commit(seat.provider, *unresolved, updates).map_err(refused)?;
            take_up(&mut seat, commit)?
        }
        ProcessedMessageContent::OwnPendingCommit | ProcessedMessageContent::OwnPrivateMessage => {
            json!({ "kind": "own" })
        }
    };
    let (Some(all), Value::Object(more)) = (answer.as_object_mut(), outside) else {
        return Err(wrong("an answer is an object"));
    };
    all.extend(more);
    Ok(answer)
}
