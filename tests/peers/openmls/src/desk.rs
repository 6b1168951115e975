//! The clients at this peer, each with its own storage, and their groups.

use std::collections::BTreeMap;

use openmls::prelude::{BasicCredential, Ciphersuite, CredentialWithKey, MlsGroup, ProtocolVersion};
use openmls_basic_credential::SignatureKeyPair;
use openmls_rust_crypto::OpenMlsRustCrypto;
use serde_json::{Value, json};

use crate::wire::{Fields, Outcome, refused, shown, wrong};

pub const VERSION: ProtocolVersion = ProtocolVersion::Mls10;

/// Somebody who can be in groups of one cipher suite.
pub struct Client {
    pub provider: OpenMlsRustCrypto,
    pub suite: Ciphersuite,
    pub signer: SignatureKeyPair,
    pub credential: CredentialWithKey,
    groups: BTreeMap<Vec<u8>, MlsGroup>,
}

impl Client {
    fn new(suite: Ciphersuite, identity: Vec<u8>) -> Outcome<Self> {
        let signer = SignatureKeyPair::new(suite.signature_algorithm()).map_err(refused)?;
        let credential = CredentialWithKey {
            credential: BasicCredential::new(identity).into(),
            signature_key: signer.to_public_vec().into(),
        };
        Ok(Self {
            provider: OpenMlsRustCrypto::default(),
            suite,
            signer,
            credential,
            groups: BTreeMap::new(),
        })
    }

    pub fn keep(&mut self, group: MlsGroup) {
        self.groups.insert(group.group_id().as_slice().to_vec(), group);
    }
}

/// A client's group, beside what is needed to work with it.
pub struct Seat<'a> {
    pub provider: &'a OpenMlsRustCrypto,
    pub signer: &'a SignatureKeyPair,
    pub group: &'a mut MlsGroup,
}

#[derive(Default)]
pub struct Desk {
    clients: BTreeMap<String, Client>,
}

impl Desk {
    /// The client that a call names.
    pub fn client(&mut self, fields: &Fields) -> Outcome<&mut Client> {
        let name = fields.text("client")?;
        self.clients.get_mut(name).ok_or_else(|| wrong(format!("no client {name:?}")))
    }

    /// The group that a call names.
    pub fn seat(&mut self, fields: &Fields) -> Outcome<Seat<'_>> {
        let id = fields.bytes("group")?;
        let Client { provider, signer, groups, .. } = self.client(fields)?;
        let group = groups.get_mut(&id).ok_or_else(|| wrong("no such group"))?;
        Ok(Seat { provider, signer, group })
    }
}

/// `client`, `suite`, `identity` -> `signature_key`. A client of that name is replaced.
pub fn create_client(desk: &mut Desk, fields: &Fields) -> Outcome<Value> {
    let suite = Ciphersuite::try_from(fields.number::<u16>("suite")?).map_err(refused)?;
    let client = Client::new(suite, fields.bytes("identity")?)?;
    let public = shown(client.signer.to_public_vec());
    desk.clients.insert(fields.text("client")?.to_owned(), client);
    Ok(json!({ "signature_key": public }))
}
