//! Becoming a member, and what a member knows.

use openmls::prelude::{
    AppDataUpdateProposal, BasicCredential, ExternalCommitBuilder, GroupId, KeyPackage, MlsGroup,
    MlsMessageBodyIn, MlsMessageIn, MlsMessageOut, OpenMlsProvider, PreSharedKeyProposal, PublicMessageIn,
    RatchetTreeIn, StagedWelcome,
};
use serde_json::{Value, json};

use crate::components;
use crate::desk::Desk;
use crate::emulation;
use crate::secrets::psk_id;
use crate::settings;
use crate::wire::{Fields, Outcome, parse, refused, shown, written, wrong};

/// `client`, what its leaf says, `key_package_components`, `key_package_extensions`, `last_resort`
/// -> `message`, `reference`.
pub fn key_package(desk: &mut Desk, fields: &Fields) -> Outcome<Value> {
    let client = desk.client(fields)?;
    let mut builder = KeyPackage::builder()
        .leaf_node_capabilities(settings::capabilities(client.provider.as_ref(), fields)?)
        .leaf_node_extensions(settings::extensions(fields, "leaf_components", "leaf_extensions")?)
        .key_package_extensions(settings::extensions(
            fields,
            "key_package_components",
            "key_package_extensions",
        )?);
    if fields.flag("last_resort")? {
        builder = builder.mark_as_last_resort();
    }
    let bundle = builder
        .build(client.suite, client.provider.as_ref(), &client.signer, client.credential.clone())
        .map_err(refused)?;
    let package = bundle.key_package();
    let reference = package.hash_ref(client.provider.crypto()).map_err(refused)?;
    Ok(json!({
        "message": written(&MlsMessageOut::from(package.clone()))?,
        "reference": shown(reference.as_slice()),
    }))
}

/// `client`, `group`, what its leaf says, `components`, `extensions`, `public`, `padding`, `past_epochs` (how
/// many stay readable), `emulation_epoch` (to derive everything from) -> the group's state.
pub fn create(desk: &mut Desk, fields: &Fields) -> Outcome<Value> {
    let client = desk.client(fields)?;
    let mut builder = MlsGroup::builder();
    if let Some(epoch) = emulation::epoch_if_any(fields)? {
        builder = builder.vc_emulation(epoch);
    }
    let group = builder
        .with_group_id(GroupId::from_slice(&fields.bytes("group")?))
        .ciphersuite(client.suite)
        .with_wire_format_policy(settings::framing(fields)?)
        .padding_size(fields.number_if_any("padding")?.unwrap_or(0))
        .max_past_epochs(fields.number_if_any("past_epochs")?.unwrap_or(0))
        .number_of_resumption_psks(settings::RESUMPTION_PSKS)
        .use_ratchet_tree_extension(true)
        .with_capabilities(settings::capabilities(client.provider.as_ref(), fields)?)
        .with_leaf_node_extensions(settings::extensions(fields, "leaf_components", "leaf_extensions")?)
        .map_err(refused)?
        .with_group_context_extensions(settings::extensions(fields, "components", "extensions")?)
        .build(client.provider.as_ref(), &client.signer, client.credential.clone())
        .map_err(refused)?;
    let state = state_of(&group)?;
    client.keep(group);
    Ok(state)
}

/// `client`, `welcome`, `tree`, `public`, `padding`, `past_epochs` -> the group's state.
pub fn join(desk: &mut Desk, fields: &Fields) -> Outcome<Value> {
    let client = desk.client(fields)?;
    let MlsMessageBodyIn::Welcome(welcome) = fields.parsed::<MlsMessageIn>("welcome")?.extract() else {
        return Err(wrong("not a Welcome"));
    };
    let tree = fields.parsed_if_any::<RatchetTreeIn>("tree")?;
    let config = settings::join_config(fields)?;
    let group = StagedWelcome::new_from_welcome(client.provider.as_ref(), &config, welcome, tree)
        .and_then(|staged| staged.into_group(client.provider.as_ref()))
        .map_err(refused)?;
    let state = state_of(&group)?;
    client.keep(group);
    Ok(state)
}

fn public_message(bytes: &[u8]) -> Outcome<PublicMessageIn> {
    match parse::<MlsMessageIn>(bytes)?.extract() {
        MlsMessageBodyIn::PublicMessage(message) => Ok(message),
        _ => Err(wrong("not a PublicMessage")),
    }
}

/// `client`, `group_info`, `tree`, what its leaf says, `self_removes` (the messages), `updates` and `psks` (as in
/// `commit`), `emulation_epoch`, `authenticated_data`, `public`, `padding`, `past_epochs` -> `message`, and the group's
/// state.
pub fn join_externally(desk: &mut Desk, fields: &Fields) -> Outcome<Value> {
    let client = desk.client(fields)?;
    let MlsMessageBodyIn::GroupInfo(info) = fields.parsed::<MlsMessageIn>("group_info")?.extract() else {
        return Err(wrong("not a GroupInfo"));
    };
    let removes = fields.strings("self_removes")?;
    let mut outside = ExternalCommitBuilder::new()
        .with_config(settings::join_config(fields)?)
        .with_proposals(removes.iter().map(|bytes| public_message(bytes)).collect::<Outcome<_>>()?)
        .with_aad(fields.bytes_if_any("authenticated_data")?.unwrap_or_default());
    if let Some(tree) = fields.parsed_if_any::<RatchetTreeIn>("tree")? {
        outside = outside.with_ratchet_tree(tree);
    }
    let mut builder = outside
        .build_group(client.provider.as_ref(), info, client.credential.clone())
        .map_err(refused)?
        .leaf_node_parameters(settings::leaf(client.provider.as_ref(), fields)?);
    if let Some(epoch) = emulation::epoch_if_any(fields)? {
        builder = builder
            .vc_emulation(client.provider.crypto(), client.provider.storage(), epoch)
            .map_err(refused)?;
    }
    for update in fields.objects("updates")? {
        builder = builder.add_app_data_update_proposal(app_data_update(&update)?);
    }
    for psk in fields.objects("psks")? {
        let id = psk_id(client.provider.as_ref(), client.suite, &psk)?;
        builder = builder.add_psk_proposal(PreSharedKeyProposal::new(id));
    }
    let mut loaded = builder.load_psks(client.provider.storage()).map_err(refused)?;
    components::carry_out(&mut loaded);
    let (group, sent) = loaded
        .build(client.provider.rand(), client.provider.crypto(), &client.signer, |_| true)
        .map_err(refused)?
        .finalize(client.provider.as_ref())
        .map_err(refused)?;
    let mut answer = state_of(&group)?;
    answer["message"] = written(sent.commit())?;
    client.keep(group);
    Ok(answer)
}

/// `component`, and `data` unless its entry is to be removed.
pub fn app_data_update(fields: &Fields) -> Outcome<AppDataUpdateProposal> {
    let component = fields.number("component")?;
    Ok(match fields.bytes_if_any("data")? {
        Some(data) => AppDataUpdateProposal::update(component, data),
        None => AppDataUpdateProposal::remove(component),
    })
}

/// `client`, `group`, `with_tree`, `components`, `extensions` -> `message`.
pub fn group_info(desk: &mut Desk, fields: &Fields) -> Outcome<Value> {
    let seat = desk.seat(fields)?;
    let more = settings::listed(fields, "components", "extensions")?;
    let info = seat
        .group
        .export_group_info_with_additional_extensions(
            seat.provider.crypto(),
            seat.signer,
            fields.flag("with_tree")?,
            more,
        )
        .map_err(refused)?;
    Ok(json!({ "message": written(&info)? }))
}

/// `client`, `group` -> the group's state.
pub fn state(desk: &mut Desk, fields: &Fields) -> Outcome<Value> {
    state_of(desk.seat(fields)?.group)
}

/// What all members of an epoch have in common, and where this one sits.
pub fn state_of(group: &MlsGroup) -> Outcome<Value> {
    let members = group
        .members()
        .map(|member| {
            let credential = BasicCredential::try_from(member.credential).map_err(refused)?;
            Ok(json!({ "leaf": member.index.u32(), "identity": shown(credential.identity()) }))
        })
        .collect::<Outcome<Vec<_>>>()?;
    Ok(json!({
        "group": shown(group.group_id().as_slice()),
        "epoch": group.epoch().as_u64(),
        "leaf": group.own_leaf_index().u32(),
        "active": group.is_active(),
        "authenticator": shown(group.epoch_authenticator().as_slice()),
        "context": written(group.public_group().group_context())?,
        "tree": written(&group.export_ratchet_tree())?,
        "confirmation_tag": written(group.confirmation_tag())?,
        "members": members,
    }))
}
