//! What leaves, KeyPackages and groups are made with: capabilities, extensions, dictionaries, policies.

use openmls::prelude::{
    AppDataDictionary, AppDataDictionaryExtension, Capabilities, CredentialType, Extension,
    ExtensionValidator, Extensions, InvalidExtensionError, LeafNodeParameters,
    MIXED_CIPHERTEXT_WIRE_FORMAT_POLICY, MIXED_PLAINTEXT_WIRE_FORMAT_POLICY, MlsGroupJoinConfig,
    OpenMlsCrypto, OpenMlsProvider, WireFormatPolicy,
};
use openmls_rust_crypto::OpenMlsRustCrypto;

use crate::desk::VERSION;
use crate::wire::{Entries, Fields, Outcome, parse, refused};

/// As many as ours keeps.
pub const RESUMPTION_PSKS: usize = 32;

/// All that the provider can do, and the extension and proposal types that the call lists.
pub fn capabilities(provider: &OpenMlsRustCrypto, fields: &Fields) -> Outcome<Capabilities> {
    Ok(Capabilities::builder()
        .versions(vec![VERSION])
        .ciphersuites(provider.crypto().supported_ciphersuites())
        .extensions(fields.numbers("extension_types")?.into_iter().map(Into::into).collect())
        .proposals(fields.numbers("proposal_types")?.into_iter().map(Into::into).collect())
        .credentials(vec![CredentialType::Basic])
        .build())
}

/// What a new leaf says: `extension_types`, `proposal_types`, `leaf_components`, `leaf_extensions`.
pub fn leaf(provider: &OpenMlsRustCrypto, fields: &Fields) -> Outcome<LeafNodeParameters> {
    Ok(LeafNodeParameters::builder()
        .with_capabilities(capabilities(provider, fields)?)
        .with_extensions(extensions(fields, "leaf_components", "leaf_extensions")?)
        .build())
}

pub fn dictionary(entries: Entries) -> AppDataDictionary {
    let mut dictionary = AppDataDictionary::new();
    for (component, data) in entries {
        dictionary.insert(component, data);
    }
    dictionary
}

/// The extensions that a field lists as pairs of type and data, after a dictionary of the entries in another.
pub fn listed(fields: &Fields, components: &str, others: &str) -> Outcome<Vec<Extension>> {
    let mut found = Vec::new();
    if let Some(entries) = fields.entries_if_any(components)? {
        found.push(Extension::AppDataDictionary(AppDataDictionaryExtension::new(dictionary(entries))));
    }
    for (kind, data) in fields.entries(others)? {
        found.push(extension(kind, &data)?);
    }
    Ok(found)
}

/// The same, where OpenMLS has a type for what they are the extensions of.
pub fn extensions<T>(fields: &Fields, components: &str, others: &str) -> Outcome<Extensions<T>>
where
    T: ExtensionValidator,
    InvalidExtensionError: From<T::Error>,
{
    Extensions::from_vec(listed(fields, components, others)?).map_err(refused)
}

fn extension(kind: u16, data: &[u8]) -> Outcome<Extension> {
    use openmls::prelude::tls_codec::{Serialize, VLByteSlice};
    let mut bytes = kind.to_be_bytes().to_vec();
    VLByteSlice(data).tls_serialize(&mut bytes).map_err(refused)?;
    parse(&bytes)
}

/// Handshakes are read in either framing and sent in the one that the call names.
pub fn framing(fields: &Fields) -> Outcome<WireFormatPolicy> {
    Ok(match fields.flag("public")? {
        true => MIXED_PLAINTEXT_WIRE_FORMAT_POLICY,
        false => MIXED_CIPHERTEXT_WIRE_FORMAT_POLICY,
    })
}

pub fn join_config(fields: &Fields) -> Outcome<MlsGroupJoinConfig> {
    Ok(MlsGroupJoinConfig::builder()
        .wire_format_policy(framing(fields)?)
        .padding_size(fields.number_if_any("padding")?.unwrap_or(0))
        .max_past_epochs(fields.number_if_any("past_epochs")?.unwrap_or(0))
        .number_of_resumption_psks(RESUMPTION_PSKS)
        .use_ratchet_tree_extension(true)
        .build())
}
