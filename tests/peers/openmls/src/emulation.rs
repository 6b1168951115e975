//! Virtual clients: what a device of OpenMLS takes from its emulation group, and the ways into a conversation that only
//! siblings have. The emulation group is an ordinary group to the other calls, and so is a conversation; those of them
//! that can derive instead of drawing take an `emulation_epoch`.
//!
//! OpenMLS has no calls for what a commit of the emulation group announces. Uploads travel as the test likes.

use openmls::components::vc_derivation_info::{
    EpochId, GenerationId, KeyPackageUpload, assemble_vc_key_package_upload, process_vc_key_package_upload,
};
use openmls::key_packages::VcKeyPackageBatchBuilder;
use openmls::messages::group_info::VerifiableGroupInfo;
use openmls::prelude::RatchetTreeIn;
use openmls::prelude::{
    Ciphersuite, KeyPackage, MlsGroup, MlsMessageBodyIn, MlsMessageIn, MlsMessageOut, OpenMlsProvider,
};
use serde_json::{Value, json};

use crate::desk::Desk;
use crate::groups::state_of;
use crate::settings;
use crate::wire::{Fields, Outcome, refused, shown, written, wrong};

fn epoch(fields: &Fields) -> Outcome<EpochId> {
    Ok(EpochId::new(fields.bytes("emulation_epoch")?))
}

/// The epoch that a call wants its keys derived in, if it wants that.
pub fn epoch_if_any(fields: &Fields) -> Outcome<Option<EpochId>> {
    Ok(fields.bytes_if_any("emulation_epoch")?.map(EpochId::new))
}

/// The name of a message's key, as it goes into an answer.
pub fn shown_name(name: Option<&GenerationId>) -> Value {
    name.map_or(Value::Null, |name| shown(name.as_slice()))
}

/// `client`, `group` (the emulation group) -> `emulation_epoch`, to derive in from now on.
pub fn register_epoch(desk: &mut Desk, fields: &Fields) -> Outcome<Value> {
    let seat = desk.seat(fields)?;
    let epoch = seat
        .group
        .register_vc_emulation_epoch(seat.provider.crypto(), seat.provider.storage())
        .map_err(refused)?;
    Ok(json!({ "emulation_epoch": shown(epoch.as_bytes()) }))
}

/// `client`, `emulation_epoch`, `packages` (what the leaf of each says, `last_resort`, and `suite` if it is not the
/// client's) -> `messages`, `upload`.
pub fn key_package_batch(desk: &mut Desk, fields: &Fields) -> Outcome<Value> {
    let client = desk.client(fields)?;
    let provider = client.provider.as_ref();
    let mut batch = VcKeyPackageBatchBuilder::new(provider, epoch(fields)?).map_err(refused)?;
    for package in fields.objects("packages")? {
        let mut builder = KeyPackage::builder()
            .leaf_node_capabilities(settings::capabilities(provider, &package)?)
            .leaf_node_extensions(settings::extensions(&package, "leaf_components", "leaf_extensions")?);
        if package.flag("last_resort")? {
            builder = builder.mark_as_last_resort();
        }
        let suite = match package.number_if_any::<u16>("suite")? {
            Some(number) => Ciphersuite::try_from(number).map_err(refused)?,
            None => client.suite,
        };
        batch
            .add_key_package(builder, suite, provider.crypto(), &client.signer, client.credential.clone())
            .map_err(refused)?;
    }
    let made = batch.finalize(provider).map_err(refused)?;
    let (bundles, infos): (Vec<_>, Vec<_>) = made.key_packages.into_iter().unzip();
    let upload = assemble_vc_key_package_upload(provider.storage(), epoch(fields)?, made.generation, infos)
        .map_err(refused)?;
    let messages = bundles
        .iter()
        .map(|bundle| written(&MlsMessageOut::from(bundle.key_package().clone())))
        .collect::<Outcome<Vec<_>>>()?;
    Ok(json!({ "messages": messages, "upload": written(&upload)? }))
}

/// `client`, `upload` -> nothing. The client can take up Welcomes to what was uploaded.
pub fn take_upload(desk: &mut Desk, fields: &Fields) -> Outcome<Value> {
    let client = desk.client(fields)?;
    let upload: KeyPackageUpload = fields.parsed("upload")?;
    process_vc_key_package_upload(client.provider.as_ref(), &upload).map_err(refused)?;
    Ok(json!({}))
}

fn group_info(fields: &Fields) -> Outcome<VerifiableGroupInfo> {
    match fields.parsed::<MlsMessageIn>("group_info")?.extract() {
        MlsMessageBodyIn::GroupInfo(info) => Ok(info),
        _ => Err(wrong("not a GroupInfo")),
    }
}

/// `client`, `group_info`, `tree`, `emulation_epoch`, `public`, `padding`, `past_epochs`
/// -> the state of a group that a sibling made.
pub fn join_at_creation(desk: &mut Desk, fields: &Fields) -> Outcome<Value> {
    let client = desk.client(fields)?;
    let group = MlsGroup::vc_join_at_creation(
        client.provider.as_ref(),
        &settings::join_config(fields)?,
        group_info(fields)?,
        fields.parsed_if_any::<RatchetTreeIn>("tree")?,
        epoch(fields)?,
    )
    .map_err(refused)?;
    let state = state_of(&group)?;
    client.keep(group);
    Ok(state)
}

/// `client`, `group_info` (of the epoch before), `tree`, `message` (a sibling's external commit), `emulation_epoch`,
/// `public`, `padding`, `past_epochs` -> the state of the group that it entered.
pub fn join_after_sibling(desk: &mut Desk, fields: &Fields) -> Outcome<Value> {
    let client = desk.client(fields)?;
    let message = fields.parsed::<MlsMessageIn>("message")?.try_into_protocol_message().map_err(refused)?;
    let group = MlsGroup::vc_join_via_sibling_external_commit(
        client.provider.as_ref(),
        &settings::join_config(fields)?,
        group_info(fields)?,
        fields.parsed_if_any::<RatchetTreeIn>("tree")?,
        message,
        epoch(fields)?,
    )
    .map_err(refused)?;
    let state = state_of(&group)?;
    client.keep(group);
    Ok(state)
}
